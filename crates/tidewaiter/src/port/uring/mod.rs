//! The port over Linux's io_uring.
//!
//! Each port has one ring, which only the port's thread enters. Accepts and receives are multishot:
//! one request, many completions. Received bytes land in a ring of buffers that all handles share,
//! so an idle connection holds none. A turn enters the kernel once: to submit the requests since
//! the last turn, and to wait.

#![expect(unsafe_code, reason = "the kernel reads and writes our memory")]

mod accept;
mod buffers;
mod child;
mod connect;
mod datagram_memory;
mod entry;
mod file;
mod file_work;
mod hang_up;
mod life;
mod message_form;
mod messages;
mod next;
mod pending;
mod pinned;
mod probe;
mod receive;
mod receive_datagrams;
mod refusal;
mod ring;
mod send;
mod send_datagrams;
mod send_file;
mod sigpipe;
mod succession;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::admission::{admit, closed, invalid};
use super::buffer::Pool;
use super::calls::{Answer, Control, Offer, Open, Query, Watched, unsupported};
use super::driver::{ForkStep, Status};
use super::event::Event;
use super::file::FileCall;
use super::foreign::Foreign;
use super::listening::Listening;
use super::memory::wide_pool;
use super::messages::DatagramSocket;
use super::serial;
use super::socket::{Resource, SocketRepr, of_another_port};
use super::source::Source;
use super::table::Table;
use super::waker::Waker;
use super::{
    BATCH_MAX, CloseMode, Completion, Driver, Failure, Handle, Interest, Operation, PortInfo,
    PortKind, PortOptions, Request, RequestKind, Spawned, Token, control,
};
use crate::process::{Spawn, SpawnError};
use buffers::BufferRing;
use child::Children;
use datagram_memory::DatagramMemory;
use entry::Entry;
use life::Phase;
use pending::{Pending, Stage, Work};
use pinned::{Gather, Pinned};
use probe::Abilities;
use receive::Wide;
use ring::{Entered, Ring, TaskWork, Wait};
use sigpipe::WriteFlags;
use watch::ForeignPoll;

/// The user data of the waker's completions; no operation's key equals it.
const WAKE: u64 = u64::MAX;

/// The number of lists for vectored sends, and of the port's own buffers, kept for reuse.
const SPARE_MAX: usize = 64;

/// The kernel features that the port may use. Tests forbid some, to stand in for older kernels.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    task_work: TaskWork,
    multishot: bool,
    wait_by_number: bool,
    immediate_sends: bool,
}

impl Allowed {
    const ALL: Allowed = Allowed {
        task_work: TaskWork::Deferred,
        multishot: true,
        wait_by_number: true,
        immediate_sends: true,
    };
}

/// Opens the port, or explains why it cannot.
pub(super) fn open(options: &PortOptions, reason: String) -> io::Result<Box<dyn Driver>> {
    Ok(Box::new(Uring::open(options, reason, Allowed::ALL)?))
}

struct Uring {
    info: PortInfo,
    setup: Setup,
    /// Declared first, to be dropped first: the kernel then releases everything below.
    ring: Option<Ring>,
    phase: Phase,
    handles: Table<Entry>,
    operations: Table<Pending>,
    foreign: Foreign,
    foreign_poll: ForeignPoll,
    buffers: Rc<BufferRing>,
    wide: Wide,
    datagrams: DatagramMemory,
    spare: Vec<Pinned<Gather>>,
    children: Children,
    /// Last completions to deliver, of operations already removed from the table.
    due: VecDeque<Completion>,
    bell: Bell,
    stale: u64,
}

/// The options for creating rings, and the kernel's features.
struct Setup {
    options: PortOptions,
    task_work: TaskWork,
    abilities: Abilities,
    /// The flags for writing to pipes, once known.
    write_flags: Option<WriteFlags>,
    /// Whether sending a file raises no SIGPIPE that would end the program.
    quiet: bool,
}

struct Bell {
    waker: Waker,
    event: Event,
    /// Whether the ring polls the waker's event.
    watched: bool,
    /// Whether the waker was used since `wait` last checked.
    rung: bool,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("info", &self.info)
            .field("ring", &self.ring)
            .field("buffers", &self.buffers)
            .field("handles", &self.handles.len())
            .field("in_flight", &self.status().in_flight)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

fn check(options: &PortOptions) -> io::Result<()> {
    if !options.receive_buffers.is_power_of_two() {
        return Err(invalid("`receive_buffers` must be a power of two"));
    }
    if options.submission_entries == 0 || options.completion_entries == 0 {
        return Err(invalid("queues must have entries"));
    }
    Ok(())
}

impl Uring {
    fn open(options: &PortOptions, reason: String, allowed: Allowed) -> io::Result<Uring> {
        check(options)?;
        let mut ring = Ring::set_up(options, allowed.task_work)?;
        let known = probe::check_operations(&mut ring)?;
        let buffers = BufferRing::register(&ring, options)?;
        let mut abilities = probe::abilities(&mut ring, &known, &buffers)?;
        abilities.multishot_receive &= allowed.multishot;
        abilities.multishot_read &= allowed.multishot;
        abilities.wait_by_number &= allowed.wait_by_number;
        abilities.immediate_sends &= allowed.immediate_sends;
        let event = Event::new()?;
        let info = PortInfo {
            kind: PortKind::Uring,
            reason,
            features: probe::features(&ring, abilities),
        };
        Ok(Uring {
            info,
            setup: Setup {
                options: options.clone(),
                task_work: ring.task_work(),
                abilities,
                write_flags: None,
                quiet: false,
            },
            ring: Some(ring),
            phase: Phase::Held,
            handles: Table::default(),
            operations: Table::default(),
            foreign: Foreign::default(),
            foreign_poll: ForeignPoll::default(),
            buffers,
            wide: Wide {
                usual: Pool::new(options.receive_bytes, SPARE_MAX),
                pool: wide_pool(options),
                taken: 0,
            },
            datagrams: DatagramMemory::default(),
            spare: Vec::new(),
            children: Children::default(),
            due: VecDeque::new(),
            bell: Bell {
                waker: Waker::new(Box::new(event.clone())),
                event,
                watched: false,
                rung: false,
            },
            stale: 0,
        })
    }

    fn entry(&self, handle: Handle) -> io::Result<&Entry> {
        let entry = self.handles.get(handle.0);
        entry
            .filter(|entry| entry.closing.is_none())
            .ok_or_else(closed)
    }

    fn keep(&mut self, source: Source) -> Handle {
        self.datagrams.used |= matches!(source, Source::Datagrams(_));
        Handle(self.handles.insert(Entry::new(source)))
    }

    /// Prepares a resource that was made elsewhere, if this port can serve it.
    fn prepare(&mut self, resource: Resource) -> io::Result<Source> {
        match resource {
            Resource::Socket(socket) => match socket.0 {
                SocketRepr::Plain(socket) => Ok(Source::Stream(socket)),
                SocketRepr::Os(socket) => Source::of_socket(socket),
                SocketRepr::Own(_) => Err(of_another_port()),
            },
            Resource::Listener(listener) => {
                listener.socket.set_nonblocking(true)?;
                Ok(Source::Listener(Box::new(listener.into())))
            }
            Resource::Datagrams(socket) => {
                let socket = DatagramSocket::adopt(socket.0)?;
                Ok(Source::Datagrams(Box::new(socket)))
            }
            Resource::PipeReader(pipe) => {
                control::unblock(&pipe)?;
                Ok(Source::Reader(pipe))
            }
            Resource::File(file) => Ok(Source::File(file)),
            Resource::PipeWriter(pipe) => {
                control::unblock(&pipe)?;
                self.ask_write_flags()?;
                Ok(Source::Writer(pipe))
            }
        }
    }

    fn ask_write_flags(&mut self) -> io::Result<()> {
        if self.setup.write_flags.is_none() {
            self.setup.write_flags = Some(sigpipe::write_flags()?);
        }
        Ok(())
    }
}

impl Driver for Uring {
    fn status(&self) -> Status<'_> {
        Status {
            info: &self.info,
            waker: &self.bell.waker,
            in_flight: self.operations.len() + self.due.len(),
            open_handles: self.handles.len(),
            stale: self.stale,
            sends_gathered_now: false,
            sends_pressing: true,
            file_calls: self.setup.abilities.file_calls,
        }
    }

    fn begin_waiting(&mut self) -> io::Result<Option<Box<dyn Driver>>> {
        match self.activate() {
            Ok(()) => Ok(None),
            Err(refusal) => self.give_way(&refusal).map(Some),
        }
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        let entry = self.handles.get_mut(handle.0);
        let mut entry = entry
            .filter(|entry| entry.closing.is_none())
            .ok_or_else(closed)?;
        let handle_kind = entry.source.kind();
        admit(PortKind::Uring, handle_kind, entry.under_way, &request)?;
        let kind = request.kind();
        let mut work = match request {
            Request::File(_) | Request::SendFile(_) => {
                let work = self.file_work(handle, request)?;
                entry = self.handles.get_mut(handle.0).ok_or_else(closed)?;
                work
            }
            request => Work::new(
                entry,
                handle_kind,
                request,
                self.setup.abilities,
                self.setup.write_flags,
            ),
        };
        let key = self.operations.insert(Pending {
            handle: handle.0,
            descriptor: entry.descriptor(),
            token,
            stage: work.first_stage(self.setup.abilities),
            cancelled: false,
            lent: false,
            kind,
            work,
        });
        entry.note(key, kind);
        self.start(key);
        Ok(Operation(key))
    }

    fn send_now(&mut self, handle: Handle, offer: Offer<'_>) -> Result<usize, Failure> {
        match offer {
            // The turn's operation is cheaper than a call.
            Offer::Bytes(_) => Ok(0),
            Offer::PressingBytes(pieces) => {
                let entry = self.handles.get(handle.0);
                entry.map_or(Ok(0), |entry| send::send_now(entry, pieces))
            }
            Offer::Datagrams(batch) => Ok(self.send_datagrams_now(handle, batch)),
        }
    }

    fn cancel(&mut self, operation: Operation) -> bool {
        self.cancel_key(operation.0)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = completions.len();
        let limit = before + BATCH_MAX;
        let deadline = match timeout {
            Some(timeout) if !timeout.is_zero() => Instant::now().checked_add(timeout),
            _ => None,
        };
        let mut wait = match timeout {
            None => Wait::ForEver,
            Some(Duration::ZERO) => Wait::No,
            Some(timeout) => Wait::UpTo(timeout),
        };
        debug_assert_eq!(self.phase, Phase::Active, "`begin_waiting` comes first");
        self.bell.rung = false;
        self.datagrams.wait_began = before;
        self.datagrams.copied = 0;
        loop {
            self.buffers.fill_up();
            self.watch_foreign();
            let has_errors = self.datagrams.used && self.datagrams.prepare();
            let ready = !self.due.is_empty()
                || has_errors
                || self.ring_mut().has_completions()
                || self.is_foreign_ready();
            let now = if ready { Wait::No } else { wait };
            let mut entered = Entered::Done;
            if !matches!(now, Wait::No) || self.ring_mut().wants_entering() {
                entered = self.ring_mut().enter(now)?;
            }
            self.reap(limit, completions)?;
            let idle = completions.len() == before && !self.bell.rung;
            if !idle || entered == Entered::Early || matches!(wait, Wait::No) {
                return Ok(());
            }
            // Only completions of the port's own requests arrived: wait for the rest of the time.
            if let Some(deadline) = deadline {
                wait = Wait::UpTo(deadline.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation> {
        let descriptor = self.entry(handle)?.descriptor();
        let operation = self.operations.insert(Pending {
            handle: handle.0,
            descriptor,
            token,
            stage: Stage::Started,
            cancelled: false,
            lent: false,
            kind: RequestKind::Close,
            work: Work::Close,
        });
        let entry = self
            .handles
            .get_mut(handle.0)
            .expect("it was there a moment ago");
        for key in entry.begin_closing(operation, mode) {
            self.cancel_key(key);
        }
        self.close_if_idle(handle.0);
        Ok(Operation(operation))
    }

    fn open(&mut self, open: Open<'_>) -> io::Result<Handle> {
        let source = match open {
            Open::Listener(options) => {
                let listening = Listening::open(PortKind::Uring, options)?;
                Source::Listener(Box::new(listening))
            }
            Open::Pipe(_) => {
                return Err(unsupported(PortKind::Uring, "connect to", "named pipes"));
            }
            Open::Stream {
                peer,
                local,
                packets,
            } => {
                let socket = control::stream(PortKind::Uring, peer, local, packets)?;
                Source::connecting(socket, packets)
            }
            Open::Datagrams(options) => {
                let socket = DatagramSocket::open(PortKind::Uring, options)?;
                Source::Datagrams(Box::new(socket))
            }
            Open::Serial(options) => {
                self.ask_write_flags()?;
                Source::Serial(serial::open(options)?)
            }
            Open::UnopenedFile if self.setup.abilities.file_calls.contain(FileCall::Open) => {
                Source::UnopenedFile
            }
            Open::UnopenedFile => return Err(unsupported(self.info.kind, "open", "files")),
            Open::Adopted(resource) => self.prepare(resource)?,
        };
        Ok(self.keep(source))
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
        self.spawn_child(spawn)
    }

    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()> {
        self.entry(handle)?.source.control(control)
    }

    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.entry(handle)?.source.query(query)
    }

    fn fork(&mut self, step: ForkStep) -> io::Result<()> {
        match step {
            ForkStep::Before => self.suspend(),
            ForkStep::After => self.resume(),
            ForkStep::AfterInCopy => {
                self.move_in()?;
                self.resume()
            }
            ForkStep::Disown => {
                self.disown();
                Ok(())
            }
        }
    }
}
