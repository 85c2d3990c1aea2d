//! The OS's numbers of sockets, files, pipes and terminals.

#![allow(dead_code, reason = "not every suite needs all")]
#![expect(unsafe_code, reason = "a number is looked up")]

use std::fs::File;
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
pub(crate) fn number_of_file(file: &File) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

/// The number of a file.
#[cfg(windows)]
pub(crate) fn number_of_file(file: &File) -> RawDescriptor {
    std::os::windows::io::AsRawHandle::as_raw_handle(file).expose_provenance() as RawDescriptor
}

/// The number of descriptors or handles that this process has open.
#[cfg(unix)]
pub(crate) fn open_objects() -> usize {
    std::fs::read_dir("/dev/fd")
        .expect("every Unix has it")
        .count()
}

/// About the number of handles that this process has open. Wine does not count them, but new ones get the lowest free
/// numbers, which are multiples of four.
#[cfg(windows)]
pub(crate) fn open_objects() -> usize {
    let probes = [(); 16].map(|()| File::open("NUL").expect("every Windows has it"));
    let numbers = probes.iter().map(number_of_file);
    let highest = numbers.max().expect("there are some");
    usize::try_from(highest / 4).expect("it is small") - probes.len()
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

/// Whether the socket of that number sends small segments at once, if there is such a socket.
pub(crate) fn no_delay_of(number: RawDescriptor) -> Option<bool> {
    // SAFETY: the number is only used to ask for an option, which fails if the number is not an open socket's.
    #[cfg(unix)]
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    // SAFETY: as above.
    #[cfg(windows)]
    let socket = unsafe { std::os::windows::io::BorrowedSocket::borrow_raw(number) };
    SockRef::from(&socket).tcp_nodelay().ok()
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

/// Opens a file that every process inherits that is not started by us. Its number is high, so that no child has a
/// handle of its own with that number.
#[cfg(unix)]
pub(crate) fn inheritable_file() -> File {
    use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
    let file = File::open("/dev/null").expect("it exists");
    let high = fcntl_dupfd_cloexec(&file, 500).expect("few are open");
    fcntl_setfd(&high, FdFlags::empty()).expect("it is open");
    high.into()
}

/// As above.
#[cfg(windows)]
pub(crate) fn inheritable_file() -> File {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};
    const HIGH: u64 = 4000;
    let open = || File::open(std::env::current_exe().expect("we are a program"));
    let mut lower = Vec::new();
    let file = loop {
        let file = open().expect("it can be read");
        match number_of_file(&file) {
            number if number < HIGH => lower.push(file),
            _ => break file,
        }
    };
    let flag = HANDLE_FLAG_INHERIT;
    // SAFETY: the handle is open.
    let done = unsafe { SetHandleInformation(file.as_raw_handle(), flag, flag) };
    assert_ne!(done, 0);
    file
}

/// Counts the handles of this process, by asking about each number: Wine does not know how many there are.
#[cfg(windows)]
pub(crate) fn open_handles() -> usize {
    /// No test has a handle with a number as large as this.
    const HANDLES_MAX: usize = 1 << 14;
    let is_open = |number: &usize| {
        let mut flags = 0;
        let handle = std::ptr::without_provenance_mut(*number);
        // SAFETY: the call only asks about a number, even if no handle has it.
        unsafe { windows_sys::Win32::Foundation::GetHandleInformation(handle, &raw mut flags) != 0 }
    };
    (4..HANDLES_MAX).step_by(4).filter(is_open).count()
}
