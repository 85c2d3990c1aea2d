//! Sending files on Linux: from the page cache to a socket or pipe, without a copy through our memory.

use std::io;
use std::os::fd::BorrowedFd;

use super::OsFile;

/// Whether [`send`] works.
pub(crate) const SENDS: bool = true;

/// Sends at most `count` bytes of the file at `offset`, and returns how many: none at the file's end. Fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if the non-blocking `to` is full. May raise SIGPIPE.
pub(crate) fn send(
    to: BorrowedFd<'_>,
    file: &OsFile,
    mut offset: u64,
    count: usize,
) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(to, file, Some(&mut offset), count)?)
}
