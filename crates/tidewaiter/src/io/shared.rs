//! The state that a stream's protocol shares with the stream itself: the protocol writes it, from the loop, and the stream's
//! futures read it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::received::{Current, Received};
use super::waiting::Waiting;
use crate::error::Reason;
use crate::transport::{Pause, Producer, ProducerKind, Protocol, Transport};

/// At this many bytes that were not read yet, the stream receives no more until half of them were.
const HELD_MAX: usize = 64 * 1024;

/// How a connection ended, to be told to each read and write that follows.
pub(super) enum End {
    InOrder,
    Failed(io::Error),
}

impl End {
    pub(super) fn of(reason: &Reason) -> End {
        End::Failed(match reason {
            Reason::Done => return End::InOrder,
            Reason::Reset(source) | Reason::TimedOut(source) | Reason::Os { source, .. } => {
                copy_of(source)
            }
            Reason::Aborted | Reason::Stopped | Reason::Panicked => {
                io::Error::new(io::ErrorKind::ConnectionAborted, reason.to_string())
            }
        })
    }

    fn is_in_order(&self) -> bool {
        matches!(self, End::InOrder)
    }

    pub(super) fn error(&self) -> Option<io::Error> {
        match self {
            End::InOrder => None,
            End::Failed(error) => Some(copy_of(error)),
        }
    }
}

/// Another error that says the same.
pub(super) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// After this many lent bytes in one turn, a stream copies further ones. Then its queue fills, and its task waits: a task
/// that writes to a peer as fast as it reads would otherwise never let others run.
const LENT_MAX: u32 = 1 << 20;

/// How many lent bytes a stream has written in a turn.
#[derive(Clone, Copy, Default)]
pub(super) struct Lent {
    /// The low bits of the turn's number.
    turn: u32,
    bytes: u32,
}

impl Lent {
    pub(super) fn is_spent(self, turn: u64) -> bool {
        self.turn == low_bits(turn) && self.bytes >= LENT_MAX
    }

    pub(super) fn with(self, turn: u64, written: usize) -> Lent {
        let turn = low_bits(turn);
        let before = if self.turn == turn { self.bytes } else { 0 };
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        Lent {
            turn,
            bytes: before.saturating_add(written),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits tell turns apart that follow each other"
)]
fn low_bits(turn: u64) -> u32 {
    turn as u32
}

/// The state of one stream.
#[derive(Default)]
pub(super) struct Shared {
    received: RefCell<Received>,
    /// Held while much was not read yet. It is apart from the pauses of the application.
    pause: Cell<Option<Pause>>,
    peer_ended: Cell<bool>,
    write_ended: Cell<bool>,
    end: RefCell<Option<End>>,
    /// Whether one of the two halves was dropped.
    half_dropped: Cell<bool>,
    pub(super) lent: Cell<Lent>,
    reader: Waiting,
    writer: Waiting,
    closer: Waiting,
}

impl Shared {
    /// Waits for the next piece, and makes it the current one, which is empty; it stays empty at the end of the stream.
    #[inline]
    pub(super) fn poll_piece(
        &self,
        current: &mut Current,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut received = self.received.borrow_mut();
        let Some(piece) = received.take() else {
            drop(received);
            return self.poll_end(context);
        };
        current.set(piece);
        let few = received.len() <= HELD_MAX / 2;
        drop(received);
        if few {
            drop(self.pause.take());
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for more, unless the stream has ended.
    fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.peer_ended.get() {
            return Poll::Ready(Ok(()));
        }
        match &*self.end.borrow() {
            Some(end) => Poll::Ready(end.error().map_or(Ok(()), Err)),
            None => self.reader.wait(context),
        }
    }

    /// Waits until the stream takes more to send.
    #[inline]
    pub(super) fn poll_writable(
        &self,
        transport: &Transport,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let open = !self.write_ended.get() && self.end.borrow().is_none();
        match open && transport.takes_more() {
            true => Poll::Ready(Ok(())),
            false => self.poll_uncongested(transport, context),
        }
    }

    #[inline(never)]
    fn poll_uncongested(
        &self,
        transport: &Transport,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_writable(transport)?;
        if !transport.is_congested() {
            return Poll::Ready(Ok(()));
        }
        self.writer.wait(context)
    }

    /// Waits until the OS has taken all that was written.
    pub(super) fn poll_flushed(
        self: &Rc<Self>,
        transport: &Transport,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        if transport.is_all_taken() {
            return Poll::Ready(Ok(()));
        }
        self.check_end(transport)?;
        // Otherwise the stream is ending: once everything is sent or lost, the protocol is told.
        if transport.takes_data() {
            let flushing = Flushing {
                shared: Rc::clone(self),
                transport: transport.clone(),
            };
            transport.register_producer(flushing, ProducerKind::Pull);
        }
        self.writer.wait(context)
    }

    /// Ends the sending side once all is sent, and waits for that.
    pub(super) fn poll_shut_down(
        &self,
        transport: &Transport,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.write_ended.get() {
            return Poll::Ready(Ok(()));
        }
        if self.end.borrow().as_ref().is_some_and(End::is_in_order) && transport.unsent() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.check_end(transport)?;
        transport.lose_write_connection();
        self.closer.wait(context)
    }

    /// Notes that a half was dropped. Returns whether it was the last.
    pub(super) fn drop_half(&self) -> bool {
        self.half_dropped.replace(true)
    }

    /// Fails if bytes that were written are known to be lost.
    pub(super) fn check_lost(&self, transport: &Transport) -> io::Result<()> {
        if transport.unsent() == 0 {
            return Ok(());
        }
        self.check_end(transport)
    }

    /// Fails if nothing is sent any more for another reason than that our sending side was ended.
    fn check_end(&self, transport: &Transport) -> io::Result<()> {
        let error = match &*self.end.borrow() {
            Some(end) => Some(end.error().unwrap_or_else(closed)),
            None => {
                transport.with_send_failure(|reason| End::of(reason).error().unwrap_or_else(closed))
            }
        };
        error.map_or(Ok(()), Err)
    }

    fn check_writable(&self, transport: &Transport) -> io::Result<()> {
        self.check_end(transport)?;
        if self.write_ended.get() {
            return Err(closed());
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the stream is closed")
}

/// Registered while a future waits until all is sent: a pull producer is resumed then.
struct Flushing {
    shared: Rc<Shared>,
    transport: Transport,
}

impl Producer for Flushing {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.transport.unregister_producer();
        self.shared.writer.wake();
    }

    fn stop_producing(&mut self) {
        self.shared.writer.wake();
    }
}

/// The calls of the loop.
impl Shared {
    /// The state of a pipe that has one direction, and therefore one half.
    pub(super) fn of_one_direction() -> Shared {
        Shared {
            half_dropped: Cell::new(true),
            ..Shared::default()
        }
    }

    pub(super) fn received(&self, transport: &Transport, data: &[u8]) {
        let mut received = self.received.borrow_mut();
        let reactor = transport.reactor();
        received.add(
            data,
            || reactor.share_received(data),
            || reactor.copy_piece(data),
        );
        let held = received.len();
        drop(received);
        if held >= HELD_MAX {
            let pause = self.pause.take().unwrap_or_else(|| transport.pause());
            self.pause.set(Some(pause));
        }
        self.reader.wake();
    }

    pub(super) fn resumed(&self) {
        self.writer.wake();
    }

    pub(super) fn ended(&self, reason: &Reason) {
        self.end.replace(Some(End::of(reason)));
        // It refers to the stream, which refers to us.
        drop(self.pause.take());
        self.reader.wake();
        self.writer.wake();
        self.closer.wake();
    }
}

/// Takes a stream once its connection is open.
pub(super) type Made = Box<dyn FnOnce(&Transport, Rc<Shared>)>;

/// The protocol of every stream.
pub(super) struct Inlet {
    shared: Rc<Shared>,
    made: Option<Made>,
}

impl Inlet {
    pub(super) fn new(made: impl FnOnce(&Transport, Rc<Shared>) + 'static) -> Inlet {
        Inlet {
            shared: Rc::default(),
            made: Some(Box::new(made)),
        }
    }

    /// The protocol of a stream that is there already.
    pub(super) fn of(shared: &Rc<Shared>) -> Inlet {
        Inlet {
            shared: Rc::clone(shared),
            made: None,
        }
    }
}

impl Protocol for Inlet {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(made) = self.made.take() {
            made(transport, Rc::clone(&self.shared));
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.shared.received(transport, data);
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.shared.peer_ended.set(true);
        self.shared.reader.wake();
    }

    fn write_resumed(&mut self, _: &Transport) {
        self.shared.resumed();
    }

    fn write_connection_lost(&mut self, _: &Transport) {
        self.shared.write_ended.set(true);
        self.shared.closer.wake();
        self.shared.writer.wake();
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        self.shared.ended(&reason);
    }
}

impl Drop for Inlet {
    /// Ends the stream of a reactor that is dropped before it has stopped: nothing else would tell its futures.
    fn drop(&mut self) {
        if self.shared.end.borrow().is_none() {
            self.shared.ended(&Reason::Stopped);
        }
    }
}
