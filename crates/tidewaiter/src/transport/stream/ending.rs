//! The end of a stream. First the send under way comes back, so that it is known what the OS did not take; then the
//! protocol is told; only then is the handle closed.
//!
//! A system that closes a TCP socket while its peer is still sending resets the connection, and the peer then loses
//! what it had not read yet. So a connection that ends in order lingers: it ends its own side, and goes on receiving,
//! for nobody, until the peer has ended the other one.

use std::rc::Rc;
use std::time::Duration;

use super::super::protocol::Protocol;
use super::super::transport::Transport;
use super::{Phase, State, Stream, StreamKind, WriteSide};
use crate::error::Reason;
use crate::port::CloseMode;
use crate::reactor::{DelayedCall, LiveKind};

/// A lingering connection is closed after so long without a byte: a peer that is still sending would have been heard
/// of by then, even if packets were lost and sent again.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// After so many times that long it is closed in any case: a peer that sends on and on must not hold its socket.
const LINGER_ROUNDS: u32 = 5;
/// Once it is about to end, a connection receives no more than so much: more than networks and systems hold of what
/// a peer sends before it looks for an answer.
const DISCARD_MAX: usize = 64 << 20;
/// How long a stopping reactor waits for a stream to send what it has queued, and for its peer to end.
const STOP_FLUSH: Duration = Duration::from_secs(1);

/// How the handle is closed, once the protocol has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::transport) enum Ending {
    /// In order: a TCP connection lingers before.
    #[default]
    InOrder,
    /// Without more ado.
    AtOnce,
    /// By a reset.
    Reset,
}

/// What a stream has to keep from the moment on in which it is asked to end.
#[derive(Default)]
pub(super) struct Farewell {
    ending: Ending,
    /// Why it ends, if that is decided.
    reason: Option<Reason>,
    /// How many bytes were written, and never taken by the OS.
    unsent: usize,
    /// How many bytes were received for nobody.
    discarded: usize,
    /// Ends the lingering.
    timer: Option<DelayedCall>,
}

impl State {
    fn farewell(&mut self) -> &mut Farewell {
        self.farewell.get_or_insert_default()
    }

    /// How many bytes were written and never taken by the OS; known once the end is told.
    pub(in crate::transport) fn unsent(&self) -> usize {
        self.farewell.as_ref().map_or(0, |farewell| farewell.unsent)
    }

    /// Whether to receive for nobody, so that the peer is not reset.
    pub(super) fn discards(&self) -> bool {
        let ending = (self.phase == Phase::Open && self.leaving) || self.phase == Phase::Told;
        ending && self.may_discard()
    }

    /// Whether the peer may still be sending, and has not sent too much for nobody.
    fn may_discard(&self) -> bool {
        let discarded = self.farewell.as_ref().map_or(0, |kept| kept.discarded);
        !self.read_ended && discarded < DISCARD_MAX
    }
}

impl Stream {
    /// Closes once everything queued is sent and no producer is left.
    pub(in crate::transport) fn lose(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open || std::mem::replace(&mut state.leaving, true) {
            return;
        }
        let held = state.held.take();
        state.read_ended |= held.is_some_and(|held| held.end);
        drop(state);
        self.finish_if_drained();
        // The peer may have to send all of its own before it receives ours.
        self.receive_more();
    }

    /// Ends now: what is queued will not be sent. [`Protocol::connection_lost`] follows from the loop.
    pub(in crate::transport) fn close(self: &Rc<Self>, ending: Ending, reason: Reason) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Closing;
        let farewell = state.farewell();
        farewell.ending = ending;
        // Whatever befalls a connection that is to stop, it is lost because of the stop.
        farewell.reason.get_or_insert(reason);
        let sending = state.sending;
        drop(state);
        if let Some((operation, _)) = sending {
            // Its completion tells what it did not send.
            self.reactor.port_mut().cancel(operation);
        } else {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.end());
        }
    }

    /// Loses the connection for a panic, even if it was about to close for another reason.
    pub(super) fn panicked(self: &Rc<Self>) {
        self.close(Ending::AtOnce, Reason::Panicked);
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closing {
            state.farewell().reason = Some(Reason::Panicked);
        }
    }

    /// Tells the end, if there is one and no send is under way any more, and goes on to close the handle. From the
    /// loop.
    pub(super) fn end(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Closing || state.sending.is_some() {
            return;
        }
        state.phase = Phase::Told;
        let queue = std::mem::take(&mut state.queue);
        state.held = None;
        let farewell = state.farewell();
        farewell.unsent = queue.len();
        let reason = farewell.reason.take().unwrap_or(Reason::Done);
        let in_order = farewell.ending == Ending::InOrder;
        let lingers = in_order && matches!(self.kind, StreamKind::Tcp(_)) && state.may_discard();
        let writing = std::mem::replace(&mut state.write, WriteSide::Finished);
        drop(state);
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
            self.let_go();
        }
    }

    fn tell(self: &Rc<Self>, reason: Reason) {
        let unsent = self.state.borrow().unsent();
        if unsent > 0 && matches!(reason, Reason::Stopped) {
            let transport = Transport::of(self);
            log::warn!("{transport:?}: {unsent} bytes were not sent when the reactor stopped");
        }
        let producer = self.state.borrow_mut().producer.take();
        if let Some(producer) = producer {
            self.reactor.guard("a producer", move || producer.stop());
        }
        self.enter(|protocol, transport| protocol.connection_lost(transport, reason));
        // Whatever the protocol holds is let go of here, even if somebody keeps the transport.
        let protocol = self.protocol.replace(Box::new(Gone));
        self.reactor
            .drop_guarded("the drop of a protocol", protocol);
    }

    pub(super) fn shutdown_write(&self) {
        if let Err(error) = self.reactor.port_mut().shutdown_write(self.handle) {
            // The peer is gone already: receiving will say how.
            log::debug!("shutdown: {error}");
        }
    }

    /// Receives for nobody until the peer ends, or `rounds` have passed, or one without a byte.
    fn linger(self: &Rc<Self>, rounds: u32) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Told {
            return;
        }
        let farewell = state.farewell();
        let (stream, before) = (Rc::clone(self), farewell.discarded);
        let timer = self.reactor.call_later(LINGER_SILENCE, move |_| {
            let heard = stream.state.borrow_mut().farewell().discarded > before;
            if heard && rounds > 1 {
                stream.linger(rounds - 1);
            } else {
                stream.let_go();
            }
        });
        farewell.timer = Some(timer);
        drop(state);
        self.receive_more();
    }

    /// Takes note of bytes that nobody is to have.
    pub(super) fn discard(self: &Rc<Self>, bytes: usize) {
        self.reactor.counters().bytes_received.add(bytes as u64);
        let mut state = self.state.borrow_mut();
        state.farewell().discarded += bytes;
        if state.may_discard() {
            return;
        }
        let receiving = state.receiving;
        drop(state);
        if let Some(operation) = receiving {
            self.reactor.port_mut().cancel(operation);
        }
        self.let_go();
    }

    /// Has the handle closed, if the end was told.
    pub(super) fn let_go(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Told {
            return;
        }
        state.phase = Phase::Closed;
        let farewell = state.farewell();
        let timer = farewell.timer.take();
        let mode = match farewell.ending {
            Ending::Reset => CloseMode::Reset,
            Ending::InOrder | Ending::AtOnce => CloseMode::Graceful,
        };
        drop(state);
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

    /// The reactor stops: what is queued has some time to be sent.
    pub(super) fn stop_in_time(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open && !state.leaving {
            state.farewell().reason = Some(Reason::Stopped);
        }
        drop(state);
        self.finish();
        let stream = Rc::clone(self);
        self.reactor
            .call_later(STOP_FLUSH, move |_| stream.out_of_time());
    }

    /// The time that a stopping reactor gives is over.
    fn out_of_time(self: &Rc<Self>) {
        self.close(Ending::AtOnce, Reason::Stopped);
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closing {
            // Its send is about to come back.
            state.farewell().ending = Ending::AtOnce;
        }
        drop(state);
        self.let_go();
    }

    /// What is kept of a stream, as it is counted.
    pub(super) fn counted_as(&self) -> LiveKind {
        match self.state.borrow().phase {
            Phase::Open | Phase::Closing => LiveKind::Transport,
            Phase::Told | Phase::Closed => LiveKind::Lingering,
        }
    }
}

/// Stands where a protocol was.
pub(super) struct Gone;

impl Protocol for Gone {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}
