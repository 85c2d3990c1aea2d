//! The state machine of a byte stream, for TCP connections and pipes alike.
//!
//! Its events are the port's completions ([`Live::completed`]) and the program's calls on a [`Transport`]. Such a
//! call never calls the protocol; the callbacks that it causes come from the loop later.

mod ending;
mod link;
mod pausing;
mod producer;
mod producing;
mod protocol;
mod sending_now;
mod transport;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::close_unawaited;
use crate::error::{Error, Reason};
use crate::port::{
    Buffer, Chunks, Completion, Failure, Handle, Operation, Outcome, Request, RequestKind, Token,
};
use crate::reactor::{Live, LiveKind, Reactor};
use ending::{EndState, Ending, Gone};
pub(crate) use link::{Direction, Link};
use pausing::{Held, Pauses};
pub use producer::{Producer, ProducerKind};
use producing::Registered;
pub use protocol::{Factory, Protocol};
pub use transport::Transport;

/// Above this many queued bytes, producers are paused.
const HIGH_WATER: usize = 64 * 1024;
/// At this many queued bytes or fewer, they are resumed.
const LOW_WATER: usize = 16 * 1024;
/// One operation sends at most this many pieces of memory...
const SEND_PIECES_MAX: usize = 64;
/// ...and no further piece once it has this many bytes.
const SEND_BYTES_MAX: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The stream is to end; the protocol learns of it once the send under way completes.
    Closing,
    /// The protocol knows of the end, and the connection lingers.
    Told,
    /// The port was asked to close the handle, or the reactor is gone.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteSide {
    Open,
    /// To be ended once the queue is sent.
    Finishing,
    Finished,
}

/// The parts of a stream that change. The fields are in the order of use, so that a message touches few cache lines.
#[repr(C)]
pub(super) struct Flow {
    phase: Phase,
    /// Whether to close the stream once the queue is sent.
    leaving: bool,
    write: WriteSide,
    /// Whether a flush is scheduled.
    flush_owed: bool,
    congested: bool,
    read_ended: bool,
    pauses: Pauses,
    hang_up: HangUp,
    queue: Chunks,
    /// Boxed, because few streams need it.
    held: Option<Box<Held>>,
    producer: Option<Registered>,
    /// The send under way, and how many bytes it holds.
    sending: Option<(Operation, usize)>,
    pub(super) high_water: usize,
    receiving: Option<Operation>,
    pub(super) low_water: usize,
    /// Boxed, because a stream needs it only once it is to end.
    end_state: Option<Box<EndState>>,
}

/// The state of a [`Request::HangUp`], which reports a hang-up while no receive is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HangUp {
    /// No request is under way.
    Unasked,
    /// The request is under way.
    Awaited,
    /// The peer has ended both directions; data may be left to receive.
    Seen,
}

/// A byte stream on a reactor. The fields are in the order of use, as in [`Flow`].
#[repr(C)]
pub(crate) struct Stream {
    token: Cell<Token>,
    pub(super) handle: Handle,
    pub(super) reactor: Reactor,
    /// Borrowed while one of its callbacks runs. Only the loop calls them, one at a time.
    protocol: RefCell<Box<dyn Protocol>>,
    pub(super) flow: RefCell<Flow>,
    /// Whether the OS holds back the last partial segment of each send.
    ends_held: Cell<bool>,
    pub(super) link: Link,
}

impl Stream {
    /// Registers a stream over `handle`, calls [`Protocol::connection_made`], and starts to receive. To be called
    /// from the loop.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor takes nothing new; the handle is closed then.
    pub(crate) fn start(
        reactor: &Reactor,
        handle: Handle,
        link: Link,
        protocol: Box<dyn Protocol>,
    ) -> Result<Rc<Stream>, Error> {
        let stream = Stream::register(reactor, handle, link, protocol)?;
        stream.begin();
        Ok(stream)
    }

    /// The first half of [`start`](Stream::start): registers the stream, without a callback.
    pub(crate) fn register(
        reactor: &Reactor,
        handle: Handle,
        link: Link,
        protocol: Box<dyn Protocol>,
    ) -> Result<Rc<Stream>, Error> {
        let stream = Rc::new(Stream {
            reactor: reactor.clone(),
            handle,
            link,
            token: Cell::new(Token::default()),
            ends_held: Cell::new(false),
            flow: RefCell::new(Flow::new()),
            protocol: RefCell::new(protocol),
        });
        match reactor.register(Rc::clone(&stream) as Rc<dyn Live>) {
            Ok(token) => stream.token.set(token),
            Err(error) => {
                close_unawaited(reactor, handle);
                reactor.drop_guarded("the drop of a protocol", stream);
                return Err(error);
            }
        }
        Ok(stream)
    }

    /// The second half of [`start`](Stream::start). To be called from the loop.
    pub(crate) fn begin(self: &Rc<Self>) {
        self.enter(|protocol, transport| protocol.connection_made(transport));
        self.receive_more();
        // A pipe that we write to never receives, and `connection_made` may have paused the stream.
        self.await_hang_up();
    }

    /// Calls the protocol. A panic in it loses the connection.
    fn enter(self: &Rc<Self>, call: impl FnOnce(&mut dyn Protocol, &Transport)) {
        let transport = Transport::of(self);
        let peer = || transport.peer_addr();
        let entered = self.reactor.guard_for("a protocol", peer, || {
            call(&mut **self.protocol.borrow_mut(), &transport);
        });
        if entered.is_none() {
            self.panicked();
        }
    }

    // Receiving.

    /// Submits a receive, if data is wanted and no receive is under way.
    fn receive_more(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        let wanted = flow.delivers() || flow.discards();
        if !wanted || flow.receiving.is_some() || !self.link.receives() {
            return;
        }
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.handle, Request::Receive, self.token.get());
        match submitted {
            Ok(operation) => flow.receiving = Some(operation),
            Err(source) => {
                drop(flow);
                self.failed(Failure::os("receive", source));
            }
        }
    }

    fn received(self: &Rc<Self>, buffer: Buffer) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Open || flow.leaving {
            drop(flow);
            self.discard(buffer.len());
            return;
        }
        if flow.is_paused() || flow.holds_bytes() {
            flow.held().buffers.push_back(buffer);
            // Cancel the receive only when data arrives: most pauses end before that.
            let receiving = flow.receiving;
            drop(flow);
            if let Some(operation) = receiving {
                self.reactor.port_mut().cancel(operation);
            }
            return;
        }
        drop(flow);
        self.deliver(buffer);
    }

    fn end_of_file(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Open || flow.leaving {
            flow.read_ended = true;
            drop(flow);
            self.close_handle();
            return;
        }
        // After a hang-up, a pause does not hold the end of file back, unless data is held before it.
        if (flow.is_paused() && !flow.hung_up()) || flow.holds_bytes() {
            flow.held().end = true;
            return;
        }
        flow.read_ended = true;
        let both_ended = flow.write == WriteSide::Finished || flow.hung_up();
        drop(flow);
        if !self.link.sends() {
            self.close(Ending::InOrder, Reason::Done);
            return;
        }
        self.enter(|protocol, transport| protocol.read_connection_lost(transport));
        if both_ended {
            self.close(Ending::InOrder, Reason::Done);
        }
    }

    // Sending.

    /// Lets `fill` add to the queue, if the stream still takes data.
    pub(super) fn write(self: &Rc<Self>, fill: impl FnOnce(&mut Chunks)) {
        let mut flow = self.flow.borrow_mut();
        if flow.told() || !flow.takes_more() || !self.link.sends() {
            return;
        }
        if !flow.queue.has_storage() {
            flow.queue = self.reactor.take_storage();
        }
        fill(&mut flow.queue);
        let queued = flow.queued();
        if queued == 0 || flow.phase == Phase::Closing {
            return;
        }
        let flush = flow.sending.is_none() && !std::mem::replace(&mut flow.flush_owed, true);
        let congested = queued > flow.high_water && !std::mem::replace(&mut flow.congested, true);
        let tell = congested && flow.producer.is_some();
        drop(flow);
        if flush {
            self.reactor.flush_soon(Rc::clone(self) as Rc<dyn Live>);
        }
        if tell {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.tell_producer());
        }
    }

    /// Submits a send of queued data, unless one is under way.
    fn send_more(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        flow.flush_owed = false;
        if flow.phase != Phase::Open || flow.sending.is_some() || flow.queue.is_empty() {
            return;
        }
        let mut part = std::mem::take(&mut flow.queue);
        if part.count() > SEND_PIECES_MAX || part.len() > SEND_BYTES_MAX {
            flow.queue = std::mem::replace(&mut part, self.reactor.take_storage());
            part.take_from(&mut flow.queue, SEND_PIECES_MAX, SEND_BYTES_MAX);
            if flow.queue.is_empty() {
                self.reactor.keep_storage(std::mem::take(&mut flow.queue));
            }
        }
        let bytes = part.len();
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.handle, Request::Send(part), self.token.get());
        match submitted {
            Ok(operation) => flow.sending = Some((operation, bytes)),
            Err(source) => {
                drop(flow);
                self.failed(Failure::os("send", source));
            }
        }
    }

    fn sent(self: &Rc<Self>, bytes: usize, mut unsent: Chunks) {
        self.reactor.counters().bytes_sent.add(bytes as u64);
        let mut flow = self.flow.borrow_mut();
        flow.queue.put_back(&mut unsent);
        self.reactor.keep_storage(unsent);
        if flow.phase != Phase::Open {
            drop(flow);
            self.end();
            return;
        }
        let drained = flow.queue.is_empty();
        let relieved = flow.congested && flow.queue.len() <= flow.low_water;
        let pull = flow.producer.as_ref().is_some_and(Registered::is_pull);
        if relieved {
            flow.congested = false;
        }
        let receives_on = relieved && flow.pauses.while_congested;
        drop(flow);
        if !drained {
            self.send_more();
        }
        if (relieved && !pull) || (drained && pull) {
            self.tell_producer();
        }
        if receives_on {
            self.receive_on();
        }
        if drained {
            self.hold_ends_of_pieces();
            self.finish_if_drained();
        }
    }

    /// Whether a push producer must wait.
    pub(super) fn is_congested(&self) -> bool {
        self.flow.borrow().congested
    }

    /// Ends the write side or the whole stream, if the program asked for that, the queue is sent and no producer is
    /// left.
    fn finish_if_drained(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase != Phase::Open || flow.queued() > 0 || flow.producer.is_some() {
            return;
        }
        if flow.leaving {
            drop(flow);
            self.close(Ending::InOrder, Reason::Done);
        } else if flow.write == WriteSide::Finishing {
            flow.write = WriteSide::Finished;
            let both_ended = flow.read_ended;
            drop(flow);
            self.end_writing(both_ended);
        }
    }

    fn end_writing(self: &Rc<Self>, both_ended: bool) {
        if !self.link.half_closes {
            self.close(Ending::InOrder, Reason::Done);
            return;
        }
        self.shutdown_write();
        let stream = Rc::clone(self);
        self.reactor.soon(move |_| {
            stream.enter(|protocol, transport| protocol.write_connection_lost(transport));
            if both_ended {
                stream.close(Ending::InOrder, Reason::Done);
            }
        });
    }

    pub(super) fn lose_write(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.phase == Phase::Open && flow.write == WriteSide::Open {
            flow.write = WriteSide::Finishing;
            drop(flow);
            self.finish_if_drained();
        }
    }

    /// Puts the unsent bytes of a failed or cancelled send back into the queue, to count them as unsent.
    fn take_back(&self, mut unsent: Chunks) {
        self.flow.borrow_mut().queue.put_back(&mut unsent);
        self.reactor.keep_storage(unsent);
    }

    // Ending.

    fn failed(self: &Rc<Self>, failure: Failure) {
        match Reason::of(failure) {
            Some(reason) => {
                self.close(Ending::AtOnce, reason);
                self.close_handle();
            }
            // The operation was cancelled. The stream may have been resumed since, so receive again.
            None => self.receive_more(),
        }
    }
}

impl Live for Stream {
    fn kind(&self) -> LiveKind {
        self.counted_as()
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        let received_last = completion.kind == RequestKind::Receive && !completion.more;
        if !completion.more {
            let mut flow = self.flow.borrow_mut();
            match completion.kind {
                RequestKind::Receive => flow.receiving = None,
                RequestKind::Send => flow.sending = None,
                RequestKind::HangUp => flow.hang_up = HangUp::Unasked,
                _ => {}
            }
        }
        match completion.result {
            Ok(Outcome::Received(buffer)) => self.received(buffer),
            Ok(Outcome::EndOfFile) => self.end_of_file(),
            Ok(Outcome::Sent { bytes }) => self.sent(bytes, completion.unsent),
            Ok(Outcome::HungUp) => self.hung_up(),
            Ok(Outcome::Closed) => self.reactor.unregister(self.token.get()),
            Ok(outcome) => log::error!("unexpected outcome for a stream: {outcome:?}"),
            Err(failure) => {
                self.take_back(completion.unsent);
                self.failed(failure);
                self.end();
            }
        }
        if received_last {
            self.await_hang_up();
        }
    }

    fn flush(self: Rc<Self>) {
        if !self.reactor.sends_gathered_now() || !self.send_queued_now() {
            self.send_more();
        }
    }

    fn stop(self: Rc<Self>) {
        self.stop_in_time();
    }

    fn abandon(&self) -> Option<String> {
        let mut flow = self.flow.borrow_mut();
        flow.phase = Phase::Closed;
        let queue = std::mem::take(&mut flow.queue);
        let producer = flow.producer.take();
        drop(flow);
        let protocol = self.protocol.replace(Box::new(Gone));
        let reactor = &self.reactor;
        reactor.discard(queue);
        reactor.drop_guarded("the drop of a producer", producer);
        reactor.drop_guarded("the drop of a protocol", protocol);
        None
    }
}

impl Flow {
    fn new() -> Flow {
        Flow {
            phase: Phase::Open,
            leaving: false,
            write: WriteSide::Open,
            queue: Chunks::new(),
            sending: None,
            flush_owed: false,
            high_water: HIGH_WATER,
            low_water: LOW_WATER,
            congested: false,
            producer: None,
            read_ended: false,
            receiving: None,
            pauses: Pauses::default(),
            held: None,
            hang_up: HangUp::Unasked,
            end_state: None,
        }
    }

    /// How many bytes are queued or in the send under way.
    pub(super) fn queued(&self) -> usize {
        self.queue.len() + self.sending.map_or(0, |(_, bytes)| bytes)
    }

    /// Whether the write side still accepts data.
    fn takes_more(&self) -> bool {
        // A requested end waits for the registered producer, which may write until it is unregistered.
        let ending = self.leaving || self.write == WriteSide::Finishing;
        self.write != WriteSide::Finished && !(ending && self.producer.is_none())
    }

    fn hung_up(&self) -> bool {
        self.hang_up == HangUp::Seen
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the protocol knows of the end.
    fn told(&self) -> bool {
        matches!(self.phase, Phase::Told | Phase::Closed)
    }

    /// Whether to receive for the protocol.
    fn delivers(&self) -> bool {
        self.phase == Phase::Open
            && !self.leaving
            && (!self.is_paused() || self.hung_up())
            && !self.read_ended
            && !self.holds_bytes()
            && !self.holds_end()
    }
}
