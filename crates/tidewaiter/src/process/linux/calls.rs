//! System calls of a child that has its parent's memory.
//!
//! They go past the C library where that one keeps books of its own, or tells other threads: it would
//! write, and signal, in the parent's name.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;

/// How a pseudo-terminal is opened.
pub(crate) const TERMINAL_FLAGS: OpenptFlags = OpenptFlags::RDWR
    .union(OpenptFlags::NOCTTY)
    .union(OpenptFlags::CLOEXEC);

/// The last signal's number, on all architectures that have no more than 64.
const SIGNAL_MAX: c_int = 64;

/// Every signal does again what it does by default, and none is blocked.
pub(crate) fn reset_signals() {
    // As large as any architecture's `struct sigaction`, the kernel's, not the C library's: all zero is
    // the default action.
    let default = [0_u64; 8];
    let set_bytes = size_of::<u64>();
    for number in 1..=SIGNAL_MAX {
        // Two signals cannot be changed, and need not be.
        // SAFETY: `default` is readable and larger than what the kernel reads; these are the child's own
        // signal handlers, as CLONE_SIGHAND was not asked for.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                ptr::null_mut::<c_void>(),
                set_bytes,
            )
        };
    }
    let none = 0_u64;
    // SAFETY: `none` is a set of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<c_void>(),
            set_bytes,
        )
    };
}

/// Closes what is open from `first` to `last`, both of them included.
///
/// # Safety
///
/// The process must have nothing that uses these.
pub(crate) unsafe fn close_all(first: RawFd, last: RawFd) {
    // SAFETY: as the caller promises.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
    if closed == 0 {
        return;
    }
    // A kernel before 5.9.
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: there is room for the limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let end = RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX);
    for descriptor in first..=last.min(end) {
        // SAFETY: as the caller promises.
        unsafe { libc::close(descriptor) };
    }
}

pub(crate) fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(groups)
}

pub(crate) fn set_group(group: Gid) -> Result<(), Errno> {
    rustix::thread::set_thread_gid(group)
}

pub(crate) fn set_user(user: Uid) -> Result<(), Errno> {
    rustix::thread::set_thread_uid(user)
}
