//! The OS's numbers of sockets.

#![allow(dead_code, reason = "not every suite needs all")]
#![expect(unsafe_code, reason = "a number is looked up")]

use std::net::SocketAddr;

use socket2::SockRef;
use tidewaiter::port::RawDescriptor;

/// The number of a socket that Rust's library opened.
#[cfg(unix)]
pub(crate) fn number(socket: &impl std::os::fd::AsRawFd) -> RawDescriptor {
    socket.as_raw_fd()
}

/// The number of a socket that Rust's library opened.
#[cfg(windows)]
pub(crate) fn number(socket: &impl std::os::windows::io::AsRawSocket) -> RawDescriptor {
    socket.as_raw_socket()
}

/// The address that the socket of that number is bound to, if there is such a socket.
pub(crate) fn address_of(number: RawDescriptor) -> Option<SocketAddr> {
    // SAFETY: the number is only used to ask for a name, which fails if the number is not an open socket's.
    #[cfg(unix)]
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    // SAFETY: as above.
    #[cfg(windows)]
    let socket = unsafe { std::os::windows::io::BorrowedSocket::borrow_raw(number) };
    SockRef::from(&socket).local_addr().ok()?.as_socket()
}
