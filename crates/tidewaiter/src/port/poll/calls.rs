//! The non-blocking system calls that attempts make, the same on every system.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer};
use socket2::Socket;

use super::super::Failure;
use super::super::buffer::Lease;
use super::super::chunks::Chunks;
use super::attempt::Source;
use super::selector;
use super::sigpipe::{self, Quiet};

/// The most bytes in one send: kernels take somewhat less than 2 GiB, and some refuse more.
pub(super) const SEND_MAX: usize = 1 << 30;

/// The result of a call: `None` if it would have blocked.
type Called<T> = Result<Option<T>, Failure>;

/// Accepts a connection, if there is one that is still alive.
pub(super) fn accept(listener: &Socket) -> Called<(Socket, SocketAddr)> {
    loop {
        match selector::accept(listener) {
            Ok(accepted) => return Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if died_waiting(&error) => {}
            Err(error) => return Err(Failure::os("accept", error)),
        }
    }
}

/// Whether it was the connection that failed, before it could be accepted; the next one may be
/// alive. Linux also reports network errors as errors of `accept`.
fn died_waiting(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
        )
    ) || error.kind() == io::ErrorKind::ConnectionAborted
}

pub(super) fn receive(source: &Source, lease: &mut Lease) -> Called<usize> {
    let memory = lease.as_mut_slice();
    let (call, received) = match source {
        Source::Stream(socket) => (
            "recv",
            retry_on_intr(|| rustix::net::recv(socket, &mut *memory, RecvFlags::empty()))
                .map(|(length, _)| length),
        ),
        _ => (
            "read",
            retry_on_intr(|| rustix::io::read(source, &mut *memory)),
        ),
    };
    match received {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN) => Ok(None),
        // A pseudo-terminal reports EIO when the other end is closed.
        Err(Errno::IO) if matches!(source, Source::Reader(_)) => Ok(Some(0)),
        Err(error) => Err(Failure::os(call, error.into())),
    }
}

/// Lists the pieces for one send; returns their number and their size in bytes.
pub(super) fn gather<'a>(chunks: &'a Chunks, pieces: &mut [IoSlice<'a>]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (piece, slice) in pieces.iter_mut().zip(chunks.slices()) {
        let slice = &slice[..slice.len().min(SEND_MAX - bytes)];
        if slice.is_empty() {
            break;
        }
        *piece = IoSlice::new(slice);
        count += 1;
        bytes += slice.len();
    }
    (count, bytes)
}

pub(super) fn send(
    source: &Source,
    pieces: &[IoSlice<'_>],
    quiet: &mut Option<Quiet>,
) -> rustix::io::Result<usize> {
    if let Source::Stream(socket) = source {
        return retry_on_intr(|| match pieces {
            // `send` spares the kernel the list of pieces.
            [piece] => rustix::net::send(socket, piece, sigpipe::SEND_FLAGS),
            _ => {
                let mut control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, pieces, &mut control, sigpipe::SEND_FLAGS)
            }
        });
    }
    let quiet = quiet.get_or_insert_with(Quiet::new);
    let sent = retry_on_intr(|| match pieces {
        [piece] => rustix::io::write(source, piece),
        _ => rustix::io::writev(source, pieces),
    });
    if sent == Err(Errno::PIPE) {
        quiet.raised();
    }
    sent
}

/// An interrupted connect continues in the background, just as a non-blocking one does.
pub(super) fn is_in_progress(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INPROGRESS | Errno::INTR)
    )
}
