//! Socket options that `socket2` does not have.

use std::io;
use std::os::fd::AsRawFd;

use libc::c_int;
use socket2::Socket;

/// Switches an option of the socket on.
pub(super) fn set_flag(socket: &Socket, level: c_int, option: c_int) -> io::Result<()> {
    set_option(socket, level, option, &1_i32)
}

/// Sets an option of the socket to a plain value.
pub(super) fn set_option<T: Copy>(
    socket: &Socket,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    let (number, len) = (
        socket.as_raw_fd(),
        size_of::<T>().try_into().expect("options are small"),
    );
    let value: *const T = value;
    // SAFETY: the call reads `len` bytes of the value, which lives during it.
    let failed = unsafe { libc::setsockopt(number, level, option, value.cast(), len) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
