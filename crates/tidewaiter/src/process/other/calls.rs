//! System calls of a child that was forked.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;

/// How a pseudo-terminal is opened: closing it on execution is not to be had at once everywhere.
pub(crate) const TERMINAL_FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY);

/// How many descriptors are kept from the child at most, where the limit is higher than this.
const DESCRIPTORS_MAX: RawFd = 65536;

/// Higher than any signal's number.
const SIGNALS_END: libc::c_int = 129;

/// Every signal does again what it does by default, and none is blocked.
pub(crate) fn reset_signals() {
    // SAFETY: all zero is a valid action without flags: the default one.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for number in 1..SIGNALS_END {
        // Two signals cannot be changed, and need not be; some numbers are no signal's.
        // SAFETY: `default` is valid; these are the child's own signal handlers.
        unsafe { libc::sigaction(number, &raw const default, ptr::null_mut()) };
    }
    // SAFETY: the empty set is all zero.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is a valid set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Has what is open in these ranges, first and last numbers included, closed when the program is run: until
/// then, failures are told through one of these.
///
/// # Safety
///
/// The process must have nothing that wants these to be kept.
pub(crate) unsafe fn close_all(ranges: &[(RawFd, RawFd)]) {
    // SAFETY: only asks for a number.
    let end = unsafe { libc::getdtablesize() }.min(DESCRIPTORS_MAX);
    for &(first, last) in ranges {
        for descriptor in first..=last.min(end) {
            // SAFETY: as the caller promises.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

pub(crate) fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    let count = groups.len().try_into().map_err(|_| Errno::INVAL)?;
    // SAFETY: so many groups are there, each of them a plain number.
    check(unsafe { libc::setgroups(count, groups.as_ptr().cast()) })
}

pub(crate) fn set_group(group: Gid) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setgid(group.as_raw()) })
}

pub(crate) fn set_user(user: Uid) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setuid(user.as_raw()) })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
