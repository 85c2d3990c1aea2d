//! The results of calls that take a record, and the errors of sockets.

use std::io;

use socket2::Socket;
use windows_sys::Win32::Foundation::{
    ERROR_BAD_NETPATH, ERROR_CONNECTION_ABORTED, ERROR_CONNECTION_REFUSED, ERROR_HOST_UNREACHABLE,
    ERROR_MORE_DATA, ERROR_NETNAME_DELETED, ERROR_NETWORK_UNREACHABLE, ERROR_PORT_UNREACHABLE,
    ERROR_REM_NOT_LIST, ERROR_SEM_TIMEOUT, ERROR_SUCCESS, GetLastError,
};
use windows_sys::Win32::Networking::WinSock::{
    SOL_SOCKET, WSAECONNABORTED, WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTUNREACH, WSAEMSGSIZE,
    WSAENETUNREACH, WSAETIMEDOUT, WSAGetLastError, setsockopt,
};

use super::extension::raw;
use super::record::{LentRecord, Started};

/// Interprets a Winsock call that took `lent`.
pub(super) fn socket_called(lent: LentRecord, succeeded: bool, skip: bool) -> Started {
    let code = match succeeded {
        true => ERROR_SUCCESS,
        false => last_socket_error(),
    };
    // SAFETY: the code is that of the call just made with this record, and `skip` comes from the
    // socket's entry, which has it from `skip_on_success`.
    unsafe { lent.called(code, skip) }
}

/// Interprets a Winsock call on a datagram socket that took `lent`.
pub(super) fn datagram_called(lent: LentRecord, succeeded: bool) -> Started {
    let code = match succeeded {
        true => ERROR_SUCCESS,
        false => last_socket_error(),
    };
    let code = match code.cast_signed() {
        // Part of a datagram was received, or a wait found one: a packet follows.
        WSAEMSGSIZE => ERROR_MORE_DATA,
        _ => code,
    };
    // SAFETY: the code is that of the call just made with this record; datagram sockets skip no packets.
    unsafe { lent.called(code, false) }
}

/// Winsock's error of this thread's last call.
pub(super) fn last_socket_error() -> u32 {
    // SAFETY: the call reads this thread's last error.
    unsafe { WSAGetLastError() }.cast_unsigned()
}

/// Interprets a call on a pipe that took `lent`.
pub(super) fn pipe_called(lent: LentRecord, succeeded: bool, skip: bool) -> Started {
    let code = match succeeded {
        true => ERROR_SUCCESS,
        // SAFETY: the call reads this thread's last error.
        false => unsafe { GetLastError() },
    };
    // SAFETY: the code is that of the call just made with this record, and `skip` comes from the
    // pipe's entry, which has it from `skip_on_success`.
    unsafe { lent.called(code, skip) }
}

/// Tells Winsock what a socket has become, after `AcceptEx` or `ConnectEx`.
pub(super) fn update_context(socket: &Socket, option: i32, context: &[u8]) -> io::Result<()> {
    set_option(socket, SOL_SOCKET, option, context)
}

/// Sets an option of a socket to a value of these bytes.
pub(super) fn set_option(socket: &Socket, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = i32::try_from(value.len()).expect("an option is small");
    // SAFETY: the socket is open during the call, which reads `length` bytes.
    let failed = unsafe { setsockopt(raw(socket), level, option, value.as_ptr(), length) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Converts a code to an error. A general code that has a Winsock equivalent becomes that: it has
/// an `ErrorKind`, and it is the one that people search for.
pub(super) fn socket_error(code: u32) -> io::Error {
    let code = match code {
        ERROR_NETNAME_DELETED | ERROR_PORT_UNREACHABLE => WSAECONNRESET,
        ERROR_CONNECTION_REFUSED | ERROR_REM_NOT_LIST => WSAECONNREFUSED,
        ERROR_CONNECTION_ABORTED => WSAECONNABORTED,
        ERROR_HOST_UNREACHABLE | ERROR_BAD_NETPATH => WSAEHOSTUNREACH,
        ERROR_NETWORK_UNREACHABLE => WSAENETUNREACH,
        ERROR_SEM_TIMEOUT => WSAETIMEDOUT,
        code => code.cast_signed(),
    };
    io::Error::from_raw_os_error(code)
}

#[cfg(test)]
mod tests {
    use super::{
        ERROR_CONNECTION_REFUSED, ERROR_HOST_UNREACHABLE, ERROR_NETNAME_DELETED,
        ERROR_NETWORK_UNREACHABLE, ERROR_SEM_TIMEOUT, socket_error,
    };
    use std::io::ErrorKind;

    #[test]
    fn errors_have_the_kind_that_portable_programs_look_at() {
        for (code, kind) in [
            (ERROR_NETNAME_DELETED, ErrorKind::ConnectionReset),
            (ERROR_CONNECTION_REFUSED, ErrorKind::ConnectionRefused),
            (ERROR_SEM_TIMEOUT, ErrorKind::TimedOut),
            (ERROR_HOST_UNREACHABLE, ErrorKind::HostUnreachable),
            (ERROR_NETWORK_UNREACHABLE, ErrorKind::NetworkUnreachable),
        ] {
            assert_eq!(socket_error(code).kind(), kind, "code {code}");
        }
    }
}
