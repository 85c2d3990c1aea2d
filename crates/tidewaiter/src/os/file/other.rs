//! Sending files on other Unixes, whose calls for it differ: the reactor reads and writes instead.

use std::io;
use std::os::fd::BorrowedFd;

use super::OsFile;

/// Whether [`send`] works.
pub(crate) const SENDS: bool = false;

/// Refuses.
pub(crate) fn send(
    _to: BorrowedFd<'_>,
    _file: &OsFile,
    _offset: u64,
    _count: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
