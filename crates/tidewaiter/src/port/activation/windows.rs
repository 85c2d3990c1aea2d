//! Windows has no socket activation. A process has the sockets whose numbers its parent told it.

#![expect(unsafe_code, reason = "a number becomes a socket")]

use std::io;
use std::os::windows::io::{BorrowedSocket, OwnedSocket};

use windows_sys::Win32::Networking::WinSock::WSAENOTSOCK;

use super::super::shared_socket::start_winsock;
use super::{Activated, RawDescriptor};

pub(super) fn activated() -> io::Result<Vec<Activated>> {
    let message = "Windows has no socket activation";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Copies a socket: something else may own the original.
pub(super) fn copy_of(number: RawDescriptor) -> io::Result<OwnedSocket> {
    if number == RawDescriptor::MAX {
        return Err(io::Error::from_raw_os_error(WSAENOTSOCK));
    }
    start_winsock()?;
    // SAFETY: the socket is only passed to the call that copies it, which fails if it is not open.
    let theirs = unsafe { BorrowedSocket::borrow_raw(number) };
    theirs.try_clone_to_owned()
}
