//! Descriptors by number: checks and copies.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

pub(super) fn raw(number: u32) -> io::Result<RawFd> {
    RawFd::try_from(number).map_err(|_| rustix::io::Errno::BADF.into())
}

pub(super) fn is_open(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: only asks; a number that is not open is refused.
    match unsafe { libc::fcntl(descriptor, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A copy, numbered `least` or above.
pub(super) fn duplicate(descriptor: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: changes nothing about the descriptor; a number that is not open is refused.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, least) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The same descriptor, but not under the number of a standard stream, which it may have got in a
/// program that closed its own: under such a number it would reach later children that inherit ours.
pub(super) fn above_standard_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), 3)?)
}
