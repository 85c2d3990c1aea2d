//! Prevents SIGPIPE by an option of the descriptor.
//!
//! Writing to a pipe or socket whose reader is gone raises SIGPIPE, which kills the process unless
//! the program ignores it.

#![expect(unsafe_code, reason = "rustix does not know this `fcntl` command")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::SendFlags;

/// Sends need no flag, because [`prepare`] has set the option.
pub(in super::super) const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Prepares a descriptor for writing.
pub(in super::super) fn prepare(source: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the command takes a number.
    match unsafe { libc::fcntl(source.as_raw_fd(), libc::F_SETNOSIGPIPE, 1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A placeholder: on other systems, SIGPIPE does not reach this thread while the value lives.
pub(in super::super) struct Quiet;

impl Quiet {
    pub(in super::super) fn new() -> Quiet {
        Quiet
    }

    /// Must be called after a write failed with EPIPE.
    pub(in super::super) fn raised(&mut self) {}
}
