//! The process and the user at the other end.

#![expect(unsafe_code, reason = "neither socket2 nor rustix has these queries")]

use std::io;
#[cfg(unix)]
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket};

use super::super::admission::invalid;
use super::super::calls::PeerCredentials;

/// Asks for the credentials of the peer of a UNIX socket.
pub(in crate::port) fn peer_credentials(socket: &Socket) -> io::Result<PeerCredentials> {
    if socket.local_addr()?.domain() == Domain::UNIX {
        ask(socket)
    } else {
        Err(invalid("only the peers of UNIX sockets have credentials"))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ask(socket: &Socket) -> io::Result<PeerCredentials> {
    let mut answer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let size = u32::try_from(size_of::<libc::ucred>()).expect("it is small");
    let mut length: libc::socklen_t = size;
    // SAFETY: the socket is open during the call, which writes at most `length` bytes to `answer`, and any bytes are
    // valid numbers.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut answer).cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // Zero: the process is in a namespace that we cannot see.
    let process = u32::try_from(answer.pid).ok().filter(|pid| *pid != 0);
    Ok(PeerCredentials {
        process,
        user: Some(answer.uid),
        group: Some(answer.gid),
    })
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn ask(socket: &Socket) -> io::Result<PeerCredentials> {
    let (mut user, mut group) = (u32::MAX, u32::MAX);
    // SAFETY: the socket is open during the call, which writes one number to each of the two.
    let failed = unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut user, &raw mut group) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials {
        process: None,
        user: Some(user),
        group: Some(group),
    })
}

/// Asks for the process alone: Windows tells no more.
#[cfg(windows)]
fn ask(socket: &Socket) -> io::Result<PeerCredentials> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{SIO_AF_UNIX_GETPEERPID, SOCKET, WSAIoctl};

    let raw = SOCKET::try_from(socket.as_raw_socket()).expect("sockets are words");
    let (mut process, mut bytes) = (0_u32, 0);
    // SAFETY: the socket is open during the call, which writes one number, for which there is room, and the number of its
    // bytes. Without an OVERLAPPED, it is over when it returns.
    let failed = unsafe {
        WSAIoctl(
            raw,
            SIO_AF_UNIX_GETPEERPID,
            std::ptr::null(),
            0,
            (&raw mut process).cast(),
            4,
            &raw mut bytes,
            std::ptr::null_mut(),
            None,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials {
        process: Some(process).filter(|process| *process != 0),
        user: None,
        group: None,
    })
}
