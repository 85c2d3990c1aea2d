//! Fast paths that avoid a copy or an operation:
//!
//! - A large write is offered to the OS at once; only bytes that it does not take are queued.
//! - Data just received and written again is sent from the receive buffer, without a copy.
//! - A queue of a single piece is sent by a system call; only bytes left over need an operation.
//! - A program may have the whole queue offered to the OS at once.
//! - Bytes that a future only lends are offered to the OS at once if they are many, and copied otherwise.

use std::io::IoSlice;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::link::Kept;
use super::producing::Registered;
use super::{Flow, SEND_BYTES_MAX, Sending, Stream};
use crate::port::{Buffer, Failure, PRESSED_BYTES_MAX, PRESSED_PIECES_MAX};

/// A slice of at least this many bytes is offered to the OS at once, because the system call costs less than a copy.
/// Smaller slices are gathered into one send.
const SEND_NOW_MIN: usize = 4 * 1024;

/// A protocol that writes at least this many bytes of the data it receives sends them from the port's buffer. Smaller
/// writes are copied and gathered: at 4 KiB, the copy costs no more than sharing the buffer.
pub(crate) const SHARE_MIN: usize = 8 * 1024;

/// From so many lent bytes on, they are offered to the OS at once.
const LENT_NOW_MIN: usize = 8 * 1024;

/// At most so many lent bytes are copied when the OS takes no more at once: their send shows when it takes more.
const LENT_AHEAD: usize = 16 * 1024;

impl Stream {
    /// Passes received data to the protocol.
    #[inline(always)]
    pub(super) fn deliver(self: &Rc<Self>, buffer: Buffer) {
        let counters = self.reactor.counters();
        counters.bytes_received.add(buffer.len() as u64);
        if buffer.len() < SHARE_MIN {
            self.deliver_bytes(&buffer);
        } else {
            self.reactor
                .deliver(buffer, |bytes| self.deliver_bytes(bytes));
        }
    }

    #[inline(never)]
    fn deliver_bytes(self: &Rc<Self>, data: &[u8]) {
        self.enter(|protocol, transport| protocol.data_received(transport, data));
    }

    /// Writes `data`: offers a large slice to the OS, and queues the rest. The rest is copied, unless it lies in the
    /// receive buffer and can be shared.
    pub(super) fn write_slice(self: &Rc<Self>, data: &[u8]) {
        let mut rest = data;
        if data.len() >= SEND_NOW_MIN && self.may_send_now() {
            rest = &data[self.send_now(data)..];
        }
        if rest.is_empty() {
            return;
        }
        if rest.len() >= SHARE_MIN
            && let Some(shared) = self.reactor.share_received(rest)
        {
            return self.write(|queue| queue.push_received(shared));
        }
        self.write(|queue| match self.link.keeps {
            Kept::Pieces => queue.push(Bytes::copy_from_slice(rest)),
            Kept::Bytes | Kept::Packets => queue.extend_from_slice(rest),
        });
    }

    /// Writes received bytes, and copies them only if the OS has taken a part that cannot be cut off.
    pub(super) fn write_received(self: &Rc<Self>, data: Buffer) {
        let mut sent = 0;
        if data.len() >= SEND_NOW_MIN && self.may_send_now() {
            sent = self.send_now(&data);
        }
        if sent == data.len() {
            return;
        }
        let rest = &data[sent..];
        if sent == 0 {
            self.write(|queue| queue.push_received(data));
        } else if let Some(shared) = data.share(rest) {
            self.write(|queue| queue.push_received(shared));
        } else {
            self.write_slice(rest);
        }
    }

    /// Offers the queue and then `data` to the OS, and queues the rest of it.
    pub(super) fn write_through(self: &Rc<Self>, mut data: Bytes) {
        self.offer_queue();
        if !data.is_empty() && self.may_send_now() {
            match self.press(&data) {
                Ok(bytes) => data.advance(bytes),
                Err(failure) => return self.failed(failure),
            }
        }
        // As in `Transport::write_bytes`.
        if !data.is_empty() {
            self.write(|queue| queue.push(data));
        }
    }

    /// Writes some of the bytes that the caller lends, from the front, and returns how many. If the OS takes no more at
    /// once, the stream is congested after that. Few bytes, and all if the caller wants that, are copied. Packets and messages
    /// are written whole.
    pub(super) fn write_lent(self: &Rc<Self>, pieces: &[IoSlice<'_>], copy: bool) -> usize {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.link.keeps != Kept::Bytes {
            match pieces {
                [piece] => self.write_slice(piece),
                _ => self.write_slice(&joined(pieces, total)),
            }
            return total;
        }
        if !copy && total >= LENT_NOW_MIN && self.reactor.sends_pressing() {
            self.offer_queue();
            if self.may_send_now() {
                return self.press_lent(pieces, total);
            }
        }
        self.copy_lent(pieces, 0, SEND_BYTES_MAX).unwrap_or(total)
    }

    /// Offers lent bytes to the OS. If it does not take all, queues a copy of the next ones.
    fn press_lent(self: &Rc<Self>, pieces: &[IoSlice<'_>], total: usize) -> usize {
        let mut list = [IoSlice::new(&[]); PRESSED_PIECES_MAX];
        let (offered, asked) = limited(pieces, &mut list);
        match self.press_pieces(offered) {
            Ok(bytes) if bytes == asked => bytes,
            Ok(bytes) => match self.copy_lent(pieces, bytes, LENT_AHEAD) {
                Some(copied) => {
                    self.congest();
                    bytes + copied
                }
                None => total,
            },
            Err(failure) => {
                self.failed(failure);
                total
            }
        }
    }

    /// Queues a copy of at most `bytes_max` bytes behind the first `start`, and returns how many. `None` if the stream takes
    /// no more data, and drops whatever is written.
    fn copy_lent(
        self: &Rc<Self>,
        pieces: &[IoSlice<'_>],
        mut start: usize,
        bytes_max: usize,
    ) -> Option<usize> {
        let mut copied = None;
        self.write(|queue| {
            let mut left = bytes_max;
            for piece in pieces {
                let rest = &piece[start.min(piece.len())..];
                start -= piece.len() - rest.len();
                let part = &rest[..rest.len().min(left)];
                queue.extend_from_slice(part);
                left -= part.len();
            }
            copied = Some(bytes_max - left);
        });
        copied
    }

    /// Offers the queue to the OS. What is left is sent at the end of the turn.
    fn offer_queue(self: &Rc<Self>) {
        let offers = self.sends_now(&self.flow.borrow());
        if offers && let Err(failure) = self.offer_pieces() {
            self.failed(failure);
        }
    }

    /// Offers the queue to the OS, piece by piece, if an operation may follow; returns whether it took everything.
    pub(super) fn offer_pieces(&self) -> Result<bool, Failure> {
        let mut flow = self.flow.borrow_mut();
        if flow.state.is_congested() || flow.queue.has_messages() {
            return Ok(false);
        }
        while !flow.queue.is_empty() {
            let piece = flow.queue.first();
            let len = piece.len();
            let bytes = self.press(piece)?;
            flow.queue.note_sent(bytes);
            if bytes < len {
                return Ok(false);
            }
        }
        let storage = std::mem::take(&mut flow.queue);
        drop(flow);
        self.reactor.keep_storage(storage);
        Ok(true)
    }

    /// Whether a write may go to the OS at once: no earlier bytes are queued or under way.
    #[inline(always)]
    fn may_send_now(&self) -> bool {
        let flow = self.flow.borrow();
        flow.takes_data() && flow.is_drained() && self.sends_now(&flow)
    }

    /// Whether data may be sent by a plain system call. With a pull producer it may not: the completion of a send
    /// operation is what asks the producer for more.
    fn sends_now(&self, flow: &Flow) -> bool {
        let pull = flow.producer.as_ref().is_some_and(Registered::is_pull);
        !pull && self.is_free_to_send(flow)
    }

    /// Whether nothing else is under way, so that a plain system call sends what is next.
    pub(super) fn is_free_to_send(&self, flow: &Flow) -> bool {
        let free = !flow.is_sending() && flow.files.is_none();
        flow.state.is_open() && free && self.link.sends_now
    }

    /// Offers `data` to the OS and returns how many bytes it took. An error loses the connection.
    #[inline(always)]
    fn send_now(self: &Rc<Self>, data: &[u8]) -> usize {
        self.offer(data).unwrap_or_else(|failure| {
            self.failed(failure);
            0
        })
    }

    /// Offers `data` to the OS and returns how many bytes it took.
    #[inline(always)]
    fn offer(&self, data: &[u8]) -> Result<usize, Failure> {
        let bytes = self.reactor.port_mut().send_now(self.output(), data)?;
        self.note_sent_now(bytes);
        Ok(bytes)
    }

    /// As `offer`, also on a port where an operation is cheaper.
    fn press(&self, data: &[u8]) -> Result<usize, Failure> {
        self.press_pieces(&[IoSlice::new(&data[..data.len().min(PRESSED_BYTES_MAX)])])
    }

    fn press_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<usize, Failure> {
        let output = self.output();
        let bytes = self.reactor.port_mut().send_pressing(output, pieces)?;
        self.note_sent_now(bytes);
        Ok(bytes)
    }

    #[inline]
    fn note_sent_now(&self, bytes: usize) {
        self.reactor.counters().bytes_sent.add(bytes as u64);
        if self.timed.get() && bytes > 0 {
            self.restart_limits(false);
        }
    }

    /// Offers the queue to the OS. Returns false if the caller must submit a send for the rest of it.
    pub(super) fn send_queued_now(self: &Rc<Self>) -> bool {
        let mut flow = self.flow.borrow_mut();
        // Only a completed send ends congestion, so a congested stream needs an operation. Several pieces need one
        // too: it sends them all in one call.
        let single = flow.queue.count() == 1 && !flow.queue.has_messages();
        if flow.state.is_congested() || !single || !self.sends_now(&flow) {
            return false;
        }
        let piece = flow.queue.first();
        match self.offer(piece) {
            Ok(bytes) => flow.queue.note_sent(bytes),
            Err(failure) => {
                drop(flow);
                self.failed(failure);
                return true;
            }
        }
        if !flow.queue.is_empty() {
            return false;
        }
        flow.sending = Sending::Idle;
        let storage = std::mem::take(&mut flow.queue);
        drop(flow);
        self.reactor.keep_storage(storage);
        self.finish_if_drained();
        true
    }
}

/// The pieces that one call takes, with the last one cut off if they have too many bytes; and how many bytes they have.
fn limited<'a, 'b>(
    pieces: &'a [IoSlice<'_>],
    list: &'b mut [IoSlice<'a>],
) -> (&'b [IoSlice<'a>], usize) {
    let (mut count, mut bytes) = (0, 0);
    let filled = pieces.iter().filter(|piece| !piece.is_empty());
    for (place, piece) in list.iter_mut().zip(filled) {
        let piece = &piece[..piece.len().min(PRESSED_BYTES_MAX - bytes)];
        *place = IoSlice::new(piece);
        count += 1;
        bytes += piece.len();
    }
    (&list[..count], bytes)
}

fn joined(pieces: &[IoSlice<'_>], total: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(total);
    for piece in pieces {
        joined.extend_from_slice(piece);
    }
    joined
}
