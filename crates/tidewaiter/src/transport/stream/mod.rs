//! The state machine of a byte stream, for TCP connections and pipes alike.
//!
//! Its events are the port's completions ([`Live::completed`]) and the program's calls on a [`Transport`]. Such a
//! call never calls the protocol; the callbacks that it causes come from the loop later.

mod descriptors;
mod ending;
mod files;
mod link;
mod pausing;
mod producer;
mod producing;
mod protocol;
mod reaching;
mod relief;
mod remote;
mod sending_now;
mod state;
mod timeout;
mod timing;
mod transfer;
mod transport;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use super::close_unawaited;
use crate::error::Error;
use crate::port::{
    Buffer, Chunks, Completion, Failure, Handle, Operation, Outcome, Request, RequestKind, Token,
};
use crate::reactor::{Live, LiveKind, Reactor};
use crate::spans::Span;
use ending::{EndState, Gone};
use files::{FileQueue, drop_files};
use link::Kept;
pub(crate) use link::{Direction, Link};
use pausing::Held;
pub use pausing::{Pause, SourcePauser};
pub use producer::{IntoProducer, Producer, ProducerKind};
use producing::Registered;
pub use protocol::Protocol;
use relief::Waiting;
pub use remote::RemoteTransport;
pub(crate) use sending_now::SHARE_MIN;
use state::{Ending, Event, Next, State};
pub use timeout::ConnectionTimeout;
use timing::Timing;
pub use transfer::FileTransfer;
pub use transport::{Transport, TransportId};

/// Above this many queued bytes, producers are paused.
const HIGH_WATER: usize = 64 * 1024;
/// At this many queued bytes or fewer, they are resumed.
const LOW_WATER: usize = 16 * 1024;
/// One operation sends at most this many pieces of memory...
const SEND_PIECES_MAX: usize = 64;
/// ...and no further piece once it has this many bytes.
const SEND_BYTES_MAX: usize = 256 * 1024;

/// The parts of a stream that change. The fields are in the order of use, so that a message touches few cache lines.
#[repr(C)]
struct Flow {
    state: State,
    queue: Chunks,
    /// Boxed, because few streams need it.
    held: Option<Box<Held>>,
    producer: Option<Registered>,
    sending: Sending,
    high_water: usize,
    receiving: Option<Operation>,
    low_water: usize,
    takes_descriptors: bool,
    /// The files behind the queue. Boxed, because few streams send any; never empty.
    files: Option<Box<FileQueue>>,
    /// Futures that wait for the end of congestion.
    waiting: Waiting,
    /// Boxed, because a stream needs it only once it is to end.
    end_state: Option<Box<EndState>>,
}

/// The way of the queue to the OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Idle,
    /// The loop was asked to flush the queue.
    FlushOwed,
    /// A send is under way.
    UnderWay {
        operation: Operation,
        bytes: usize,
    },
}

/// A byte stream on a reactor. The fields are in the order of use, as in [`Flow`].
#[repr(C)]
pub(crate) struct Stream {
    token: Cell<Token>,
    pub(super) handle: Handle,
    pub(super) reactor: Reactor,
    /// Borrowed while one of its callbacks runs. Only the loop calls them, one at a time.
    protocol: RefCell<Box<dyn Protocol>>,
    flow: RefCell<Flow>,
    /// Whether the OS holds back the last partial segment of each send.
    ends_held: Cell<bool>,
    /// Whether activity restarts a timeout.
    timed: Cell<bool>,
    /// Whether the protocol was last told to write no more.
    write_paused: Cell<bool>,
    /// Whether the application pauses the stream.
    application_paused: Cell<bool>,
    /// How many others pause the stream.
    pauses: Cell<u32>,
    /// The handles that are open or being closed: two, if another one sends.
    handles: Cell<u8>,
    /// Boxed, because few streams have delayed calls or timeouts.
    timing: RefCell<Option<Box<Timing>>>,
    pub(super) link: Link,
    span: Span,
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
            flow: RefCell::new(Flow::new(&link)),
            handles: Cell::new(1 + u8::from(link.output.is_some())),
            span: Span::connection(link.peer.as_ref()),
            link,
            token: Cell::new(Token::default()),
            ends_held: Cell::new(false),
            timed: Cell::new(false),
            timing: RefCell::new(None),
            write_paused: Cell::new(false),
            application_paused: Cell::new(false),
            pauses: Cell::new(0),
            protocol: RefCell::new(protocol),
        });
        match reactor.register(Rc::clone(&stream) as Rc<dyn Live>) {
            Ok(token) => stream.token.set(token),
            Err(error) => {
                close_unawaited(reactor, handle);
                if let Some(output) = stream.link.output {
                    close_unawaited(reactor, output);
                }
                reactor.drop_guarded("the drop of a protocol", stream);
                return Err(error);
            }
        }
        Ok(stream)
    }

    /// The second half of [`start`](Stream::start). To be called from the loop.
    pub(crate) fn begin(self: &Rc<Self>) {
        // A pipe has no address. Its child has records of its own.
        if let Some(peer) = &self.link.peer {
            self.span.within(|| log::debug!("{peer}: connected"));
        }
        self.enter(Protocol::connection_made);
        self.receive_more();
        // A pipe that we write to never receives, and `connection_made` may have paused the stream.
        self.await_hang_up();
    }

    /// The handle that sends.
    #[inline]
    fn output(&self) -> Handle {
        self.link.output.unwrap_or(self.handle)
    }

    /// Calls the protocol. A panic in it loses the connection.
    fn enter(self: &Rc<Self>, call: impl FnOnce(&mut dyn Protocol, &Transport)) {
        let transport = Transport::of(self);
        let peer = || transport.peer_addr();
        let entered = self.reactor.guard_for("a protocol", peer, || {
            self.span
                .within(|| call(&mut **self.protocol.borrow_mut(), &transport));
        });
        if entered.is_none() {
            self.panicked();
        }
    }

    // The states.

    /// Moves on to the next state, and does what follows.
    fn happened(self: &Rc<Self>, event: Event) {
        let next = self.on(event);
        self.follow(next);
    }

    /// Moves on to the next state, and says what follows.
    #[inline]
    fn on(&self, event: Event) -> Next {
        self.flow.borrow_mut().state.on(&self.link, event)
    }

    #[inline]
    fn follow(self: &Rc<Self>, next: Next) {
        // Most often, nothing follows. Tell that without a call.
        if next != Next::Nothing {
            self.perform(next);
        }
    }

    fn perform(self: &Rc<Self>, next: Next) {
        match next {
            // `received` has the bytes that the last three are about.
            Next::Nothing | Next::Deliver | Next::Hold | Next::Drop => {}
            Next::Receive => self.receive_on(),
            Next::ReceiveOn => self.happened(Event::ReceiveOn),
            Next::Release => self.release_soon(),
            Next::DeliverHeld => self.deliver_held(),
            Next::TellReadEnd { last } => self.tell_read_end(last),
            Next::Drain => self.finish_if_drained(),
            Next::Leave => self.leave(),
            Next::EndWriting { last } => self.end_writing(last),
            Next::AwaitSend => self.await_send(None),
            Next::TellEnd { shut_down, linger } => self.tell_end(shut_down, linger),
            Next::CloseHandle(mode) => self.close_handle(mode),
        }
    }

    // Receiving.

    /// Submits a receive, if data is wanted and no receive is under way.
    fn receive_more(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if !flow.state.wants_data(&self.link) || flow.receiving.is_some() {
            return;
        }
        let request = if flow.takes_descriptors {
            Request::ReceiveWithDescriptors
        } else {
            Request::Receive
        };
        let submitted = self
            .reactor
            .port_mut()
            .submit(self.handle, request, self.token.get());
        match submitted {
            Ok(operation) => flow.receiving = Some(operation),
            Err(source) => {
                drop(flow);
                self.failed(Failure::os("receive", source));
            }
        }
    }

    /// Cancels the receive under way, if there is one.
    fn stop_receiving(&self) {
        let receiving = self.flow.borrow().receiving;
        if let Some(operation) = receiving {
            self.reactor.port_mut().cancel(operation);
        }
    }

    #[inline(always)]
    fn received(self: &Rc<Self>, buffer: Buffer) {
        match self.on(Event::Received) {
            Next::Deliver => self.deliver(buffer),
            Next::Hold => {
                self.flow.borrow_mut().hold(buffer, None);
                // Cancel the receive only when data arrives: most pauses end before that.
                self.stop_receiving();
            }
            _ => self.discard(buffer.len()),
        }
    }

    fn tell_read_end(self: &Rc<Self>, last: bool) {
        self.enter(Protocol::read_connection_lost);
        if last {
            self.close(Ending::InOrder, None);
        }
    }

    // Sending.

    /// Lets `fill` add to the queue, if the stream still takes data.
    pub(super) fn write(self: &Rc<Self>, fill: impl FnOnce(&mut Chunks)) {
        let mut flow = self.flow.borrow_mut();
        if !flow.takes_data() {
            return;
        }
        let queue = flow.back_mut();
        if !queue.has_storage() {
            *queue = self.reactor.take_storage();
        }
        if self.link.keeps == Kept::Packets {
            queue.begin_message(Vec::new());
        }
        fill(queue);
        let queued = flow.queued();
        if queued == 0 || !flow.state.is_open() {
            return;
        }
        let flush = flow.sending == Sending::Idle;
        if flush {
            flow.sending = Sending::FlushOwed;
        }
        let congested = queued > flow.high_water && !flow.state.is_congested();
        if congested {
            flow.state.on(&self.link, Event::Congested);
        }
        drop(flow);
        if flush {
            self.reactor.flush_soon(Rc::clone(self) as Rc<dyn Live>);
        }
        if congested {
            self.reactor.notify_soon(Rc::clone(self) as Rc<dyn Live>);
        }
    }

    /// Submits a send of queued data, unless one is under way.
    fn send_more(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.is_sending() {
            return;
        }
        flow.sending = Sending::Idle;
        if !flow.state.is_open() {
            return;
        }
        if flow.queue.is_empty() {
            drop(flow);
            return self.send_next_file();
        }
        let mut part = std::mem::take(&mut flow.queue);
        // The port sends messages apart from each other, and gives back what it did not send.
        let large = part.count() > SEND_PIECES_MAX || part.len() > SEND_BYTES_MAX;
        if large && !part.has_messages() {
            flow.queue = std::mem::replace(&mut part, self.reactor.take_storage());
            part.take_from(&mut flow.queue, SEND_PIECES_MAX, SEND_BYTES_MAX);
            if flow.queue.is_empty() {
                self.reactor.keep_storage(std::mem::take(&mut flow.queue));
            }
        }
        let bytes = part.len();
        if self.reactor.marks_unawaited() && !self.awaits_send(&flow, &part) {
            part.mark_unawaited();
        }
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.output(), Request::Send(part), self.token.get());
        match submitted {
            Ok(operation) => flow.sending = Sending::UnderWay { operation, bytes },
            Err(source) => {
                drop(flow);
                self.failed(Failure::os("send", source));
            }
        }
    }

    /// Whether anything waits for the end of the send of `part`.
    #[inline(never)]
    fn awaits_send(&self, flow: &Flow, part: &Chunks) -> bool {
        !flow.queue.is_empty()
            || flow.files.is_some()
            || flow.producer.is_some()
            || flow.waiting.is_some()
            || flow.state.is_congested()
            || !flow.takes_data()
            // The end of a send is activity, and releases the last segment.
            || self.timed.get()
            || self.ends_held.get()
            || part.has_messages()
    }

    fn sent(self: &Rc<Self>, bytes: usize, mut unsent: Chunks) {
        self.reactor.counters().bytes_sent.add(bytes as u64);
        let mut flow = self.flow.borrow_mut();
        if !unsent.is_empty() {
            flow.queue.put_back(&mut unsent);
        }
        self.reactor.keep_storage(unsent);
        self.go_on_sending(flow);
    }

    /// Sends on after a part of the queue was sent, or tells that there is no more.
    #[inline(always)]
    fn go_on_sending(self: &Rc<Self>, mut flow: RefMut<'_, Flow>) {
        if !flow.state.is_open() {
            drop(flow);
            self.end_if_sent();
            return;
        }
        let drained = flow.is_drained();
        let relieved = flow.state.is_congested() && flow.queued() <= flow.low_water;
        let pull = flow.producer.as_ref().is_some_and(Registered::is_pull);
        let next = if relieved {
            flow.state.on(&self.link, Event::Relieved)
        } else {
            Next::Nothing
        };
        drop(flow);
        if !drained {
            self.send_more();
        }
        if relieved {
            self.tell_congestion();
        } else if drained && pull {
            self.ask_producer();
        }
        self.follow(next);
        if drained {
            self.hold_ends_of_pieces();
            self.finish_if_drained();
        }
    }

    /// Takes the end that the program asked for, if there is one, once the queue is sent and no producer is left.
    fn finish_if_drained(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if !flow.is_drained() || flow.producer.is_some() {
            return;
        }
        let next = flow.state.on(&self.link, Event::Drained);
        drop(flow);
        self.follow(next);
    }

    fn end_writing(self: &Rc<Self>, last: bool) {
        self.shutdown_write();
        let stream = Rc::clone(self);
        self.reactor.soon(move |_| {
            stream.enter(Protocol::write_connection_lost);
            if last {
                stream.close(Ending::InOrder, None);
            }
        });
    }

    /// Puts the unsent bytes of a failed or cancelled send back into the queue, to count them as unsent.
    fn take_back(&self, mut unsent: Chunks) {
        self.flow.borrow_mut().queue.put_back(&mut unsent);
        self.reactor.keep_storage(unsent);
    }

    /// Handles the completions that a stream seldom gets. It stays out of line, so that the others do not pay for it.
    #[inline(never)]
    fn completed_rare(
        self: &Rc<Self>,
        kind: RequestKind,
        result: Result<Outcome, Failure>,
        unsent: Chunks,
    ) {
        match result {
            Ok(Outcome::ReceivedWithDescriptors(received)) => self.received_passed(*received),
            Ok(Outcome::FileSent { bytes, stopped_by }) => {
                self.file_sent(bytes, stopped_by.map(|failure| *failure));
            }
            Ok(outcome) => log::error!("unexpected outcome for a stream: {outcome:?}"),
            Err(failure) if kind == RequestKind::SendFile => {
                self.file_sent(0, Some(failure));
            }
            Err(failure) => {
                self.take_back(unsent);
                match kind {
                    RequestKind::Send | RequestKind::HangUp => self.send_failed(failure),
                    _ => self.failed(failure),
                }
                self.end_if_sent();
            }
        }
    }
}

impl Live for Stream {
    fn kind(&self) -> LiveKind {
        self.counted_as()
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        let received_last = completion.kind == RequestKind::Receive && !completion.more;
        if self.timed.get() {
            self.note_activity(&completion);
        }
        if !completion.more {
            let mut flow = self.flow.borrow_mut();
            match completion.kind {
                RequestKind::Receive => flow.receiving = None,
                RequestKind::Send | RequestKind::SendFile => flow.sending = Sending::Idle,
                RequestKind::HangUp => {
                    flow.state.on(&self.link, Event::HangUpOver);
                }
                _ => {}
            }
        }
        match completion.result {
            Ok(Outcome::Received(buffer)) => self.received(buffer),
            Ok(Outcome::Sent { bytes }) => self.sent(bytes, completion.unsent),
            Ok(Outcome::EndOfFile) => self.happened(Event::EndOfFile),
            Ok(Outcome::HungUp) => self.hung_up(),
            Ok(Outcome::Closed) => self.handle_closed(),
            result => self.completed_rare(completion.kind, result, completion.unsent),
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

    fn notify(self: Rc<Self>) {
        self.tell_congestion();
    }

    fn stop(self: Rc<Self>) {
        self.stop_in_time();
    }

    fn abandon(&self) -> Option<String> {
        let mut flow = self.flow.borrow_mut();
        flow.state.on(&self.link, Event::Abandoned);
        let queue = std::mem::take(&mut flow.queue);
        if !queue.is_empty() {
            flow.count_unsent(queue.len());
        }
        let files = flow.files.take();
        let producer = flow.producer.take();
        drop(flow);
        self.end_timing();
        let protocol = self.protocol.replace(Box::new(Gone));
        let reactor = &self.reactor;
        reactor.discard(queue);
        drop_files(reactor, files);
        reactor.drop_guarded("the drop of a producer", producer);
        reactor.drop_guarded("the drop of a protocol", protocol);
        None
    }
}

impl Flow {
    fn new(link: &Link) -> Flow {
        Flow {
            state: State::new(link),
            queue: Chunks::new(),
            held: None,
            producer: None,
            sending: Sending::Idle,
            high_water: HIGH_WATER,
            receiving: None,
            low_water: LOW_WATER,
            files: None,
            takes_descriptors: false,
            waiting: None,
            end_state: None,
        }
    }

    /// How many bytes are queued or in the send under way.
    pub(super) fn queued(&self) -> usize {
        let under_way = match self.sending {
            Sending::UnderWay { bytes, .. } => bytes,
            Sending::Idle | Sending::FlushOwed => 0,
        };
        self.queue.len() + under_way + self.queued_behind_files()
    }

    fn is_sending(&self) -> bool {
        matches!(self.sending, Sending::UnderWay { .. })
    }

    /// Whether the program may still write.
    fn takes_data(&self) -> bool {
        self.state.takes_data(self.producer.is_some())
    }
}
