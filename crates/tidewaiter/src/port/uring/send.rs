//! Sends: to sockets and pipes, from one piece of memory or from several.

use std::io::IoSlice;

use io_uring::{opcode, squeue, types};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::super::chunks::Chunks;
use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::entry::Entry;
use super::next::{Next, errno, failed, poll_first};
use super::pending::{Pending, Work};
use super::pinned::{Gather, Pinned};
use super::ring::{AT_POSITION, Cqe};
use super::sigpipe::WriteFlags;

/// The most bytes in one call: the kernel's limit for any transfer.
pub(super) const TRANSFER_MAX: usize = 0x7fff_f000;

/// A closed peer is an error, not a signal.
pub(super) const MSG_NOSIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Sends as much of `pieces` as the socket takes now, by a plain call; nothing while a send is under way.
pub(super) fn send_now(entry: &Entry, pieces: &[IoSlice<'_>]) -> Result<usize, Failure> {
    let Source::Stream(socket) = &entry.source else {
        return Ok(0);
    };
    if entry.sending.is_some() || entry.closing.is_some() {
        return Ok(0);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = retry_on_intr(|| match pieces {
        // `send` spares the kernel the list of pieces.
        [piece] => rustix::net::send(socket, piece, flags),
        _ => {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(socket, pieces, &mut control, flags)
        }
    });
    match sent {
        Ok(bytes) => Ok(bytes),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(Failure::os("send", error.into())),
    }
}

/// `flags`: 0, or those of an [immediate](super::ring::IMMEDIATE) send.
#[inline(always)]
pub(super) fn start(
    descriptor: types::Fd,
    flags: i32,
    pipe: Option<WriteFlags>,
    chunks: &Chunks,
    gather: &mut Option<Pinned<Gather>>,
    spare: &mut Vec<Pinned<Gather>>,
) -> squeue::Entry {
    if chunks.count() == 1 {
        let piece = chunks.first();
        let len = u32::try_from(piece.len().min(TRANSFER_MAX)).expect("it is below 2^31");
        return match pipe {
            None => opcode::Send::new(descriptor, piece.as_ptr(), len)
                .flags(MSG_NOSIGNAL | flags)
                .build(),
            Some(flags) => opcode::Write::new(descriptor, piece.as_ptr(), len)
                .offset(AT_POSITION)
                .rw_flags(flags.0)
                .build(),
        };
    }
    let gather =
        gather.get_or_insert_with(|| spare.pop().unwrap_or_else(|| Pinned::new(Gather::new())));
    let count = gather.list(chunks);
    match pipe {
        None => opcode::SendMsg::new(descriptor, gather.as_ptr().cast::<libc::msghdr>())
            .flags((MSG_NOSIGNAL | flags).cast_unsigned())
            .build(),
        Some(flags) => {
            let count = u32::try_from(count).expect("it is at most `PIECES_MAX`");
            opcode::Writev::new(descriptor, gather.pieces(), count)
                .offset(AT_POSITION)
                .rw_flags(flags.0)
                .build()
        }
    }
}

pub(super) fn finish(pending: &mut Pending, cqe: Cqe) -> Next {
    match (errno(cqe), usize::try_from(cqe.result).unwrap_or(0)) {
        (None, 0) | (Some(libc::EAGAIN), _) => poll_first(pending),
        (Some(libc::EINTR), _) => Next::Again(None),
        (Some(errno), _) => failed(pending, errno),
        (None, bytes) => {
            let Work::Send { chunks, .. } = &mut pending.work else {
                unreachable!("only sends are finished here");
            };
            chunks.note_sent(bytes);
            Next::End(Ok(Outcome::Sent { bytes }))
        }
    }
}
