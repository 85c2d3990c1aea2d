//! Clones this process, and what the child does before it carries out its plan.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::Ordering;

use rustix::process::Pid;

use super::calls;
#[cfg(target_arch = "x86_64")]
use super::no_handlers;
use super::orders::{CloneArguments, Memory, Stack, Start};
use crate::process::unix::SignalsBlocked;

/// Room for the child's few calls, for the dynamic linker among them, and for a sanitizer's red zones. It stays
/// below 64 KiB because glibc's allocator consolidates its free memory when it frees that much, which takes
/// longer than all the rest of starting a child.
const STACK_BYTES: usize = 60 * 1024;

/// As [`clone_child`], for a child with a copy of our memory that begins in a cgroup. Linux 5.7 and later.
fn clone_into(start: &Start<'_>, cgroup: BorrowedFd<'_>) -> io::Result<Pid> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let arguments = CloneArguments {
        flags: u64::from(start.flags(Memory::Copied).cast_unsigned()) | CLONE_INTO_CGROUP,
        pidfd: start.report.pidfd.as_ptr().expose_provenance() as u64,
        cgroup: u64::from(cgroup.as_raw_fd().cast_unsigned()),
        ..CloneArguments::default()
    };
    // None of our signal handlers may run in the child.
    let blocked = SignalsBlocked::now()?;
    // SAFETY: the arguments are of the kernel's layout, and the pidfd has room. The child continues here, in a copy of our
    // memory; below, it makes system calls only.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    };
    if pid == 0 {
        let code = child(ptr::from_ref(start).cast_mut().cast());
        // SAFETY: ends the child without running our exit handlers.
        unsafe { libc::_exit(code) };
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    let pid = i32::try_from(pid).ok().and_then(|pid| match pid {
        ..0 => None,
        pid => Pid::from_raw(pid),
    });
    pid.ok_or(error)
}

/// Clones this process, and waits until the child runs its program or has failed.
pub(super) fn clone_child(start: &Start<'_>, memory: Memory) -> io::Result<Pid> {
    if let Some(entry) = start.cgroup {
        debug_assert_eq!(memory, Memory::Copied);
        if let Ok(pid) = clone_into(start, entry.as_fd()) {
            return Ok(pid);
        }
        // The kernel is too old, or forbids it. Any other error shows up again below.
        start.report.enters.store(1, Ordering::Relaxed);
    }
    let mut stack = Stack::with_capacity(STACK_BYTES / size_of::<u128>());
    #[cfg(target_arch = "x86_64")]
    if memory == Memory::Shared
        && let Ok(pid) = no_handlers::clone_child(start, &mut stack)
    {
        return Ok(pid);
    }
    // SAFETY: one past the end is still a valid address of the allocation.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    // None of our signal handlers may run in the child, which may share our memory.
    let blocked = SignalsBlocked::now()?;
    // SAFETY: the child runs on a stack of its own, which lives longer than it shares our memory,
    // because CLONE_VFORK suspends this thread until then; `start` lives as long, and is only read, but
    // for its report's atomics; `child` keeps to what such a child may do.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast::<c_void>(),
            start.flags(memory),
            ptr::from_ref(start).cast_mut().cast::<c_void>(),
            start.report.pidfd.as_ptr(),
        )
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    Pid::from_raw(pid).ok_or(error)
}

/// Runs in a child that has copies of our signal handlers: runs the program, or reports why it cannot.
extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: `start` is the `Start` that `clone_child` borrowed, and its thread is suspended.
    let start = unsafe { &*start.cast::<Start<'_>>().cast_const() };
    // SAFETY: this is the child.
    unsafe { start.carry_out(calls::reset_signals) }
}
