//! The OS's numbers of sockets, pipes and terminals.

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

/// The number of a file.
#[cfg(unix)]
pub(crate) fn number_of_file(file: &std::fs::File) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

/// The number of a file.
#[cfg(windows)]
pub(crate) fn number_of_file(file: &std::fs::File) -> RawDescriptor {
    std::os::windows::io::AsRawHandle::as_raw_handle(file).expose_provenance() as RawDescriptor
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

/// Names the file that a descriptor refers to, so that two open files have different names: by its file system and
/// number, and for a terminal's master end by the terminal's name too, because all those ends are one file. `None` if
/// the descriptor is not open.
#[cfg(unix)]
pub(crate) fn file_of(number: RawDescriptor) -> Option<String> {
    // SAFETY: the number is only used to ask for its file, which fails if the number is not open.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let file = rustix::fs::fstat(descriptor).ok()?;
    let terminal = rustix::pty::ptsname(descriptor, Vec::new()).ok();
    Some(format!(
        "file {} of {}, terminal {terminal:?}",
        file.st_ino, file.st_dev
    ))
}

/// Windows has no such name for a pipe.
#[cfg(windows)]
pub(crate) fn file_of(_: RawDescriptor) -> Option<String> {
    None
}
