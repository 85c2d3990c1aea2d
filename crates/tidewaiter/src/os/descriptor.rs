//! Descriptors of Unix that are given by number.

#![expect(unsafe_code, reason = "a number becomes a descriptor")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::RawDescriptor;

/// Duplicates the descriptor, so that the object stays open, whatever its owner does. The copy has a number above those
/// of the standard streams, and is closed on exec.
///
/// # Errors
///
/// The number is no descriptor of this process, or the process has too many.
pub(crate) fn duplicate(descriptor: RawDescriptor) -> io::Result<OwnedFd> {
    // SAFETY: the call leaves the descriptor as it is; it refuses a number that is not open.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nothing else refers to it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
