//! Sends, to sockets and pipes, from one piece of memory or from several.

use std::io::IoSlice;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::SendAncillaryBuffer;
use socket2::Socket;

use super::super::calls::PRESSED_BYTES_MAX;
use super::super::chunks::Chunks;
use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::{Attempt, Tools};
use super::entry::Entry;
use super::pending::{Pending, Work};
use super::sigpipe::{self, Quiet};

/// The most pieces of memory in one send.
const PIECES_MAX: usize = 64;

impl Entry {
    /// Sends as much of `pieces` as the OS takes now; nothing if a send is under way or the socket is
    /// known to be full.
    #[inline(always)]
    pub(super) fn send_now(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, Failure> {
        let Source::Stream(socket) = &self.source else {
            return Ok(0);
        };
        let may_succeed = self.output.is_none() && (self.writable || !self.watched);
        if !may_succeed {
            return Ok(0);
        }
        match send_to_socket(socket, pieces) {
            Ok(bytes) => {
                let asked: usize = pieces.iter().map(|piece| piece.len()).sum();
                self.writable = bytes == asked || !self.short_is_all;
                Ok(bytes)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(self.broken_by(error)),
        }
    }

    /// Records the error of a send.
    pub(super) fn broken_by(&mut self, error: Errno) -> Failure {
        // EPIPE follows our own shutdown, or an error that the kernel has already reported.
        if error != Errno::PIPE {
            self.broken = Some(error);
        }
        Failure::os("send", error.into())
    }
}

pub(super) fn attempt(entry: &mut Entry, tools: &mut Tools) -> Attempt {
    let Some(Pending {
        work: Work::Send(chunks),
        ..
    }) = &mut entry.output
    else {
        unreachable!("it was found to be a send");
    };
    // Most sends have one piece, so they avoid the long list.
    let (mut one, mut many);
    let pieces: &mut [IoSlice<'_>] = if chunks.count() == 1 {
        one = [IoSlice::new(&[]); 1];
        &mut one
    } else {
        many = [IoSlice::new(&[]); PIECES_MAX];
        &mut many
    };
    let (count, asked) = gather(chunks, pieces);
    match send(&entry.source, &pieces[..count], &mut tools.quiet) {
        Ok(bytes) => {
            entry.writable = bytes == asked || !entry.short_is_all;
            chunks.note_sent(bytes);
            Attempt::Last(Ok(Outcome::Sent { bytes }))
        }
        Err(Errno::AGAIN) => {
            entry.writable = false;
            Attempt::NotReady
        }
        Err(error) => Attempt::Last(Err(entry.broken_by(error))),
    }
}

/// Lists the pieces for one send; returns their number and their size in bytes.
fn gather<'a>(chunks: &'a Chunks, pieces: &mut [IoSlice<'a>]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (piece, slice) in pieces.iter_mut().zip(chunks.slices()) {
        let slice = &slice[..slice.len().min(PRESSED_BYTES_MAX - bytes)];
        if slice.is_empty() {
            break;
        }
        *piece = IoSlice::new(slice);
        count += 1;
        bytes += slice.len();
    }
    (count, bytes)
}

#[inline(always)]
fn send_to_socket(socket: &Socket, pieces: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    match pieces {
        // `send` spares the kernel the list of pieces.
        [piece] => retry_on_intr(|| rustix::net::send(socket, piece, sigpipe::SEND_FLAGS)),
        _ => send_pieces(socket, pieces),
    }
}

#[inline(never)]
fn send_pieces(socket: &Socket, pieces: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    retry_on_intr(|| rustix::net::sendmsg(socket, pieces, &mut control, sigpipe::SEND_FLAGS))
}

fn send(
    source: &Source,
    pieces: &[IoSlice<'_>],
    quiet: &mut Option<Quiet>,
) -> rustix::io::Result<usize> {
    if let Source::Stream(socket) | Source::Duplex(socket) = source {
        return send_to_socket(socket, pieces);
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
