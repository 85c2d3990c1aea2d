//! Descriptors by number: checks and copies.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

pub(super) fn raw(number: u32) -> io::Result<RawFd> {
    RawFd::try_from(number).map_err(|_| rustix::io::Errno::BADF.into())
}

pub(super) fn is_open(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: the call changes nothing; it refuses a number that is not open.
    match unsafe { libc::fcntl(descriptor, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Copies a descriptor to the lowest free number from `least` on. The copy is close-on-exec.
pub(super) fn duplicate(descriptor: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call leaves the descriptor as it is; it refuses a number that is not open.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, least) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nothing else refers to it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Moves a descriptor away from the number of a standard stream, which it can get in a program that closed its
/// own. Left there, it would reach later children that inherit our standard streams.
pub(super) fn above_standard_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), 3)?)
}
