//! The readiness port. epoll or kqueue reports when an operation can be performed; the port then
//! performs it, so that the layers above see only completions.
//!
//! A handle is registered once, and its reported readiness is remembered until an attempt shows
//! that it no longer holds. Operations exist only in our own memory, and the kernel borrows nothing
//! between two calls. Cancelling and closing therefore take effect at once; only their completions
//! wait for [`Driver::wait`].

mod accept;
mod attempt;
mod child;
mod connect;
mod entry;
mod hang_up;
mod life;
mod messages;
mod pending;
mod receive;
mod receive_datagrams;
mod selector;
mod send;
mod send_datagrams;
mod send_file;
mod sigpipe;
#[cfg(target_os = "linux")]
mod successor;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{FileType, fstat};

use super::admission::{admit, closed};
use super::calls::{Answer, Control, Offer, Open, PRESSED_BYTES_MAX, Query, Watched, unsupported};
use super::chunks::Chunks;
use super::driver::{ForkStep, Status};
use super::foreign::Foreign;
use super::listening::Listening;
use super::messages::DatagramSocket;
use super::options::{PortInfo, PortKind, PortOptions};
use super::serial;
use super::socket::{Resource, Socket, SocketRepr, of_another_port};
use super::source::Source;
use super::table::{Key, Table};
use super::waker::Waker;
use super::{BATCH_MAX, CloseMode, Driver, Interest, Spawned, SpawnedPipe, control};
use super::{Completion, Failure, Handle, Operation, Outcome, Request, RequestKind, Token};
use crate::process::{self, Spawn, SpawnError, SpawnStep, StartedChild};
#[cfg(target_os = "linux")]
pub(super) use successor::{Estate, Inherited, Legacy, Successor};

use attempt::Pools;
use entry::{Direction, Entry};
use pending::{Pending, Work};
use selector::{Ended, Selector};

/// The most completions of one wait that may come from newly submitted operations, so that a
/// program that sends without end does not starve other handles.
const FRESH_MAX: usize = BATCH_MAX / 2;

/// Opens the port, or explains why it cannot.
pub(super) fn open(options: &PortOptions, reason: String) -> io::Result<Box<dyn Driver>> {
    Ok(Box::new(PollPort::open(options, reason)?))
}

struct PollPort {
    info: PortInfo,
    selector: Selector,
    waker: Waker,
    pools: Rc<Pools>,
    handles: Table<Entry>,
    foreign: Foreign,
    /// Some of `foreign` are ready, and have not been collected yet.
    foreign_ready: bool,
    /// The operations whose last completion has not been delivered, and their places.
    operations: Table<Place>,
    /// The handles on which an operation may succeed now, each listed once.
    ready: VecDeque<Key>,
    /// The handles with a newly submitted send. Sends leave, and free their memory, before more is
    /// received.
    fresh: VecDeque<Key>,
    /// The number of handles of `ready` to visit before asking the kernel again.
    round: usize,
    /// Waits since the kernel was last asked.
    unasked: u8,
    /// Completions that need no attempt: those of cancelled operations and closed handles.
    finished: VecDeque<Completion>,
    /// The number of closed handles whose completion has not been delivered.
    closing: usize,
    /// The number of operations that ended on the port replaced by this one and whose last
    /// completion has not been delivered.
    inherited: usize,
    stale: u64,
}

/// The place of an operation: its handle and direction.
#[derive(Clone, Copy, Debug)]
struct Place {
    handle: Key,
    /// `None` for a close, which takes effect at once.
    direction: Option<Direction>,
}

impl PollPort {
    fn open(options: &PortOptions, reason: String) -> io::Result<PollPort> {
        let (selector, notify) = Selector::open()?;
        let waker = Waker::new(notify);
        Ok(PollPort::over(options, reason, selector, waker))
    }

    /// Creates a port without handles, whose waits `waker` ends through `selector`.
    fn over(options: &PortOptions, reason: String, selector: Selector, waker: Waker) -> PollPort {
        let info = PortInfo {
            kind: PortKind::Poll,
            reason,
            features: selector.features(),
        };
        PollPort {
            info,
            selector,
            waker,
            pools: Rc::new(Pools::new(options)),
            handles: Table::default(),
            foreign: Foreign::default(),
            foreign_ready: false,
            operations: Table::default(),
            ready: VecDeque::new(),
            fresh: VecDeque::new(),
            round: 0,
            unasked: 0,
            finished: VecDeque::new(),
            closing: 0,
            inherited: 0,
            stale: 0,
        }
    }

    fn entry(&self, handle: Handle) -> io::Result<&Entry> {
        self.handles.get(handle.0).ok_or_else(closed)
    }

    /// Registers a `source` that may be blocking; gives it back if the OS refuses.
    fn register_any(&mut self, source: Source) -> Result<Handle, (io::Error, Source)> {
        match control::unblock(&source) {
            Ok(()) => self.register(source),
            Err(error) => Err((error, source)),
        }
    }

    /// Registers a non-blocking `source`; gives it back if the OS refuses.
    fn register(&mut self, source: Source) -> Result<Handle, (io::Error, Source)> {
        let short_is_all = match prepare(&source) {
            Ok(short_is_all) => short_is_all,
            Err(error) => return Err((error, source)),
        };
        let key = self.handles.insert(Entry::new(source, short_is_all));
        let entry = self.handles.get_mut(key).expect("inserted above");
        match self.selector.add(entry.source.as_fd(), key) {
            Ok(watched) => {
                entry.watched = watched;
                Ok(Handle(key))
            }
            Err(error) => {
                let entry = self.handles.remove(key).expect("inserted above");
                Err((error, entry.source))
            }
        }
    }

    /// Takes a handle off the port. The returned entry holds the operations under way.
    fn remove(&mut self, handle: Handle) -> Option<Entry> {
        let entry = self.handles.remove(handle.0)?;
        if entry.watched
            && let Err(error) = self.selector.remove(entry.source.as_fd())
        {
            log::error!("port: a handle could not be removed from the selector: {error}");
        }
        Some(entry)
    }

    /// Queues `key` if an operation can be attempted and the handle is not queued already.
    fn queue_if_ready(&mut self, key: Key) {
        let Some(entry) = self.handles.get_mut(key) else {
            return;
        };
        if !entry.queued && entry.wants_attempt() {
            entry.queued = true;
            self.ready.push_back(key);
        }
    }
}

impl Driver for PollPort {
    fn status(&self) -> Status<'_> {
        Status {
            info: &self.info,
            waker: &self.waker,
            in_flight: self.operations.len() + self.inherited,
            open_handles: self.handles.len() + self.closing,
            stale: self.stale,
            sends_gathered_now: true,
            sends_pressing: true,
            file_calls: send_file::FILE_CALLS,
        }
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        let to_send = self.file_to_send(handle, &request)?;
        let entry = self.handles.get_mut(handle.0).ok_or_else(closed)?;
        admit(
            PortKind::Poll,
            entry.source.kind(),
            entry.under_way,
            &request,
        )?;
        let direction = Direction::of(&request);
        let operation = Operation(self.operations.insert(Place {
            handle: handle.0,
            direction: Some(direction),
        }));
        let work = match to_send {
            Some(sending) => Work::SendFile(sending),
            None => Work::of(request, entry.source.kind()),
        };
        let pending = Pending {
            operation,
            token,
            work,
        };
        entry.start(direction, pending);
        match direction {
            Direction::Output => self.fresh.push_back(handle.0),
            Direction::Input | Direction::HangUp => self.queue_if_ready(handle.0),
        }
        Ok(operation)
    }

    fn send_now(&mut self, handle: Handle, offer: Offer<'_>) -> Result<usize, Failure> {
        match offer {
            Offer::Bytes(data) => {
                let data = &data[..data.len().min(PRESSED_BYTES_MAX)];
                let entry = self.handles.get_mut(handle.0);
                entry.map_or(Ok(0), |entry| entry.send_now(&[IoSlice::new(data)]))
            }
            Offer::PressingBytes(pieces) => {
                let entry = self.handles.get_mut(handle.0);
                entry.map_or(Ok(0), |entry| entry.send_now(pieces))
            }
            Offer::Datagrams(batch) => Ok(self.send_datagrams_now(handle.0, batch)),
        }
    }

    fn cancel(&mut self, operation: Operation) -> bool {
        let Some(&place) = self.operations.get(operation.0) else {
            return false;
        };
        let Some(direction) = place.direction else {
            self.finished.extend(self.foreign.remove(operation));
            return true;
        };
        if let Some(entry) = self.handles.get_mut(place.handle)
            && let Some(pending) = entry.cancel(operation, direction)
        {
            self.finished.push_back(pending.into_cancelled());
            self.queue_if_ready(place.handle);
        }
        true
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        // A zero timeout needs no clock, and a deadline beyond the clock's range means no timeout.
        let waits = timeout.filter(|timeout| !timeout.is_zero());
        let deadline = waits.and_then(|timeout| self.now().checked_add(timeout));
        let first = completions.len();
        let limit = first + BATCH_MAX;
        let mut left = timeout;
        loop {
            self.visit_fresh(completions, first + FRESH_MAX);
            let idle = completions.len() == first
                && self.finished.is_empty()
                && self.ready.is_empty()
                && !self.foreign.is_always_ready();
            let asked = if idle {
                Some(self.poll(left)?)
            } else if self.is_to_ask() {
                Some(self.poll(Some(Duration::ZERO))?)
            } else {
                None
            };
            self.deliver_finished(completions, limit);
            self.visit_foreign(completions, limit)?;
            self.visit_ready(completions, limit);
            if completions.len() > first || asked.is_some_and(|ended| ended != Ended::Plainly) {
                return Ok(());
            }
            // The readiness no longer held: wait for the rest of the time.
            if let Some(deadline) = deadline {
                left = Some(deadline.saturating_duration_since(self.now()));
            }
            if left == Some(Duration::ZERO) && asked.is_some() {
                return Ok(());
            }
        }
    }

    fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.has_work() {
            return self.wait(Some(Duration::ZERO), completions);
        }
        Ok(())
    }

    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation> {
        let mut entry = self.remove(handle).ok_or_else(closed)?;
        let cancelled = entry.take_pending().map(Pending::into_cancelled);
        self.finished.extend(cancelled);
        if mode == CloseMode::Reset {
            entry.source.drop_unsent();
        }
        let operation = Operation(self.operations.insert(Place {
            handle: handle.0,
            direction: None,
        }));
        self.closing += 1;
        self.finished.push_back(Completion {
            token,
            operation,
            kind: RequestKind::Close,
            result: Ok(Outcome::Closed),
            more: false,
            unsent: Chunks::new(),
        });
        Ok(operation)
    }

    fn open(&mut self, open: Open<'_>) -> io::Result<Handle> {
        let registered = match open {
            Open::Listener(options) => {
                let listening = Listening::open(PortKind::Poll, options)?;
                self.register(Source::Listener(Box::new(listening)))
            }
            Open::Pipe(_) => {
                return Err(unsupported(PortKind::Poll, "connect to", "named pipes"));
            }
            Open::Stream {
                peer,
                local,
                packets,
            } => {
                let socket = control::stream(PortKind::Poll, peer, local, packets)?;
                self.register(Source::connecting(socket, packets))
            }
            Open::Datagrams(options) => {
                let socket = DatagramSocket::open(PortKind::Poll, options)?;
                self.register(Source::Datagrams(Box::new(socket)))
            }
            Open::Serial(options) => self.register(Source::Serial(serial::open(options)?)),
            Open::UnopenedFile => return Err(unsupported(self.info.kind, "open", "files")),
            Open::Adopted(Resource::File(file)) => {
                // It is neither ready nor not, so the kernel does not watch it.
                let entry = Entry::new(Source::File(file), true);
                return Ok(Handle(self.handles.insert(entry)));
            }
            Open::Adopted(Resource::Socket(Socket(SocketRepr::Plain(socket)))) => {
                self.register(Source::Stream(socket))
            }
            Open::Adopted(resource) => self.register_any(source_of(resource)?),
        };
        registered.map_err(reason)
    }

    fn watch(&mut self, watched: Watched<'_>, token: Token) -> io::Result<Operation> {
        match watched {
            Watched::Descriptor(descriptor, interest) => {
                self.begin_watch(descriptor, interest, token)
            }
            Watched::Directory(options) => self.begin_directory_watch(options, token),
            Watched::Handle(_) => Err(unsupported(self.info.kind, "watch", watched.name())),
        }
    }

    fn set_interest(&mut self, watch: Operation, interest: Interest) -> io::Result<()> {
        self.foreign.set_interest(watch, interest)
    }

    fn spawn(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        let started = match spawn {
            Spawn::Command(command) => StartedChild::start(command)?,
            Spawn::Started(started) => started,
        };
        let (child, program) = started.take();
        self.register_child(child).map_err(|(source, process)| {
            process::abandon(&process);
            SpawnError::at(program, SpawnStep::Adopt, source)
        })
    }

    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()> {
        self.entry(handle)?.source.control(control)
    }

    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.entry(handle)?.source.query(query)
    }

    fn fork(&mut self, step: ForkStep) -> io::Result<()> {
        match step {
            ForkStep::AfterInCopy => self.move_in()?,
            ForkStep::Disown => self.disown(),
            ForkStep::Before | ForkStep::After => {}
        }
        Ok(())
    }
}

impl fmt::Debug for PollPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollPort")
            .field("info", &self.info)
            .field("open_handles", &self.status().open_handles)
            .field("in_flight", &self.status().in_flight)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

/// The source that a resource is, if this port can serve it.
fn source_of(resource: Resource) -> io::Result<Source> {
    match resource {
        Resource::Socket(Socket(SocketRepr::Plain(socket))) => Ok(Source::Stream(socket)),
        Resource::Socket(Socket(SocketRepr::Os(socket))) => Source::of_socket(socket),
        Resource::Socket(Socket(SocketRepr::Own(_))) => Err(of_another_port()),
        Resource::Listener(listener) => Ok(Source::Listener(Box::new(listener.into()))),
        Resource::Datagrams(socket) => {
            let socket = DatagramSocket::adopt(socket.0)?;
            Ok(Source::Datagrams(Box::new(socket)))
        }
        Resource::PipeReader(pipe) => Ok(Source::Reader(pipe)),
        Resource::PipeWriter(pipe) => Ok(Source::Writer(pipe)),
        Resource::File(file) => Ok(Source::File(file)),
    }
}

/// Prepares a source for the port. Returns whether a short read or write means that nothing more is
/// possible now: true for sockets and pipes, false for terminals and other devices.
fn prepare(source: &Source) -> io::Result<bool> {
    match source {
        Source::Stream(_)
        | Source::Packets(_)
        | Source::Datagrams(_)
        | Source::Duplex(_)
        | Source::Writer(_) => {
            sigpipe::prepare(source.as_fd())?;
        }
        _ => {}
    }
    match source {
        Source::Reader(_) | Source::Writer(_) => {
            let kind = FileType::from_raw_mode(fstat(source)?.st_mode);
            Ok(matches!(kind, FileType::Fifo | FileType::Socket))
        }
        Source::Serial(_) => Ok(false),
        _ => Ok(true),
    }
}

fn reason((error, _): (io::Error, Source)) -> io::Error {
    error
}
