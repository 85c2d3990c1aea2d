//! A handle of the port.

use std::collections::VecDeque;

use rustix::io::Errno;

use super::super::admission::RequestKinds;
use super::super::source::Source;
use super::super::surge::Surge;
use super::super::{Operation, Request};
use super::pending::Pending;
use super::selector::Readiness;

/// The kinds of operation that can be under way on one handle at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Accepts, receives (bytes or datagrams), and waits for an exit.
    Input,
    /// Connects and sends, of files too.
    Output,
    /// Waits for a hang-up.
    HangUp,
}

impl Direction {
    pub(super) fn of(request: &Request) -> Direction {
        match request {
            Request::Accept
            | Request::AcceptOne
            | Request::Receive
            | Request::ReceiveWithDescriptors
            | Request::ReceiveDatagrams
            | Request::Exit => Direction::Input,
            Request::Connect(_)
            | Request::Send(_)
            | Request::SendDatagrams(_)
            | Request::SendFile(_) => Direction::Output,
            Request::HangUp => Direction::HangUp,
            Request::OpenFile(_) | Request::File(_) => unreachable!("the port refuses them"),
        }
    }
}

/// A handle: its source, its known readiness, and its operations under way.
///
/// Kept small, because every visit loads an entry into the processor's cache, and there are many: with its key in the
/// [`Table`](super::super::table::Table), it takes two lines of the cache. Fields that few handles need are in [`Extras`].
///
/// The order of the fields follows their use: those that a report from the selector touches come
/// first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    /// Whether the selector reports changes. A source that it cannot watch is always ready.
    pub(super) watched: bool,
    /// Whether the handle is in the queue of handles to attempt.
    pub(super) queued: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// It may have hung up; only a poll tells for certain.
    pub(super) hung_up: bool,
    /// The peer has ended or failed, so a short read does not mean that there is nothing left to
    /// read.
    pub(super) ended: bool,
    /// Whether a short read or write means that nothing more is possible now. True for sockets and
    /// pipes; a terminal, for example, returns one line at a time.
    pub(super) short_is_all: bool,
    /// The kinds of operations whose last completion has not been delivered.
    pub(super) under_way: RequestKinds,
    pub(super) input: Option<Pending>,
    pub(super) source: Source,
    /// How much the handle has received lately.
    pub(super) surge: Surge,
    pub(super) output: Option<Pending>,
    extras: Option<Box<Extras>>,
    /// The error of a send that broke the connection. The kernel reports it only once: without this
    /// copy, a later receive would take the reset for an end of file.
    pub(super) broken: Option<Errno>,
}

/// Fields that few handles need.
#[derive(Debug, Default)]
struct Extras {
    hang_up: Option<Pending>,
    /// Further accepts, and further waits for the same exit: each moves to `input` in its turn.
    waiting: VecDeque<Pending>,
}

impl Entry {
    pub(super) fn new(source: Source, short_is_all: bool) -> Entry {
        Entry {
            source,
            under_way: RequestKinds::default(),
            watched: false,
            queued: false,
            input: None,
            output: None,
            extras: None,
            readable: false,
            // Most sockets are writable at once; the first attempt corrects this.
            writable: true,
            hung_up: false,
            ended: false,
            short_is_all,
            broken: None,
            surge: Surge::default(),
        }
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Removes all operations: those under way and those that wait for their turn.
    pub(super) fn take_pending(&mut self) -> impl Iterator<Item = Pending> {
        let Extras {
            hang_up, waiting, ..
        } = self.extras.take().map(|extras| *extras).unwrap_or_default();
        let streaming = [self.input.take(), self.output.take(), hang_up];
        streaming.into_iter().flatten().chain(waiting)
    }

    pub(super) fn slot(&mut self, direction: Direction) -> &mut Option<Pending> {
        match direction {
            Direction::Input => &mut self.input,
            Direction::Output => &mut self.output,
            Direction::HangUp => &mut self.extras().hang_up,
        }
    }

    /// Puts an operation that was admitted in its place.
    pub(super) fn start(&mut self, direction: Direction, pending: Pending) {
        self.under_way.insert(pending.kind());
        if direction == Direction::Input && self.input.is_some() {
            self.extras().waiting.push_back(pending);
            return;
        }
        let slot = self.slot(direction);
        debug_assert!(slot.is_none(), "it was admitted");
        *slot = Some(pending);
    }

    /// Removes `operation` from the handle, if it is still to be attempted.
    pub(super) fn cancel(&mut self, operation: Operation, direction: Direction) -> Option<Pending> {
        let is_it = |pending: &Pending| pending.operation == operation;
        let under_way = self.slot(direction).take_if(|pending| is_it(pending));
        let extras = self.extras();
        let pending = match under_way {
            Some(pending) => pending,
            None => extras
                .waiting
                .remove(extras.waiting.iter().position(is_it)?)?,
        };
        self.promote();
        Some(pending)
    }

    /// Moves the next waiting operation to the place of one that has ended.
    pub(super) fn promote(&mut self) {
        if self.input.is_none()
            && let Some(extras) = &mut self.extras
        {
            self.input = extras.waiting.pop_front();
        }
    }

    /// Records a report from the selector.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        self.ended |= readiness.ended;
        self.hung_up |= readiness.hung_up;
    }

    /// Whether any operation may succeed now.
    pub(super) fn wants_attempt(&self) -> bool {
        self.is_due(Direction::Input)
            || self.is_due(Direction::Output)
            || self.is_due(Direction::HangUp)
    }

    /// Whether the operation in `direction` may succeed now.
    #[inline]
    pub(super) fn is_due(&self, direction: Direction) -> bool {
        match direction {
            Direction::Input => (self.readable || !self.watched) && self.input.is_some(),
            Direction::Output => (self.writable || !self.watched) && self.output.is_some(),
            Direction::HangUp => {
                let extras = self.extras.as_ref();
                self.hung_up && extras.is_some_and(|extras| extras.hang_up.is_some())
            }
        }
    }
}
