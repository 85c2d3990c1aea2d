//! Ends a stream in three steps. First, the send under way completes, which tells how many bytes the OS did not take.
//! Second, the protocol learns of the end. Only then is the handle closed.
//!
//! If we close a TCP socket while the peer is still sending, the OS resets the connection, and the peer loses what it
//! has not read yet. So a connection that ends in order lingers: it sends its end of file, and receives and discards
//! data until the peer has ended its side.

use std::rc::Rc;
use std::time::Duration;

use super::protocol::Protocol;
use super::transport::Transport;
use super::{Flow, Phase, Stream, WriteSide};
use crate::error::Reason;
use crate::port::CloseMode;
use crate::reactor::{DelayedCall, LiveKind};

/// A lingering connection is closed after this long without a byte. Data from a peer that is still sending would
/// have arrived by then, even if packets were lost and sent again.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// A lingering connection is closed after this many such periods in any case, so that a peer that never stops
/// sending cannot hold the socket.
const LINGER_ROUNDS: u32 = 5;
/// An ending connection discards at most this many bytes. That is more than networks and systems buffer of what a
/// peer sends before it reads an answer.
const DISCARD_MAX: usize = 64 << 20;
/// How long a stopping reactor waits for a stream to send its queue, and for the peer to end.
const STOP_FLUSH: Duration = Duration::from_secs(1);

/// How the handle is closed, once the protocol knows of the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order: a TCP connection lingers first.
    #[default]
    InOrder,
    /// At once, without lingering.
    AtOnce,
    /// At once: on TCP, by a reset.
    Reset,
}

/// The state that a stream needs once it is to end.
#[derive(Default)]
pub(super) struct EndState {
    ending: Ending,
    /// Why the stream ends, once that is decided.
    reason: Option<Reason>,
    /// How many written bytes the OS never took.
    unsent: usize,
    /// How many received bytes were discarded.
    discarded: usize,
    /// Ends the current period of lingering.
    timer: Option<DelayedCall>,
}

impl Flow {
    fn end_state(&mut self) -> &mut EndState {
        self.end_state.get_or_insert_default()
    }

    /// How many written bytes the OS never took: known once the protocol learns of the end, 0 before.
    pub(super) fn unsent(&self) -> usize {
        self.end_state
            .as_ref()
            .map_or(0, |end_state| end_state.unsent)
    }

    /// Whether to receive and discard, so that the OS does not reset the peer.
    pub(super) fn discards(&self) -> bool {
        let ending = (self.phase == Phase::Open && self.leaving) || self.phase == Phase::Told;
        ending && self.may_discard()
    }

    /// Whether the peer may still be sending, and the limit on discarded bytes is not reached.
    fn may_discard(&self) -> bool {
        let discarded = self.end_state.as_ref().map_or(0, |kept| kept.discarded);
        !self.read_ended && discarded < DISCARD_MAX
    }
}

impl Stream {
    /// Closes once everything queued is sent and no producer is left.
    pub(super) fn lose(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Open || std::mem::replace(&mut flow.leaving, true) {
            return;
        }
        let held = flow.held.take();
        flow.read_ended |= held.is_some_and(|held| held.end);
        drop(flow);
        self.finish_if_drained();
        // Receive and discard: the peer may not read our data before it has sent all of its own.
        self.receive_more();
    }

    /// Ends the stream now, without sending the queue. [`Protocol::connection_lost`] follows from the loop.
    pub(super) fn close(self: &Rc<Self>, ending: Ending, reason: Reason) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Open {
            return;
        }
        flow.phase = Phase::Closing;
        let end_state = flow.end_state();
        end_state.ending = ending;
        // A reason that is set already wins: once the reactor stops, that is why the connection is lost.
        end_state.reason.get_or_insert(reason);
        let sending = flow.sending;
        drop(flow);
        if let Some((operation, _)) = sending {
            // The send's completion says which bytes it did not send.
            self.reactor.port_mut().cancel(operation);
        } else {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.end());
        }
    }

    /// Loses the connection for a panic, even if it was about to close for another reason.
    pub(super) fn panicked(self: &Rc<Self>) {
        self.close(Ending::AtOnce, Reason::Panicked);
        let mut flow = self.flow.borrow_mut();
        if flow.phase == Phase::Closing {
            flow.end_state().reason = Some(Reason::Panicked);
        }
    }

    /// If the stream is closing and no send is under way, reports the end to the protocol; then lingers or closes the
    /// handle. To be called from the loop.
    pub(super) fn end(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Closing || flow.sending.is_some() {
            return;
        }
        flow.phase = Phase::Told;
        let queue = std::mem::take(&mut flow.queue);
        flow.held = None;
        let end_state = flow.end_state();
        end_state.unsent = queue.len();
        let reason = end_state.reason.take().unwrap_or(Reason::Done);
        let in_order = end_state.ending == Ending::InOrder;
        let lingers = in_order && self.link.lingers && flow.may_discard();
        let writing = std::mem::replace(&mut flow.write, WriteSide::Finished);
        drop(flow);
        self.reactor
            .counters()
            .recount(LiveKind::Transport, LiveKind::Lingering);
        if lingers && writing != WriteSide::Finished {
            self.shutdown_write();
        }
        self.tell(reason);
        self.reactor.discard(queue);
        if lingers {
            self.linger(LINGER_ROUNDS);
        } else {
            self.close_handle();
        }
    }

    fn tell(self: &Rc<Self>, reason: Reason) {
        let unsent = self.flow.borrow().unsent();
        if unsent > 0 && matches!(reason, Reason::Stopped) {
            let transport = Transport::of(self);
            log::warn!("{transport:?}: {unsent} bytes were not sent when the reactor stopped");
        }
        let producer = self.flow.borrow_mut().producer.take();
        if let Some(producer) = producer {
            self.reactor.guard("a producer", move || producer.stop());
        }
        self.enter(|protocol, transport| protocol.connection_lost(transport, reason));
        // Drop the protocol here, even if the program still holds a transport.
        let protocol = self.protocol.replace(Box::new(Gone));
        self.reactor
            .drop_guarded("the drop of a protocol", protocol);
    }

    pub(super) fn shutdown_write(&self) {
        if let Err(error) = self.reactor.port_mut().shutdown_write(self.handle) {
            // The peer is gone already; the next receive reports how.
            log::debug!("shutdown: {error}");
        }
    }

    /// Receives and discards until the peer ends, a round passes without a byte, or `rounds` have passed.
    fn linger(self: &Rc<Self>, rounds: u32) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Told {
            return;
        }
        let end_state = flow.end_state();
        let (stream, before) = (Rc::clone(self), end_state.discarded);
        let timer = self.reactor.call_later(LINGER_SILENCE, move |_| {
            let heard = stream.flow.borrow_mut().end_state().discarded > before;
            if heard && rounds > 1 {
                stream.linger(rounds - 1);
            } else {
                stream.close_handle();
            }
        });
        end_state.timer = Some(timer);
        drop(flow);
        self.receive_more();
    }

    /// Counts received bytes that are not delivered; at the limit, stops receiving and closes the handle.
    pub(super) fn discard(self: &Rc<Self>, bytes: usize) {
        self.reactor.counters().bytes_received.add(bytes as u64);
        let mut flow = self.flow.borrow_mut();
        flow.end_state().discarded += bytes;
        if flow.may_discard() {
            return;
        }
        let receiving = flow.receiving;
        drop(flow);
        if let Some(operation) = receiving {
            self.reactor.port_mut().cancel(operation);
        }
        self.close_handle();
    }

    /// Closes the handle, if the protocol knows of the end.
    pub(super) fn close_handle(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Told {
            return;
        }
        flow.phase = Phase::Closed;
        let end_state = flow.end_state();
        let timer = end_state.timer.take();
        let mode = match end_state.ending {
            Ending::Reset => CloseMode::Reset,
            Ending::InOrder | Ending::AtOnce => CloseMode::Graceful,
        };
        drop(flow);
        if let Some(timer) = timer {
            timer.cancel();
        }
        let closing = self
            .reactor
            .port_mut()
            .close(self.handle, mode, self.token.get());
        debug_assert!(
            closing.is_ok() || self.reactor.is_copied(),
            "a stream closes its own handle, once"
        );
    }

    /// Called when the reactor stops: gives the queue a limited time to be sent.
    pub(super) fn stop_in_time(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase == Phase::Open && !flow.leaving {
            flow.end_state().reason = Some(Reason::Stopped);
        }
        drop(flow);
        self.finish();
        let stream = Rc::clone(self);
        self.reactor
            .call_later(STOP_FLUSH, move |_| stream.out_of_time());
    }

    /// Closes the stream when the time that a stopping reactor gives it is over.
    fn out_of_time(self: &Rc<Self>) {
        self.close(Ending::AtOnce, Reason::Stopped);
        let mut flow = self.flow.borrow_mut();
        if flow.phase == Phase::Closing {
            // `close` may have been called before, for an end in order that still awaits its send: do not linger.
            flow.end_state().ending = Ending::AtOnce;
        }
        drop(flow);
        self.close_handle();
    }

    /// The kind under which [`Living`](crate::Living) counts this stream in its present phase.
    pub(super) fn counted_as(&self) -> LiveKind {
        match self.flow.borrow().phase {
            Phase::Open | Phase::Closing => LiveKind::Transport,
            Phase::Told | Phase::Closed => LiveKind::Lingering,
        }
    }
}

/// Takes the place of a dropped protocol.
pub(super) struct Gone;

impl Protocol for Gone {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}
