//! Clones this process, and what the child does before it carries out its plan.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::Ordering;

use rustix::process::Pid;

use super::child::{Memory, Start};
use crate::process::unix::SignalsBlocked;

/// Room for the child's few calls, for the dynamic linker among them, and for a sanitizer's red zones. It stays
/// below 64 KiB because glibc's allocator consolidates its free memory when it frees that much, which takes
/// longer than all the rest of starting a child.
const STACK_BYTES: usize = 60 * 1024;

/// The arguments of `clone3`, as the kernel takes them.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// As [`clone_child`], for a child with a copy of our memory that begins in a cgroup. Linux 5.7 and later.
fn clone_into(start: &Start<'_>, cgroup: BorrowedFd<'_>) -> io::Result<Pid> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let watched = match start.by_pidfd {
        true => libc::CLONE_PIDFD,
        false => 0,
    };
    let flags = u64::from((libc::CLONE_VFORK | watched).cast_unsigned());
    let arguments = CloneArguments {
        flags: flags | CLONE_INTO_CGROUP,
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
    // On the heap, where a sanitizer does not track what the child's frames leave behind.
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: one past the end is still a valid address of the allocation.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    let watched = match start.by_pidfd {
        true => libc::CLONE_PIDFD,
        false => 0,
    };
    let shared = match memory {
        Memory::Shared => libc::CLONE_VM,
        Memory::Copied => 0,
    };
    // None of our signal handlers may run in the child, which shares our memory.
    let blocked = SignalsBlocked::now()?;
    // There is no exit signal until the program runs (`execve` makes it SIGCHLD): the host must not see a child
    // that fails before that, neither in its SIGCHLD handler nor in a loop that reaps all children.
    // SAFETY: the child runs on a stack of its own, which lives longer than it shares our memory,
    // because CLONE_VFORK suspends this thread until then; `start` lives as long, and is only read, but
    // for its report's atomics; `child` keeps to what such a child may do.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast::<c_void>(),
            libc::CLONE_VFORK | shared | watched,
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

/// Runs in the child: runs the program, or reports why it cannot.
extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: `start` is the `Start` that `clone_child` borrowed, and its thread is suspended.
    let start = unsafe { &*start.cast::<Start<'_>>().cast_const() };
    // Fails if we asked for a pidfd and got none: nobody could watch the child.
    let report = start.report;
    if !start.by_pidfd || report.pidfd.load(Ordering::Relaxed) != -1 {
        if let Some(entry) = start.cgroup
            && report.enters.load(Ordering::Relaxed) != 0
            && entry.enter().is_err()
        {
            report.outside.store(1, Ordering::Relaxed);
        }
        // SAFETY: this is such a child: `clone_child` set neither CLONE_FILES nor CLONE_SIGHAND.
        let refusal = unsafe { start.plan.carry_out() };
        let numbers = [refusal.step, refusal.detail, refusal.errno];
        for (place, number) in report.refusal.iter().zip(numbers) {
            place.store(number, Ordering::Relaxed);
        }
        report.failed.store(1, Ordering::Relaxed);
    }
    127
}
