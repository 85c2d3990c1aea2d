//! Datagrams on systems other than Linux: one in a call, and errors without the peer's name.

use std::io;
use std::os::fd::AsRawFd;

use libc::msghdr;
use socket2::Socket;

use super::control::{Control, Said};
use super::family::Family;
use crate::port::datagram::DatagramError;

/// No run is cut by the kernel.
pub(super) const SEGMENTS_MAX: usize = 1;

/// As on Linux: the largest IPv4 packet without its headers.
pub(super) const RUN_BYTES_MAX: usize = 65_507;

/// A call on a connected socket returns the errors that its peer reports.
pub(super) const QUEUES_ERRORS: bool = false;

/// One message of several, of which a call moves the first.
#[repr(C)]
pub(super) struct Header {
    pub(super) msg_hdr: msghdr,
    pub(super) msg_len: u32,
}

/// Refuses packet information, which these systems tell in other ways.
pub(super) fn prepare(_socket: &Socket, family: Family, packet_info: bool) -> io::Result<()> {
    if packet_info && family != Family::Unix {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "packet information is told on Linux and Windows only",
        ));
    }
    Ok(())
}

/// Returns nothing: these systems say nothing about a message.
///
/// # Safety
///
/// None is needed here.
pub(super) unsafe fn said(_header: &msghdr) -> Said {
    Said::default()
}

pub(super) fn write_segment(_control: &mut Control, _segment: u16) -> usize {
    unreachable!("runs have one datagram here")
}

/// Receives into the first message, without blocking. Returns how many were received.
///
/// # Safety
///
/// The headers point to memory that the kernel may write.
pub(super) unsafe fn receive(socket: &Socket, headers: &mut [Header]) -> io::Result<usize> {
    let header = &mut headers[0];
    // SAFETY: the caller vouches for the header's pointers.
    let received = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut header.msg_hdr,
            libc::MSG_DONTWAIT,
        )
    };
    header.msg_len = u32::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok(1)
}

/// Sends the first message, without blocking. Returns how many were sent.
///
/// # Safety
///
/// The headers point to memory that the kernel may read.
pub(super) unsafe fn send(socket: &Socket, headers: &mut [Header]) -> io::Result<usize> {
    // SAFETY: the caller vouches for the header's pointers.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const headers[0].msg_hdr,
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(1)
}

/// Whether the kernel queues the errors that peers and the network report for this socket.
pub(super) fn queues_errors(_: &Socket, _: Family) -> bool {
    QUEUES_ERRORS
}

/// Returns nothing: these systems have no queue of errors.
pub(super) fn take_error(_socket: &Socket) -> Option<DatagramError> {
    None
}
