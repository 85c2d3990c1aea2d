//! Shortcuts: of a large write, what the OS takes at once is neither copied nor queued, and what was just received
//! is sent from where it is; of what is queued, what the OS takes at once is no operation.

use std::rc::Rc;

use super::producing::Registered;
use super::{Phase, State, Stream, StreamKind};
use crate::port::{Buffer, Failure};

/// From so many bytes on, a slice is offered to the OS at once: a call costs less than a copy. Smaller ones
/// are gathered.
const SEND_NOW_MIN: usize = 4 * 1024;

/// From so many bytes on, the port's memory is kept for what a protocol sends on of what it received. Less is
/// copied, and gathered: with 4 KiB, that costs no more.
const SHARE_MIN: usize = 8 * 1024;

impl Stream {
    /// Gives the protocol what was received.
    pub(super) fn deliver(self: &Rc<Self>, buffer: Buffer) {
        let counters = self.reactor.counters();
        counters.bytes_received.add(buffer.len() as u64);
        let receive =
            |data: &[u8]| self.enter(|protocol, transport| protocol.data_received(transport, data));
        if buffer.len() < SHARE_MIN {
            receive(&buffer);
        } else {
            self.reactor.deliver(buffer, receive);
        }
    }

    /// Writes `data`, and copies what the OS does not take at once, unless the port has it.
    pub(in crate::transport) fn write_slice(self: &Rc<Self>, data: &[u8]) {
        let mut rest = data;
        if data.len() >= SEND_NOW_MIN && self.may_send_now() {
            rest = &data[self.send_now(data)..];
        }
        if rest.is_empty() {
            return;
        }
        let shared = match rest.len() {
            SHARE_MIN.. => self.reactor.share_received(rest),
            _ => None,
        };
        self.write(|queue| match shared {
            Some(buffer) => queue.push_received(buffer),
            None => queue.extend_from_slice(rest),
        });
    }

    /// Whether nothing is before what is written now.
    fn may_send_now(&self) -> bool {
        let state = self.state.borrow();
        state.takes_more() && state.queued() == 0 && self.sends_now(&state)
    }

    /// Whether a send needs no operation. A producer that is pulled is asked for more when a send has completed, so that
    /// it takes one.
    fn sends_now(&self, state: &State) -> bool {
        let pull = state.producer.as_ref().is_some_and(Registered::is_pull);
        state.phase == Phase::Open
            && state.sending.is_none()
            && !pull
            && matches!(self.kind, StreamKind::Tcp(_))
    }

    /// Offers `data` to the OS; how many bytes it took. An error loses the connection.
    fn send_now(self: &Rc<Self>, data: &[u8]) -> usize {
        self.offer(data).unwrap_or_else(|failure| {
            self.failed(failure);
            0
        })
    }

    /// Offers `data` to the OS; how many bytes it took.
    fn offer(&self, data: &[u8]) -> Result<usize, Failure> {
        let bytes = self.reactor.port_mut().send_now(self.handle, data)?;
        self.reactor.counters().bytes_sent.add(bytes as u64);
        Ok(bytes)
    }

    /// Offers what is queued to the OS. Returns whether that was all there is to do: what is left is to be submitted.
    pub(super) fn send_queued_now(self: &Rc<Self>) -> bool {
        let mut state = self.state.borrow_mut();
        // Of relief, an operation's completion tells; and many pieces are for one call that takes them all.
        if state.congested || state.queue.count() != 1 || !self.sends_now(&state) {
            return false;
        }
        let piece = state.queue.slices().next().unwrap_or_default();
        match self.offer(piece) {
            Ok(bytes) => state.queue.note_sent(bytes),
            Err(failure) => {
                drop(state);
                self.failed(failure);
                return true;
            }
        }
        if !state.queue.is_empty() {
            return false;
        }
        state.flush_owed = false;
        let storage = std::mem::take(&mut state.queue);
        drop(state);
        self.reactor.keep_storage(storage);
        self.finish_if_drained();
        true
    }
}
