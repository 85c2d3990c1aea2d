//! Clones this process into a child that shares our memory and has none of our signal handlers.
//!
//! The kernel drops them, so that none has to be blocked meanwhile, and the child has half as many signals to reset.

use std::ffi::{c_int, c_long};
use std::io;
use std::ptr;
use std::sync::OnceLock;

use rustix::process::Pid;

use super::calls::{Action, SIGNAL_MAX, change_action, reset_action, unblock_signals};
use super::orders::{CloneArguments, Memory, Stack, Start};

/// The first number of a real-time signal.
const REAL_TIME: c_int = 32;

/// The real-time signals that this process ignored when it started its first child: the lowest bit is the first signal's.
static IGNORED: OnceLock<u64> = OnceLock::new();

/// Asks once, because each signal takes a call, and few programs ignore any of them.
fn note_ignored_signals() {
    IGNORED.get_or_init(|| {
        let mut ignored = 0;
        for number in REAL_TIME..=SIGNAL_MAX {
            let mut action = Action::default();
            // SAFETY: `action` is writable and larger than what the kernel writes.
            unsafe { change_action(number, ptr::null(), &raw mut action) };
            if action[0] == libc::SIG_IGN as u64 {
                ignored |= 1 << (number - 1);
            }
        }
        ignored
    });
}

/// Clones this process, and waits until the child runs its program or has failed. Fails where the kernel is older than 5.5,
/// or a filter does not know the call.
pub(super) fn clone_child(start: &Start<'_>, stack: &mut Stack) -> io::Result<Pid> {
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    let arguments = CloneArguments {
        flags: u64::from(start.flags(Memory::Shared).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
        pidfd: start.report.pidfd.as_ptr().expose_provenance() as u64,
        stack: stack.as_mut_ptr().expose_provenance() as u64,
        stack_size: (stack.capacity() * size_of::<u128>()) as u64,
        ..CloneArguments::default()
    };
    note_ignored_signals();
    let result: c_long;
    // SAFETY: the arguments are of the kernel's layout, and the pidfd has room. The child begins behind the system call,
    // at the end of a stack of its own, and calls a function that does not return. It shares our memory as the child of
    // `libc::clone` does in `clone.rs`.
    unsafe {
        std::arch::asm!(
            "syscall",
            // The result is 0 in the child, which goes on with the next lines. We go on behind them.
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<CloneArguments>(),
            in("r8") ptr::from_ref(start),
            in("r9") child as extern "C" fn(*const Start<'_>) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(result).ok().filter(|pid| *pid > 0) {
        Some(pid) => Ok(Pid::from_raw(pid).expect("it is above zero")),
        None => Err(io::Error::from_raw_os_error(
            i32::try_from(-result).unwrap_or(libc::EINVAL),
        )),
    }
}

extern "C" fn child(start: *const Start<'_>) -> ! {
    // SAFETY: `start` is the `Start` that `clone_child` borrowed, and its thread is suspended.
    let start = unsafe { &*start };
    // SAFETY: this is the child.
    let code = unsafe { start.carry_out(reset_ignored_signals) };
    // SAFETY: ends the child without running our exit handlers.
    unsafe { libc::_exit(code) };
}

/// Restores the default action of signals that the child ignores, and unblocks all. Of the real-time ones, resets those
/// that were noted.
fn reset_ignored_signals() {
    (1..REAL_TIME).for_each(reset_action);
    let noted = IGNORED.get().copied().unwrap_or(u64::MAX);
    let is_noted = |number: &c_int| noted & 1 << (number - 1) != 0;
    (REAL_TIME..=SIGNAL_MAX)
        .filter(is_noted)
        .for_each(reset_action);
    unblock_signals();
}
