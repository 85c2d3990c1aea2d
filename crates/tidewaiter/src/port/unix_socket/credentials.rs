//! The process and the user at the other end.

#![expect(unsafe_code, reason = "neither socket2 nor rustix has these queries")]

use std::io;
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

#[cfg(not(any(target_os = "linux", target_os = "android")))]
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
