//! Ends a stream in three steps. First, the send under way completes, which tells how many bytes the OS did not take.
//! Second, the protocol learns of the end. Only then is the handle closed.
//!
//! If we close a TCP socket while the peer is still sending, the OS resets the connection, and the peer loses what it
//! has not read yet. So a connection that ends in order lingers: it sends its end of file, and receives and discards
//! data until the peer has ended its side.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::protocol::Protocol;
use super::state::{Ending, Event, Next, Stage};
use super::transport::Transport;
use super::{Flow, Sending, Stream};
use crate::error::Reason;
use crate::port::{CloseMode, Failure};
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

/// The state that a stream needs once it is to end.
#[derive(Default)]
pub(super) struct EndState {
    /// Why the stream ends, once that is decided.
    reason: Option<Reason>,
    /// How many written bytes the OS never took.
    unsent: usize,
    /// How many received bytes were discarded.
    discarded: usize,
    /// Ends the current period of lingering.
    timer: Option<DelayedCall>,
}

impl EndState {
    fn take_reason(&mut self) -> Reason {
        self.reason.take().unwrap_or_else(|| match self.unsent {
            0 => Reason::Done,
            _ => Reason::Reset(hung_up()),
        })
    }
}

fn hung_up() -> io::Error {
    let message = "the peer hung up before everything was sent";
    io::Error::new(io::ErrorKind::BrokenPipe, message)
}

impl Flow {
    fn end_state(&mut self) -> &mut EndState {
        self.end_state.get_or_insert_default()
    }

    pub(super) fn count_unsent(&mut self, bytes: usize) {
        self.end_state().unsent += bytes;
    }

    /// Drops what was received during a pause.
    fn drop_held(&mut self) {
        // Most often, nothing is held. Tell that without a call.
        if let Some(held) = self.held.take() {
            drop(held);
        }
    }

    /// How many written bytes the OS never took: known once the sending half has failed or the protocol learns of the
    /// end, 0 before.
    pub(super) fn unsent(&self) -> usize {
        self.end_state
            .as_ref()
            .map_or(0, |end_state| end_state.unsent)
    }

    /// Whether the OS has taken all that was ever written, as far as is known.
    fn is_all_taken(&self) -> bool {
        self.queued() == 0 && self.unsent() == 0
    }

    /// Why nothing is sent any more, if that is for a failure and the end, which will have this reason, is still to come.
    fn send_failure(&self) -> Option<&Reason> {
        let ended = self.state.stage() == Stage::Open && !self.state.takes_data(true);
        self.end_state
            .as_ref()
            .and_then(|end_state| end_state.reason.as_ref())
            .filter(|_| ended)
    }
}

impl Stream {
    /// Sees an end that the program asked for on its way.
    pub(super) fn leave(self: &Rc<Self>) {
        self.flow.borrow_mut().drop_held();
        self.finish_if_drained();
        if self.link.drops_while_leaving() {
            self.receive_more();
        } else {
            self.stop_receiving();
        }
    }

    /// Ends the stream now, without sending the queue. [`Protocol::connection_lost`] follows from the loop.
    pub(super) fn close(self: &Rc<Self>, ending: Ending, reason: impl Into<Option<Reason>>) {
        if self.on(Event::Close(ending)) == Next::AwaitSend {
            self.await_send(reason.into());
        }
    }

    /// Loses the connection for a failure of one of its operations.
    pub(super) fn failed(self: &Rc<Self>, failure: Failure) {
        match Reason::of(failure) {
            Some(reason) => self.lost(Event::Failed, reason),
            // The operation was cancelled. The stream may have been resumed since, so receive again.
            None => self.receive_more(),
        }
    }

    /// Loses the connection for a failed send or wait for a hang-up, or its sending half alone.
    pub(super) fn send_failed(self: &Rc<Self>, failure: Failure) {
        let Some(reason) = Reason::of(failure) else {
            return self.receive_more();
        };
        // A UNIX socket refuses a packet that is too long, for example. No end of the peer's follows, unlike when it is gone.
        if self.link.passes_descriptors && !matches!(reason, Reason::Reset(_)) {
            return self.lost(Event::Failed, reason);
        }
        match self.on(Event::SendFailed) {
            Next::AwaitSend => self.await_send(Some(reason)),
            Next::Receive => {
                self.stop_writing(reason);
                self.receive_more();
            }
            next => self.follow(next),
        }
    }

    /// Gives up what is queued. The end, which is still to come, will have `reason`.
    fn stop_writing(self: &Rc<Self>, reason: Reason) {
        let mut flow = self.flow.borrow_mut();
        let queue = std::mem::take(&mut flow.queue);
        let files = flow.files.take();
        let producer = flow.producer.take();
        let end_state = flow.end_state();
        end_state.reason.get_or_insert(reason);
        end_state.unsent += queue.len();
        drop(flow);
        if let Some(files) = files {
            self.lose_files(*files, queue.len());
        }
        self.reactor.discard(queue);
        self.wake_waiting();
        if let Some(producer) = producer {
            self.reactor.guard("a producer", move || producer.stop());
        }
    }

    /// Loses the connection for `reason`, if it is open.
    fn lost(self: &Rc<Self>, event: Event, reason: Reason) {
        match self.on(event) {
            Next::AwaitSend => self.await_send(Some(reason)),
            next => self.follow(next),
        }
    }

    /// Loses the connection for a panic, even if it was about to close for another reason.
    pub(super) fn panicked(self: &Rc<Self>) {
        self.close(Ending::AtOnce, Reason::Panicked);
        let mut flow = self.flow.borrow_mut();
        if flow.state.is_closing() {
            flow.end_state().reason = Some(Reason::Panicked);
        }
    }

    /// Cancels the send under way, whose completion says which bytes it did not send. Without a `reason`, the stream ends in
    /// order if there are none.
    pub(super) fn await_send(self: &Rc<Self>, reason: Option<Reason>) {
        let mut flow = self.flow.borrow_mut();
        // A reason that is set already wins: once the reactor stops, that is why the connection is lost.
        let known = &mut flow.end_state().reason;
        *known = known.take().or(reason);
        let sending = flow.sending;
        drop(flow);
        if let Sending::UnderWay { operation, .. } = sending {
            self.reactor.port_mut().cancel(operation);
        } else {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.end_if_sent());
        }
    }

    /// If the stream is closing and no send is under way, reports the end to the protocol. To be called from the loop.
    pub(super) fn end_if_sent(self: &Rc<Self>) {
        if !self.flow.borrow().is_sending() {
            self.happened(Event::SendOver);
        }
    }

    /// Reports the end to the protocol; then lingers or closes the handle.
    pub(super) fn tell_end(self: &Rc<Self>, shut_down: bool, linger: bool) {
        let mut flow = self.flow.borrow_mut();
        let queue = std::mem::take(&mut flow.queue);
        let files = flow.files.take();
        flow.drop_held();
        let end_state = flow.end_state();
        end_state.unsent += queue.len();
        let reason = end_state.take_reason();
        drop(flow);
        self.reactor
            .counters()
            .recount(LiveKind::Transport, LiveKind::Lingering);
        if shut_down {
            self.shutdown_write();
        }
        if let Some(files) = files {
            self.lose_files(*files, queue.len());
        }
        self.tell(reason);
        self.reactor.discard(queue);
        if linger {
            self.linger(LINGER_ROUNDS);
        } else {
            self.happened(Event::LingerOver);
        }
    }

    fn tell(self: &Rc<Self>, reason: Reason) {
        let unsent = self.flow.borrow().unsent();
        if unsent > 0 && matches!(reason, Reason::Stopped) {
            let transport = Transport::of(self);
            log::warn!("{transport:?}: {unsent} bytes were not sent when the reactor stopped");
        }
        if let Some(peer) = &self.link.peer {
            self.span
                .within(|| log::debug!("{peer}: disconnected: {reason}"));
        }
        let producer = self.flow.borrow_mut().producer.take();
        if let Some(producer) = producer {
            self.reactor.guard("a producer", move || producer.stop());
        }
        self.end_timing();
        self.enter(|protocol, transport| protocol.connection_lost(transport, reason));
        self.wake_waiting();
        // Drop the protocol here, even if the program still holds a transport.
        let protocol = self.protocol.replace(Box::new(Gone));
        self.reactor
            .drop_guarded("the drop of a protocol", protocol);
    }

    pub(super) fn shutdown_write(&self) {
        if let Err(error) = self.reactor.port_mut().shutdown_write(self.output()) {
            // The peer is gone already, and the next receive reports how; or it is a pipe, which only a close ends.
            log::debug!("shutdown: {error}");
        }
        self.close_output();
    }

    /// Receives and discards until the peer ends, a round passes without a byte, or `rounds` have passed.
    fn linger(self: &Rc<Self>, rounds: u32) {
        let mut flow = self.flow.borrow_mut();
        if !matches!(flow.state.stage(), Stage::Told(_)) {
            return;
        }
        let end_state = flow.end_state();
        let (stream, before) = (Rc::clone(self), end_state.discarded);
        let timer = self.reactor.call_later(LINGER_SILENCE, move |_| {
            let heard = stream.flow.borrow_mut().end_state().discarded > before;
            if heard && rounds > 1 {
                stream.linger(rounds - 1);
            } else {
                stream.happened(Event::LingerOver);
            }
        });
        end_state.timer = Some(timer);
        drop(flow);
        self.receive_more();
    }

    /// Counts received bytes that are not delivered; at the limit, receives no more.
    pub(super) fn discard(self: &Rc<Self>, bytes: usize) {
        self.reactor.counters().bytes_received.add(bytes as u64);
        let mut flow = self.flow.borrow_mut();
        let end_state = flow.end_state();
        end_state.discarded += bytes;
        if end_state.discarded < DISCARD_MAX {
            return;
        }
        drop(flow);
        self.stop_receiving();
        self.happened(Event::DroppedEnough);
    }

    pub(super) fn close_handle(&self, mode: CloseMode) {
        let mut flow = self.flow.borrow_mut();
        let timer = flow.end_state().timer.take();
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
        self.close_output();
    }

    /// Closes the handle that sends, if it is one of its own and still open.
    fn close_output(&self) {
        if let Some(output) = self.link.output {
            let mut port = self.reactor.port_mut();
            if let Err(error) = port.close(output, CloseMode::Graceful, self.token.get()) {
                log::trace!("the sending handle was closed before: {error}");
            }
        }
    }

    /// The stream leaves the reactor with its last handle.
    pub(super) fn handle_closed(&self) {
        self.handles.set(self.handles.get() - 1);
        if self.handles.get() == 0 {
            self.reactor.unregister(self.token.get());
        }
    }

    /// Called when the reactor stops: gives the queue a limited time to be sent.
    pub(super) fn stop_in_time(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.state.stage() == Stage::Open {
            flow.end_state().reason = Some(Reason::Stopped);
        }
        drop(flow);
        self.lose_without_producer();
        let stream = Rc::clone(self);
        self.reactor.call_later(STOP_FLUSH, move |_| {
            stream.lost(Event::OutOfTime, Reason::Stopped);
        });
    }

    /// The kind under which [`Living`](crate::Living) counts this stream at its present stage.
    pub(super) fn counted_as(&self) -> LiveKind {
        match self.flow.borrow().state.stage() {
            Stage::Open | Stage::Leaving | Stage::Closing(_) => LiveKind::Transport,
            Stage::Told(_) | Stage::Closed => LiveKind::Lingering,
        }
    }
}

/// Questions of futures that write.
impl Transport {
    /// Whether the OS has taken all that was ever written, as far as is known.
    pub(crate) fn is_all_taken(&self) -> bool {
        self.stream().flow.borrow().is_all_taken()
    }

    /// Shows why nothing is sent any more, if that is for a failure, and the end is still to come: the peer may be
    /// sending.
    pub(crate) fn with_send_failure<R>(&self, look: impl FnOnce(&Reason) -> R) -> Option<R> {
        self.stream().flow.borrow().send_failure().map(look)
    }
}

/// Takes the place of a dropped protocol.
pub(super) struct Gone;

impl Protocol for Gone {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}
