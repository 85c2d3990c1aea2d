//! A handle with its operations, and the non-blocking attempt at each of them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};

use super::super::buffer::{Lease, Pool};
use super::super::chunks::Chunks;
use super::super::options::PortOptions;
use super::super::socket::{Socket as FreeSocket, SocketRepr};
use super::super::surge::{self, Surge};
use super::super::{Completion, Failure, Operation, Outcome, Request};
use super::calls::{SEND_MAX, accept, gather, is_in_progress, receive, send};
use super::pending::{Pending, Work};
use super::selector::Readiness;
use super::sigpipe::Quiet;
use crate::process::OsProcess;

/// The most pieces of memory in one send.
const PIECES_MAX: usize = 64;

/// The most connections accepted from one listener before other handles get their turn.
const ACCEPTS_MAX: usize = 32;

/// Each receive counts as at least this many bytes: the state that the kernel and the port keep for
/// a connection also enters the processor's cache, and is used again when the answer is sent.
const RECEIVED_MIN: usize = 8 * 1024;

/// A timeout of zero: polls without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The object behind a handle.
#[derive(Debug)]
pub(in super::super) enum Source {
    Listener(Socket),
    Stream(Socket),
    Reader(OwnedFd),
    Writer(OwnedFd),
    Process(Box<OsProcess>),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(socket) | Source::Stream(socket) => socket.as_fd(),
            Source::Reader(pipe) | Source::Writer(pipe) => pipe.as_fd(),
            Source::Process(process) => process.as_fd(),
        }
    }
}

/// The kinds of operation that can be under way on one handle at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Accepts, receives, and waits for an exit.
    Input,
    /// Connects and sends.
    Output,
    /// Waits for a hang-up.
    HangUp,
}

impl Direction {
    pub(super) fn of(request: &Request) -> Direction {
        match request {
            Request::Accept | Request::AcceptOne | Request::Receive | Request::Exit => {
                Direction::Input
            }
            Request::Connect(_) | Request::Send(_) => Direction::Output,
            Request::HangUp => Direction::HangUp,
        }
    }
}

/// Memory to receive into.
pub(super) struct Pools {
    /// For pipes: whole pages, which is what their writers fill.
    pipe: Rc<Pool>,
    /// For connections: somewhat larger, so that a message of exactly the usual size does not fill
    /// it. A full buffer would need another call to find out that nothing follows.
    connection: Rc<Pool>,
    /// For surges.
    wide: Rc<Pool>,
}

impl Pools {
    pub(super) fn new(options: &PortOptions) -> Pools {
        let (bytes, spare) = (options.receive_bytes.max(1), options.receive_buffers.into());
        Pools {
            pipe: Pool::new(bytes, spare),
            connection: Pool::new(bytes.saturating_add(bytes / 16), spare),
            wide: surge::wide_pool(options),
        }
    }

    fn lease(&self, source: &Source, wide: bool) -> Lease {
        match source {
            _ if wide => self.wide.lease(),
            Source::Stream(_) => self.connection.lease(),
            _ => self.pipe.lease(),
        }
    }
}

/// The port's memory pools and the state of one round, for attempts to use.
pub(super) struct Tools {
    pools: Rc<Pools>,
    /// Set by the round's first write to a pipe.
    quiet: Option<Quiet>,
    /// The approximate number of bytes of memory that the round has used for receiving.
    pub(super) received: usize,
}

impl Tools {
    pub(super) fn new(pools: &Rc<Pools>) -> Tools {
        Tools {
            pools: Rc::clone(pools),
            quiet: None,
            received: 0,
        }
    }
}

/// The result of an attempt.
pub(super) enum Attempt {
    /// The operation waits for readiness.
    NotReady,
    /// A completion, after which the operation continues.
    More(Outcome),
    /// The last completion.
    Last(Result<Outcome, Failure>),
}

/// A handle: its source, its known readiness, and its operations under way.
///
/// Kept small, because every visit loads an entry into the processor's cache, and there are many:
/// fields that few handles need are in [`Extras`].
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
    readable: bool,
    writable: bool,
    /// It may have hung up; only a poll tells for certain.
    hung_up: bool,
    /// The peer has ended or failed, so a short read does not mean that there is nothing left to
    /// read.
    ended: bool,
    /// Whether a short read or write means that nothing more is possible now. True for sockets and
    /// pipes; a terminal, for example, returns one line at a time.
    short_is_all: bool,
    pub(super) input: Option<Pending>,
    pub(super) source: Source,
    /// How much the handle has received lately.
    surge: Surge,
    pub(super) output: Option<Pending>,
    extras: Option<Box<Extras>>,
    /// The error of a send that broke the connection. The kernel reports it only once: without this
    /// copy, a later receive would take the reset for an end of file.
    broken: Option<Errno>,
}

/// Fields that few handles need.
#[derive(Debug, Default)]
struct Extras {
    hang_up: Option<Pending>,
    /// Further accepts, and further waits for the same exit: each moves to `input` in its turn.
    waiting: VecDeque<Pending>,
    /// Directions of cancelled operations whose completion is not yet delivered, and that still
    /// count as under way.
    ending: Vec<Direction>,
}

impl Entry {
    pub(super) fn new(source: Source, short_is_all: bool) -> Entry {
        Entry {
            source,
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

    fn slot(&mut self, direction: Direction) -> &mut Option<Pending> {
        match direction {
            Direction::Input => &mut self.input,
            Direction::Output => &mut self.output,
            Direction::HangUp => &mut self.extras().hang_up,
        }
    }

    /// Puts `pending` in its place; returns it as an error if its direction is occupied and takes only
    /// one operation.
    pub(super) fn start(&mut self, direction: Direction, pending: Pending) -> Result<(), Pending> {
        let several = matches!(pending.work, Work::Accept | Work::AcceptOne | Work::Exit);
        if several && self.input.is_some() {
            self.extras().waiting.push_back(pending);
            return Ok(());
        }
        let ending = self
            .extras
            .as_ref()
            .is_some_and(|extras| extras.ending.contains(&direction));
        if self.slot(direction).is_some() || (!several && ending) {
            return Err(pending);
        }
        *self.slot(direction) = Some(pending);
        Ok(())
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
        extras.ending.push(direction);
        self.promote();
        Some(pending)
    }

    /// Notes that the completion of an operation cancelled in `direction` has been delivered.
    pub(super) fn forget_cancelled(&mut self, direction: Direction) {
        let ending = &mut self.extras().ending;
        if let Some(place) = ending.iter().position(|ending| *ending == direction) {
            ending.swap_remove(place);
        }
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
                let extras = self.extras.as_ref().filter(|_| self.hung_up);
                extras.is_some_and(|extras| extras.hang_up.is_some())
            }
        }
    }

    /// The number of attempts that one visit may make.
    pub(super) fn attempts_max(&self, direction: Direction) -> usize {
        match (direction, &self.input) {
            (Direction::Input, Some(pending)) if matches!(pending.work, Work::Accept) => {
                ACCEPTS_MAX
            }
            _ => 1,
        }
    }

    /// Attempts the operation in `direction`. If it ends, the next waiting one takes its place.
    pub(super) fn attempt(
        &mut self,
        direction: Direction,
        tools: &mut Tools,
    ) -> Option<Completion> {
        let pending = self.slot(direction).as_mut()?;
        let (operation, token, kind) = (pending.operation, pending.token, pending.kind());
        let attempt = match &mut pending.work {
            Work::Accept => self.attempt_accept(),
            Work::AcceptOne => match self.attempt_accept() {
                Attempt::More(accepted) => Attempt::Last(Ok(accepted)),
                other => other,
            },
            Work::Receive => self.attempt_receive(tools),
            Work::Exit => self.attempt_exit(),
            Work::HangUp => self.attempt_hang_up(),
            Work::Connect(peer) => {
                let peer = **peer;
                pending.work = Work::Connecting;
                self.attempt_connect(peer)
            }
            Work::Connecting => self.attempt_connected(),
            Work::Send(_) => self.attempt_send(tools),
        };
        let (result, more) = match attempt {
            Attempt::NotReady => return None,
            Attempt::More(outcome) => (Ok(outcome), true),
            Attempt::Last(result) => (result, false),
        };
        let mut unsent = Chunks::new();
        if !more {
            let pending = self.slot(direction).take();
            unsent = pending.map(Pending::into_unsent).unwrap_or_default();
            self.promote();
        }
        Some(Completion {
            token,
            operation,
            kind,
            result,
            more,
            unsent,
        })
    }

    fn attempt_accept(&mut self) -> Attempt {
        let Source::Listener(listener) = &self.source else {
            unreachable!("`check` lets no other source accept");
        };
        match accept(listener) {
            Ok(Some((socket, peer))) => Attempt::More(Outcome::Accepted {
                socket: FreeSocket(SocketRepr::Plain(socket)),
                peer,
            }),
            Ok(None) => {
                self.readable = false;
                Attempt::NotReady
            }
            // Still readable: the backlog remains for a later operation.
            Err(failure) => Attempt::Last(Err(failure)),
        }
    }

    fn attempt_receive(&mut self, tools: &mut Tools) -> Attempt {
        let mut lease = tools.pools.lease(&self.source, self.surge.is_wide());
        match receive(&self.source, &mut lease) {
            Ok(None) => {
                self.readable = false;
                Attempt::NotReady
            }
            Ok(Some(0)) => Attempt::Last(match self.broken {
                Some(error) => Err(Failure::os("recv", error.into())),
                None => Ok(Outcome::EndOfFile),
            }),
            Ok(Some(length)) => {
                let drained = length < lease.capacity() && self.short_is_all && !self.ended;
                self.readable = !drained;
                tools.received += if self.surge.is_wide() {
                    lease.capacity()
                } else {
                    length.max(RECEIVED_MIN)
                };
                match &self.source {
                    Source::Reader(pipe) => {
                        self.surge.note(pipe.as_fd(), length, lease.capacity());
                    }
                    _ => self
                        .surge
                        .note_connection(length, length == lease.capacity()),
                }
                Attempt::More(Outcome::Received(lease.filled(length)))
            }
            Err(failure) => Attempt::Last(Err(failure)),
        }
    }

    fn attempt_exit(&mut self) -> Attempt {
        let Source::Process(process) = &self.source else {
            unreachable!("`check` lets no other source exit");
        };
        match process.try_wait() {
            Ok(Some(status)) => Attempt::Last(Ok(Outcome::Exited(status))),
            Ok(None) => {
                self.readable = false;
                Attempt::NotReady
            }
            Err(error) => Attempt::Last(Err(Failure::os("waitid", error))),
        }
    }

    fn attempt_hang_up(&mut self) -> Attempt {
        let mut asked = [PollFd::new(&self.source, PollFlags::empty())];
        // An earlier report may date from before the socket was connected, so poll again.
        match poll(&mut asked, Some(&NOW)) {
            Ok(0) => {
                self.hung_up = false;
                return Attempt::NotReady;
            }
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => return Attempt::NotReady,
            Err(error) => return Attempt::Last(Err(Failure::os("poll", error.into()))),
        }
        let error = match &self.source {
            Source::Stream(socket) => socket.take_error(),
            _ => Ok(None),
        };
        Attempt::Last(match error {
            Ok(None) => Ok(Outcome::HungUp),
            Ok(Some(error)) | Err(error) => Err(Failure::os("poll", error)),
        })
    }

    fn attempt_connect(&mut self, peer: SocketAddr) -> Attempt {
        let Source::Stream(socket) = &self.source else {
            unreachable!("`check` lets no other source connect");
        };
        // Earlier reports are about the unconnected socket, for example that it has hung up, and no
        // longer hold.
        self.readable = false;
        self.writable = false;
        self.ended = false;
        self.hung_up = false;
        match socket.connect(&SockAddr::from(peer)) {
            Ok(()) => {
                self.writable = true;
                Attempt::Last(Ok(Outcome::Connected))
            }
            Err(error) if is_in_progress(&error) => Attempt::NotReady,
            Err(error) => Attempt::Last(Err(Failure::os("connect", error))),
        }
    }

    fn attempt_connected(&mut self) -> Attempt {
        let Source::Stream(socket) = &self.source else {
            unreachable!("`check` lets no other source connect");
        };
        match socket
            .take_error()
            .and_then(|error| error.map_or(Ok(()), Err))
        {
            Ok(()) => {}
            Err(error) => return Attempt::Last(Err(Failure::os("connect", error))),
        }
        // No error and no peer: the report predates the connect.
        match socket.peer_addr() {
            Ok(_) => Attempt::Last(Ok(Outcome::Connected)),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                Attempt::NotReady
            }
            Err(error) => Attempt::Last(Err(Failure::os("connect", error))),
        }
    }

    /// Sends as much of `data` as the OS takes now; nothing if a send is under way or the socket is
    /// known to be full.
    pub(super) fn send_now(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let may_succeed = self.output.is_none() && (self.writable || !self.watched);
        if !may_succeed || !matches!(self.source, Source::Stream(_)) {
            return Ok(0);
        }
        let data = &data[..data.len().min(SEND_MAX)];
        match send(&self.source, &[IoSlice::new(data)], &mut None) {
            Ok(bytes) => {
                self.writable = bytes == data.len() || !self.short_is_all;
                Ok(bytes)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(self.broken_by(error)),
        }
    }

    /// Records the error of a send.
    fn broken_by(&mut self, error: Errno) -> Failure {
        // EPIPE follows our own shutdown, or an error that the kernel has already reported.
        if error != Errno::PIPE {
            self.broken = Some(error);
        }
        Failure::os("send", error.into())
    }

    fn attempt_send(&mut self, tools: &mut Tools) -> Attempt {
        let Some(Pending {
            work: Work::Send(chunks),
            ..
        }) = &mut self.output
        else {
            unreachable!("it was found to be a send");
        };
        // Most sends have one piece, so they avoid the long list.
        let (mut one, mut many);
        let pieces: &mut [IoSlice<'_>] = if chunks.count() == 1 {
            one = [IoSlice::new(&[]); 1];
            &mut one
        } else {
            many = [IoSlice::new(&[]); PIECES_MAX];
            &mut many
        };
        let (count, asked) = gather(chunks, pieces);
        match send(&self.source, &pieces[..count], &mut tools.quiet) {
            Ok(bytes) => {
                self.writable = bytes == asked || !self.short_is_all;
                chunks.note_sent(bytes);
                Attempt::Last(Ok(Outcome::Sent { bytes }))
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Attempt::NotReady
            }
            Err(error) => Attempt::Last(Err(self.broken_by(error))),
        }
    }
}
