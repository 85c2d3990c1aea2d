//! System calls of a forked child.

use std::ffi::c_char;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

pub(crate) use super::parent::{check_die_with_parent, die_with};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;

/// The flags that open a pseudo-terminal. Close-on-exec is not among them, because not every system takes it
/// here.
pub(crate) const TERMINAL_FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY);

/// The highest limit on descriptors that we heed: descriptors above it reach the child.
const DESCRIPTORS_MAX: RawFd = 65536;

/// Higher than any signal's number.
const SIGNALS_END: libc::c_int = 129;

/// Returns none: where these systems have our environment, differs, and a fork costs more than a copy of it.
pub(crate) fn own_environment() -> Option<*const *const c_char> {
    None
}

/// Restores the default action of every signal, and unblocks all.
pub(crate) fn reset_signals() {
    // SAFETY: all zero is a valid action, the default one without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for number in 1..SIGNALS_END {
        // Two signals (SIGKILL and SIGSTOP) cannot be changed, and some numbers belong to no signal.
        // SAFETY: `default` is valid; these are the child's own signal handlers.
        unsafe { libc::sigaction(number, &raw const default, ptr::null_mut()) };
    }
    // SAFETY: the empty set is all zero.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is a valid set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Sets close-on-exec on all descriptors in these ranges, first and last numbers included. They stay open until
/// the program runs, because the child reports failures through one of them.
///
/// # Safety
///
/// Nothing in the process may need these descriptors after `execve`.
pub(crate) unsafe fn close_all(ranges: &[(RawFd, RawFd)]) {
    // SAFETY: the call only returns a number.
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
    // SAFETY: `groups` holds `count` groups, each a plain number.
    check(unsafe { libc::setgroups(count, groups.as_ptr().cast()) })
}

pub(crate) fn set_group(group: Gid) -> Result<(), Errno> {
    // SAFETY: the call touches no memory.
    check(unsafe { libc::setgid(group.as_raw()) })
}

pub(crate) fn set_user(user: Uid) -> Result<(), Errno> {
    // SAFETY: the call touches no memory.
    check(unsafe { libc::setuid(user.as_raw()) })
}

/// A set of CPUs: there is none.
pub(crate) enum Cpus {}

pub(crate) fn cpus(_: &[usize]) -> io::Result<Cpus> {
    let message = "this system cannot choose the CPUs of a child";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

pub(crate) fn set_cpus(cpus: &Cpus) -> Result<(), Errno> {
    match *cpus {}
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
