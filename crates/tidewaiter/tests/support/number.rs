//! The OS's number of a socket that Rust's library opened.

#![allow(dead_code, reason = "not every suite needs all")]

use tidewaiter::port::RawDescriptor;

#[cfg(unix)]
pub(crate) fn number(socket: &impl std::os::fd::AsRawFd) -> RawDescriptor {
    socket.as_raw_fd()
}

#[cfg(windows)]
pub(crate) fn number(socket: &impl std::os::windows::io::AsRawSocket) -> RawDescriptor {
    socket.as_raw_socket()
}
