//! Datagram sockets: one receive under way at a time, and a bounded queue of what is to be sent.

mod opening;
mod protocol;
mod transport;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::error::Reason;
use crate::os::Address;
use crate::port::{
    CloseMode, Completion, DatagramBatch, DatagramError, DatagramOptions, Datagrams, Failure,
    Handle, Operation, Outcome, RareQueue, Request, RequestKind, Token,
};
use crate::reactor::{Live, LiveKind, Reactor};
pub use protocol::DatagramProtocol;
pub use transport::DatagramTransport;

/// After the OS refused to receive, the socket waits this long before it tries again.
const RETRY: Duration = Duration::from_millis(50);

/// A datagram socket on a reactor.
pub(super) struct DatagramSocket {
    reactor: Reactor,
    handle: Handle,
    /// The socket's own address or its peer's, for the log.
    address: Option<Address>,
    token: Cell<Token>,
    /// Borrowed while one of its callbacks runs. `None` once the socket is closed.
    protocol: RefCell<Option<Box<dyn DatagramProtocol>>>,
    flow: RefCell<Flow>,
    paused: Cell<bool>,
    /// Datagrams that arrived during a pause.
    held: RefCell<RareQueue<Held>>,
    limit: Cell<Limit>,
}

/// The limits of a queue: what it holds at most, and with how much more it is congested.
#[derive(Clone, Copy)]
struct Limit {
    datagrams: usize,
    bytes: usize,
    congested_datagrams: usize,
    congested_bytes: usize,
}

impl Limit {
    /// No limit. The queue is congested as soon as it holds anything.
    const NONE: Limit = Limit {
        datagrams: usize::MAX,
        bytes: usize::MAX,
        congested_datagrams: 0,
        congested_bytes: 0,
    };

    fn of(options: &DatagramOptions) -> Limit {
        Limit {
            datagrams: options.queued_datagrams,
            bytes: options.queued_bytes,
            congested_datagrams: options.queued_datagrams / 2,
            congested_bytes: options.queued_bytes / 2,
        }
    }

    /// Whether a queue with so much in it is congested.
    fn is_exceeded(self, datagrams: usize, bytes: usize) -> bool {
        datagrams > self.congested_datagrams || bytes > self.congested_bytes
    }
}

/// Datagrams that arrived together, of which some were delivered.
struct Held {
    datagrams: Datagrams,
    delivered: usize,
}

/// The way of datagrams to and from the OS.
#[derive(Default)]
struct Flow {
    queue: DatagramBatch,
    /// The loop was asked to flush the queue.
    flush_owed: bool,
    receiving: Option<Operation>,
    sending: Option<Sending>,
    /// The protocol was told to stop sending.
    congested: bool,
    /// Datagrams that were dropped, and that the protocol is still to be told of.
    dropped: usize,
    closing: Option<Reason>,
    closed: bool,
}

/// A send that is under way.
#[derive(Clone, Copy)]
struct Sending {
    operation: Operation,
    datagrams: usize,
    bytes: usize,
}

impl Flow {
    fn is_open(&self) -> bool {
        self.closing.is_none() && !self.closed
    }

    fn queued(&self) -> usize {
        self.queue.len() + self.sending.map_or(0, |sending| sending.datagrams)
    }

    fn queued_bytes(&self) -> usize {
        self.queue.bytes() + self.sending.map_or(0, |sending| sending.bytes)
    }

    /// Whether so many more datagrams fit in the queue. One always fits in an empty queue.
    fn has_room(&self, limit: Limit, datagrams: usize, bytes: usize) -> bool {
        let queued = self.queued();
        queued == 0
            || (datagrams <= limit.datagrams.saturating_sub(queued)
                && bytes <= limit.bytes.saturating_sub(self.queued_bytes()))
    }

    fn exceeds(&self, limit: Limit) -> bool {
        limit.is_exceeded(self.queued(), self.queued_bytes())
    }
}

impl DatagramSocket {
    fn is_open(&self) -> bool {
        self.flow.borrow().is_open()
    }

    fn queued(&self) -> usize {
        self.flow.borrow().queued()
    }

    fn queued_bytes(&self) -> usize {
        self.flow.borrow().queued_bytes()
    }

    /// Calls the protocol. A panic closes the socket.
    fn enter(self: &Rc<Self>, call: impl FnOnce(&mut dyn DatagramProtocol, &DatagramTransport)) {
        let transport = DatagramTransport::of(self);
        let called = self.reactor.guard("a datagram protocol", || {
            if let Some(protocol) = &mut *self.protocol.borrow_mut() {
                call(&mut **protocol, &transport);
            }
        });
        if called.is_none() {
            self.close(Reason::Panicked);
        }
    }

    /// Tells the protocol that the socket is open, and starts to receive. To be called from the loop.
    fn begin(self: &Rc<Self>) {
        if self.is_open() {
            log::debug!("{:?}: open", DatagramTransport::of(self));
            self.enter(|protocol, transport| protocol.started(transport));
        }
        self.receive_more();
    }

    fn receive_more(&self) {
        let mut flow = self.flow.borrow_mut();
        if self.paused.get() || !flow.is_open() || flow.receiving.is_some() {
            return;
        }
        let mut port = self.reactor.port_mut();
        match port.submit(self.handle, Request::ReceiveDatagrams, self.token.get()) {
            Ok(operation) => flow.receiving = Some(operation),
            Err(error) => log::error!("{:?}: receive: {error}", self.address),
        }
    }

    fn pause(&self) {
        self.paused.set(true);
        let receiving = self.flow.borrow().receiving;
        if let Some(operation) = receiving {
            self.reactor.port_mut().cancel(operation);
        }
    }

    fn resume(self: &Rc<Self>) {
        if !self.paused.replace(false) {
            return;
        }
        if !self.held.borrow().is_empty() {
            let socket = Rc::clone(self);
            self.reactor.soon(move |_| socket.deliver_held());
        }
        self.receive_more();
    }

    /// Delivers datagrams, or holds them if the program has paused the socket.
    fn deliver(self: &Rc<Self>, held: Held) {
        let mut left = None;
        self.enter(|protocol, transport| {
            let Held {
                mut datagrams,
                mut delivered,
            } = held;
            let held_back = || self.paused.get() || !self.is_open();
            if delivered == 0 && !held_back() {
                let Some(one_by_one) = protocol.datagrams_received(transport, datagrams) else {
                    return;
                };
                datagrams = one_by_one;
            }
            let is_held_back = datagrams.iter().skip(delivered).any(|datagram| {
                if held_back() {
                    return true;
                }
                delivered += 1;
                protocol.datagram_received(transport, &datagram);
                false
            });
            if is_held_back && self.is_open() {
                left = Some(Held {
                    datagrams,
                    delivered,
                });
            }
        });
        if let Some(left) = left {
            self.held.borrow_mut().push_front(left);
        }
    }

    /// Delivers what was held during a pause.
    fn deliver_held(self: &Rc<Self>) {
        while !self.paused.get() {
            let next = self.held.borrow_mut().pop_front();
            let Some(next) = next else { return };
            self.deliver(next);
        }
    }

    fn arrived(self: &Rc<Self>, datagrams: Datagrams) {
        let received = &self.reactor.counters().bytes_received;
        received.add(datagrams.bytes() as u64);
        let arrived = Held {
            datagrams,
            delivered: 0,
        };
        let mut held = self.held.borrow_mut();
        if !held.is_empty() {
            held.push_back(arrived);
            return;
        }
        drop(held);
        self.deliver(arrived);
    }

    /// Queues datagrams by `push`, unless the queue is full.
    fn push(
        self: &Rc<Self>,
        datagrams: usize,
        bytes: usize,
        push: impl FnOnce(&mut DatagramBatch),
    ) {
        let mut flow = self.flow.borrow_mut();
        if !flow.is_open() {
            return;
        }
        if !flow.has_room(self.limit.get(), datagrams, bytes) {
            self.send_now(&mut flow);
        }
        if !flow.has_room(self.limit.get(), datagrams, bytes) {
            self.note_dropped(&mut flow, datagrams);
            return;
        }
        if flow.queue.is_empty() {
            flow.queue = self.reactor.take_batch();
        }
        push(&mut flow.queue);
        self.owe_flush(&mut flow);
    }

    /// Has the loop flush the queue, unless the end of a send will.
    fn owe_flush(self: &Rc<Self>, flow: &mut Flow) {
        if !flow.flush_owed && flow.sending.is_none() {
            flow.flush_owed = true;
            self.reactor.flush_soon(Rc::clone(self) as Rc<dyn Live>);
        }
    }

    /// Offers one datagram to the OS, after those that are queued, and queues it if the OS has no room for it.
    fn send_at_once(self: &Rc<Self>, data: &[u8], peer: Option<&Address>) -> io::Result<()> {
        self.send_now(&mut self.flow.borrow_mut());
        if self.queued() > 0 {
            self.push(1, data.len(), |queue| queue.push(data, peer));
            return Ok(());
        }
        let mut batch = self.reactor.take_batch();
        batch.push(data, peer);
        let mut port = self.reactor.port_mut();
        let bytes = port.send_datagrams_now(self.handle, &mut batch);
        drop(port);
        self.reactor.counters().bytes_sent.add(bytes as u64);
        if let Some(failure) = batch.take_failures().pop() {
            self.reactor.keep_batch(batch);
            return Err(failure.source);
        }
        if batch.is_empty() {
            self.reactor.keep_batch(batch);
        } else {
            let mut flow = self.flow.borrow_mut();
            flow.queue = batch;
            self.owe_flush(&mut flow);
            self.note_congestion(&mut flow);
        }
        Ok(())
    }

    /// Has the loop tell the protocol of dropped datagrams.
    fn note_dropped(self: &Rc<Self>, flow: &mut Flow, count: usize) {
        if flow.dropped == 0 && count > 0 {
            let socket = Rc::clone(self);
            self.reactor.soon(move |_| socket.tell_dropped());
        }
        flow.dropped += count;
    }

    fn tell_dropped(self: &Rc<Self>) {
        let count = std::mem::take(&mut self.flow.borrow_mut().dropped);
        if count > 0 {
            self.enter(|protocol, transport| protocol.datagrams_dropped(transport, count));
        }
    }

    /// Offers the queue to the OS, unless a send is under way.
    fn send_now(self: &Rc<Self>, flow: &mut Flow) {
        if flow.sending.is_some() || flow.queue.is_empty() {
            return;
        }
        let mut port = self.reactor.port_mut();
        let bytes = port.send_datagrams_now(self.handle, &mut flow.queue);
        drop(port);
        self.reactor.counters().bytes_sent.add(bytes as u64);
        self.tell_failures_soon(&mut flow.queue);
        if flow.queue.is_empty() {
            self.reactor.keep_batch(std::mem::take(&mut flow.queue));
        }
    }

    /// Offers the queue to the OS before the loop does.
    fn offer_queue(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.is_open() {
            self.send_now(&mut flow);
            self.note_congestion(&mut flow);
        }
    }

    fn tell_failures_soon(self: &Rc<Self>, batch: &mut DatagramBatch) {
        if batch.failures().is_empty() {
            return;
        }
        let (socket, failures) = (Rc::clone(self), batch.take_failures());
        self.reactor.soon(move |_| {
            for failure in failures {
                socket.tell_error(&failure);
            }
        });
    }

    fn tell_error(self: &Rc<Self>, error: &DatagramError) {
        self.enter(|protocol, transport| protocol.error_received(transport, error));
    }

    /// Submits `batch`, which the OS does not take at once.
    fn submit(self: &Rc<Self>, flow: &mut Flow, mut batch: DatagramBatch) {
        let (datagrams, bytes) = (batch.len(), batch.bytes());
        let is_awaited = flow.congested || self.limit.get().is_exceeded(datagrams, bytes);
        if self.reactor.marks_unawaited() && !is_awaited {
            batch.mark_unawaited();
        }
        let mut port = self.reactor.port_mut();
        let request = Request::SendDatagrams(batch);
        match port.submit(self.handle, request, self.token.get()) {
            Ok(operation) => {
                flow.sending = Some(Sending {
                    operation,
                    datagrams,
                    bytes,
                });
            }
            Err(error) => {
                log::error!("{:?}: send: {error}", self.address);
                drop(port);
                self.note_dropped(flow, datagrams);
            }
        }
    }

    /// Has the loop tell the protocol to stop sending, or to go on.
    fn note_congestion(self: &Rc<Self>, flow: &mut Flow) {
        let congested = if flow.congested {
            flow.queued() > 0
        } else {
            flow.exceeds(self.limit.get())
        };
        if congested != flow.congested {
            self.tell_congestion(flow, congested);
        }
    }

    fn tell_congestion(self: &Rc<Self>, flow: &mut Flow, congested: bool) {
        flow.congested = congested;
        let socket = Rc::clone(self);
        self.reactor.soon(move |_| {
            socket.enter(|protocol, transport| match congested {
                true => protocol.write_paused(transport),
                false => protocol.write_resumed(transport),
            });
        });
    }

    /// Whether one more datagram of so many bytes has to wait until the OS has taken the queue. If so, the loop tells
    /// the protocol then.
    fn must_wait(self: &Rc<Self>, bytes: usize) -> bool {
        let mut flow = self.flow.borrow_mut();
        let limit = self.limit.get();
        let full = flow.exceeds(limit) || !flow.has_room(limit, 1, bytes);
        if full && !flow.congested && flow.is_open() {
            self.tell_congestion(&mut flow, true);
        }
        flow.congested && flow.is_open()
    }

    /// A send has ended.
    fn sent(self: &Rc<Self>, mut batch: DatagramBatch) {
        let mut flow = self.flow.borrow_mut();
        if let Some(sending) = flow.sending.take() {
            let bytes = sending.bytes - batch.bytes();
            self.reactor.counters().bytes_sent.add(bytes as u64);
        }
        self.tell_failures_soon(&mut batch);
        if !flow.is_open() {
            // The rest of the queue may be sent only after this.
            let queue = std::mem::replace(&mut flow.queue, batch);
            self.send_now(&mut flow);
            if flow.queue.is_empty() {
                flow.queue = queue;
            } else {
                self.note_dropped(&mut flow, queue.len());
            }
            return;
        }
        if batch.is_empty() {
            self.reactor.keep_batch(batch);
            drop(flow);
            Rc::clone(self).flush();
            flow = self.flow.borrow_mut();
        } else {
            self.submit(&mut flow, batch);
        }
        self.note_congestion(&mut flow);
    }

    /// Ends the operations under way. The loop closes the socket once they have completed.
    fn close(self: &Rc<Self>, reason: Reason) {
        let mut flow = self.flow.borrow_mut();
        if !flow.is_open() {
            return;
        }
        flow.closing = Some(reason);
        self.send_now(&mut flow);
        if flow.sending.is_none() && !flow.queue.is_empty() {
            // Some ports send only by an operation, which the cancellation comes too late for unless the OS is busy.
            let batch = std::mem::take(&mut flow.queue);
            self.submit(&mut flow, batch);
        }
        let receiving = flow.receiving;
        let sending = flow.sending.map(|sending| sending.operation);
        if receiving.is_none() && sending.is_none() {
            let socket = Rc::clone(self);
            self.reactor.soon(move |_| socket.release());
            return;
        }
        for operation in receiving.into_iter().chain(sending) {
            self.reactor.port_mut().cancel(operation);
        }
    }

    /// Closes the socket, on which no operation is under way, and tells the protocol before the OS can give its address or
    /// number to anything else.
    fn release(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        let Some(reason) = flow.closing.take() else {
            return;
        };
        flow.closed = true;
        self.send_now(&mut flow);
        flow.dropped += flow.queue.len();
        let unsent = std::mem::take(&mut flow.queue);
        drop(flow);
        let mode = CloseMode::Graceful;
        let closing = self
            .reactor
            .port_mut()
            .close(self.handle, mode, self.token.get());
        debug_assert!(
            closing.is_ok() || self.reactor.is_copied(),
            "a datagram socket closes its own handle, once"
        );
        self.held.take();
        self.tell_dropped();
        log::debug!("{:?}: {reason}", DatagramTransport::of(self));
        self.enter(|protocol, transport| protocol.stopped(transport, reason));
        self.reactor
            .drop_guarded("the drop of unsent datagrams", unsent);
        self.drop_protocol();
    }

    fn drop_protocol(&self) {
        let protocol = self.protocol.take();
        self.reactor
            .drop_guarded("the drop of a datagram protocol", protocol);
    }

    fn receive_ended(self: &Rc<Self>, result: &Result<Outcome, Failure>) {
        self.flow.borrow_mut().receiving = None;
        match result {
            Err(Failure::Os { .. }) => {
                let socket = Rc::clone(self);
                self.reactor
                    .call_later(RETRY, move |_| socket.receive_more());
            }
            _ => self.receive_more(),
        }
    }
}

impl Live for DatagramSocket {
    fn kind(&self) -> LiveKind {
        LiveKind::Datagrams
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        let Completion {
            kind, result, more, ..
        } = completion;
        if kind == RequestKind::ReceiveDatagrams && !more {
            self.receive_ended(&result);
        }
        match result {
            Ok(Outcome::Datagrams(datagrams)) => self.arrived(datagrams),
            Ok(Outcome::DatagramError(error)) => self.tell_error(&error),
            Ok(Outcome::DatagramsSent(batch)) => self.sent(batch),
            Ok(Outcome::Closed) => return self.reactor.unregister(self.token.get()),
            Err(Failure::Cancelled) => {}
            Err(Failure::Os { call, source }) => {
                self.tell_error(&DatagramError::new(call, None, source));
            }
            Ok(outcome) => log::error!("unexpected outcome for a datagram socket: {outcome:?}"),
        }
        let flow = self.flow.borrow();
        let is_over = flow.closing.is_some() && flow.receiving.is_none() && flow.sending.is_none();
        drop(flow);
        if is_over {
            self.release();
        }
    }

    fn flush(self: Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        flow.flush_owed = false;
        if flow.sending.is_some() || !flow.is_open() {
            return;
        }
        if self.reactor.sends_gathered_now() {
            self.send_now(&mut flow);
        }
        if !flow.queue.is_empty() {
            let batch = std::mem::take(&mut flow.queue);
            self.submit(&mut flow, batch);
        }
        self.note_congestion(&mut flow);
    }

    fn stop(self: Rc<Self>) {
        self.close(Reason::Stopped);
    }

    fn abandon(&self) -> Option<String> {
        let mut flow = self.flow.borrow_mut();
        flow.closed = true;
        let unsent = std::mem::take(&mut flow.queue);
        drop(flow);
        self.held.take();
        self.reactor
            .drop_guarded("the drop of unsent datagrams", unsent);
        self.drop_protocol();
        None
    }
}
