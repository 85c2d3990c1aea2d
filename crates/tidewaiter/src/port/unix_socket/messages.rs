//! Receiving and sending with descriptors, and whole packets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::super::DESCRIPTORS_MAX;
use super::super::buffer::Lease;
use super::super::chunks::Chunks;
use super::super::completion::{PassedDescriptors, ReceivedWithDescriptors};
use super::super::{Failure, Outcome};
use super::RECEIVE_FLAGS;

/// The most pieces of memory in one send.
const PIECES_MAX: usize = 64;

/// The most messages that one call sends before others get their turn.
const MESSAGES_MAX: usize = 64;

/// How a socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::port) struct How {
    /// It is a socket of sequenced packets.
    pub(in crate::port) packets: bool,
    /// Descriptors that the peer passes are taken. Otherwise the OS closes them.
    pub(in crate::port) descriptors: bool,
}

/// Receives once; returns `None` if nothing has arrived.
pub(in crate::port) fn receive(
    socket: BorrowedFd<'_>,
    mut lease: Lease,
    how: How,
) -> Result<Option<Outcome>, Failure> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let room = if how.descriptors {
        &mut space[..]
    } else {
        &mut []
    };
    let mut control = RecvAncillaryBuffer::new(room);
    let mut memory = [IoSliceMut::new(lease.as_mut_slice())];
    let received = retry_on_intr(|| {
        let flags = RECEIVE_FLAGS | RecvFlags::DONTWAIT;
        recvmsg(socket, &mut memory, &mut control, flags)
    });
    let received = match received {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(Failure::os("recvmsg", error.into())),
    };
    // Take them at once, so that they are closed whatever follows.
    let descriptors = take(&mut control);
    if how.packets && received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Failure::os("recvmsg", too_long(lease.capacity())));
    }
    if received.bytes == 0 {
        return Ok(Some(Outcome::EndOfFile));
    }
    let data = lease.filled(received.bytes);
    let some_lost = how.descriptors && received.flags.contains(ReturnFlags::CTRUNC);
    if descriptors.is_empty() && !some_lost {
        return Ok(Some(Outcome::Received(data)));
    }
    let passed = PassedDescriptors {
        descriptors,
        some_lost,
    };
    let received = ReceivedWithDescriptors { data, passed };
    Ok(Some(Outcome::ReceivedWithDescriptors(Box::new(received))))
}

fn take(control: &mut RecvAncillaryBuffer<'_>) -> Vec<crate::os::OwnedDescriptor> {
    let mut all = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    if RECEIVE_FLAGS.is_empty() {
        // It fails only for descriptors that are not open.
        let _ = all
            .iter()
            .try_for_each(|one| fcntl_setfd(one, FdFlags::CLOEXEC));
    }
    all
}

fn too_long(capacity: usize) -> io::Error {
    let message =
        format!("a packet is longer than `surge_bytes` of the port's options ({capacity})");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Sends messages from the front of the queue until the OS takes no more; returns the number of bytes.
///
/// Returns an error only if nothing was sent: after a message that was sent, the next call has the error.
pub(in crate::port) fn send(
    socket: BorrowedFd<'_>,
    packets: bool,
    chunks: &mut Chunks,
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut sent = 0;
    for _ in 0..MESSAGES_MAX {
        match send_first(socket, packets, chunks, flags) {
            Ok(0) => break,
            Ok(bytes) => {
                chunks.note_sent(bytes);
                sent += bytes;
            }
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Sends the first message, or a part of it if the socket is a stream; returns the number of bytes.
fn send_first(
    socket: BorrowedFd<'_>,
    packets: bool,
    chunks: &Chunks,
    flags: SendFlags,
) -> Result<usize, Errno> {
    let Some((len, descriptors)) = chunks.first_message() else {
        return Ok(0);
    };
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::INVAL);
    }
    let mut pieces = first_pieces(chunks, len);
    let whole;
    if packets && pieces.len() > PIECES_MAX {
        // A packet leaves in one call, or not at all.
        whole = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect::<Vec<u8>>();
        pieces = vec![IoSlice::new(&whole)];
    }
    pieces.truncate(PIECES_MAX);
    retry_on_intr(|| sendmsg(socket, &pieces, &mut control, flags))
}

/// The pieces of the first `len` bytes.
fn first_pieces(chunks: &Chunks, mut len: usize) -> Vec<IoSlice<'_>> {
    let mut pieces = Vec::new();
    for piece in chunks.slices() {
        let piece = &piece[..piece.len().min(len)];
        if piece.is_empty() {
            break;
        }
        len -= piece.len();
        pieces.push(IoSlice::new(piece));
    }
    pieces
}
