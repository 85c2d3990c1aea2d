//! Writing to a pipe or socket whose reader is gone raises SIGPIPE, which ends the process unless the
//! host program ignores it. Here a descriptor can be told not to raise it.

#![expect(unsafe_code, reason = "rustix does not know this `fcntl` command")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::SendFlags;

/// How sockets are told not to raise it: [`prepare`] did.
pub(in super::super) const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Sets up a descriptor that is written to.
pub(in super::super) fn prepare(source: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the command takes a number.
    match unsafe { libc::fcntl(source.as_raw_fd(), libc::F_SETNOSIGPIPE, 1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// On other systems: while this lives, SIGPIPE does not reach this thread.
pub(in super::super) struct Quiet;

impl Quiet {
    pub(in super::super) fn new() -> Quiet {
        Quiet
    }

    /// To be called when a write failed with EPIPE.
    pub(in super::super) fn raised(&mut self) {}
}
