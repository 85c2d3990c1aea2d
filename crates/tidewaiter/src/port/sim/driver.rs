//! A port of the simulated world.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::ChannelEnd;
use super::network::End;
use super::{Bell, Shared, SimSocket};
use crate::port::buffer::Pool;
use crate::port::socket::{Simulated, SocketRepr};
use crate::port::table::{Key, Table};
use crate::port::{
    BATCH_MAX, Chunks, CloseMode, Completion, Driver, Failure, Handle, ListenOptions, Operation,
    Outcome, PortInfo, RawDescriptor, Request, RequestKind, Resource, Socket, SocketOption,
    Spawned, SpawnedPipe, Token, Waker,
};
use crate::process::{Command, PipeDirection, Signal, SignalTarget, SpawnError};

/// The object behind a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Listener(Key),
    /// An unconnected socket, bound to this address.
    Bound(SocketAddr),
    Stream(End),
    Reader(Key),
    Writer(Key),
    Process(Key),
    /// Closed; the completion that reports it is in transit.
    Gone,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Source,
    closing: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    Accept,
    AcceptOne,
    Connect(SocketAddr),
    /// A connect that nobody answers.
    Silence,
    Receive,
    Send(Chunks),
    Exit,
    HangUp,
    Close(CloseMode),
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) handle: Handle,
    token: Token,
    kind: RequestKind,
    pub(super) task: Task,
    pub(super) cancelled: bool,
    /// The completion that is not delivered yet.
    pub(super) result: Option<Decided>,
}

/// A completion in transit.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) due: Duration,
    pub(super) result: Result<Outcome, Failure>,
    pub(super) more: bool,
}

pub(super) struct SimDriver {
    pub(super) shared: Arc<Shared>,
    info: PortInfo,
    pub(super) pool: Rc<Pool>,
    pub(super) handles: Table<Entry>,
    pub(super) operations: Table<Pending>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl SimDriver {
    pub(super) fn new(shared: Arc<Shared>, info: PortInfo, pool: Rc<Pool>) -> SimDriver {
        let bell = Arc::new(Bell::of_this_thread());
        let waker = Waker::new(Box::new(Arc::clone(&bell)));
        shared.add_bell(&bell);
        SimDriver {
            shared,
            info,
            pool,
            handles: Table::default(),
            operations: Table::default(),
            bell,
            waker,
        }
    }

    /// The object behind a handle that is open and not being closed.
    fn source(&self, handle: Handle) -> io::Result<Source> {
        match self.handles.get(handle.0) {
            Some(entry) if !entry.closing => Ok(entry.source),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn open(&mut self, source: Source) -> Handle {
        let entry = Entry {
            source,
            closing: false,
        };
        Handle(self.handles.insert(entry))
    }

    fn start(&mut self, handle: Handle, kind: RequestKind, task: Task, token: Token) -> Operation {
        let key = self.operations.insert(Pending {
            handle,
            token,
            kind,
            task,
            cancelled: false,
            result: None,
        });
        self.attempt_all(&[key]);
        Operation(key)
    }

    fn is_busy(&self, handle: Handle, kind: RequestKind) -> bool {
        let mut operations = self.operations.iter();
        operations.any(|(_, pending)| pending.handle == handle && pending.kind == kind)
    }

    /// Moves completions that are due by now to `completions`.
    fn deliver(&mut self, completions: &mut Vec<Completion>) -> usize {
        let (now, mut due) = {
            let mut world = self.shared.lock();
            let now = world.elapsed;
            let is_due = |pending: &Pending| pending.result.as_ref().is_some_and(|r| r.due <= now);
            let due = self
                .operations
                .iter()
                .filter(|(_, pending)| is_due(pending));
            let mut due: Vec<(Duration, Key)> = due
                .map(|(key, pending)| (pending.result.as_ref().map_or(now, |r| r.due), key))
                .collect();
            due.sort_unstable();
            if world.faults.reorder {
                world.random.shuffle(&mut due);
            }
            (now, due)
        };
        due.truncate(BATCH_MAX);
        for &(due, key) in &due {
            debug_assert!(due <= now, "nothing is delivered before its time");
            completions.push(self.take(key));
        }
        due.len()
    }

    /// Takes the completion of an operation that is decided.
    fn take(&mut self, key: Key) -> Completion {
        let pending = self.operations.get_mut(key).expect("it is under way");
        let Decided { result, more, .. } = pending.result.take().expect("it is decided");
        let (token, kind, handle) = (pending.token, pending.kind, pending.handle);
        let mut unsent = Chunks::new();
        if !more
            && let Some(ended) = self.operations.remove(key)
            && let Task::Send(chunks) = ended.task
        {
            unsent = chunks;
        }
        if kind == RequestKind::Close {
            self.handles.remove(handle.0);
        }
        Completion {
            token,
            operation: Operation(key),
            kind,
            result,
            more,
            unsent,
        }
    }

    /// Acknowledges the waker; returns whether it was used.
    fn heed_waker(&self) -> bool {
        let woken = self.bell.take();
        if woken {
            self.waker.acknowledge();
        }
        woken
    }

    /// The time of the next scheduled event, for this port or in the world.
    fn next_due(&self) -> Option<Duration> {
        let decided = self.operations.iter();
        let decided = decided.filter_map(|(_, pending)| Some(pending.result.as_ref()?.due));
        decided.chain(self.shared.lock().next_timer()).min()
    }

    fn adopt_socket(&mut self, socket: Box<dyn Simulated>) -> io::Result<Handle> {
        let socket: Box<dyn Any> = socket;
        let is_ours = |socket: &Box<SimSocket>| Arc::ptr_eq(&socket.shared, &self.shared);
        let Some(mut socket) = socket.downcast::<SimSocket>().ok().filter(is_ours) else {
            return Err(unsuitable("the socket belongs to another simulated world"));
        };
        let end = socket.end.take().expect("only taken here and at its end");
        Ok(self.open(Source::Stream(end)))
    }
}

/// Whether this kind of handle takes this kind of request.
fn suits(source: Source, kind: RequestKind) -> bool {
    match kind {
        RequestKind::Accept => matches!(source, Source::Listener(_)),
        RequestKind::Connect => matches!(source, Source::Bound(_) | Source::Stream(_)),
        RequestKind::Receive => {
            matches!(
                source,
                Source::Bound(_) | Source::Stream(_) | Source::Reader(_)
            )
        }
        RequestKind::Send => {
            matches!(
                source,
                Source::Bound(_) | Source::Stream(_) | Source::Writer(_)
            )
        }
        RequestKind::Exit => matches!(source, Source::Process(_)),
        RequestKind::HangUp => matches!(source, Source::Stream(_) | Source::Writer(_)),
        RequestKind::Watch => false,
        RequestKind::Close => true,
    }
}

fn unsuitable(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Driver for SimDriver {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn now(&self) -> Instant {
        self.shared.now()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        let source = self.source(handle)?;
        let kind = request.kind();
        if !suits(source, kind) {
            return Err(unsuitable(
                "this kind of handle does not take such requests",
            ));
        }
        let alone = matches!(
            kind,
            RequestKind::Connect | RequestKind::Receive | RequestKind::Send | RequestKind::HangUp
        );
        if alone && self.is_busy(handle, kind) {
            return Err(unsuitable(
                "the handle already has such an operation under way",
            ));
        }
        let task = match request {
            Request::Accept => Task::Accept,
            Request::AcceptOne => Task::AcceptOne,
            Request::Connect(peer) => Task::Connect(peer),
            Request::Receive => Task::Receive,
            Request::Send(chunks) if chunks.is_empty() => {
                return Err(unsuitable("there is nothing to send"));
            }
            Request::Send(chunks) => Task::Send(chunks),
            Request::Exit => Task::Exit,
            Request::HangUp => Task::HangUp,
        };
        Ok(self.start(handle, kind, task, token))
    }

    fn cancel(&mut self, operation: Operation) -> bool {
        let Some(pending) = self.operations.get_mut(operation.0) else {
            return false;
        };
        // A close cannot be cancelled.
        pending.cancelled |= pending.kind != RequestKind::Close;
        true
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.bell.hang_here();
        let deadline = timeout.map(|timeout| self.shared.lock().after(timeout));
        let patience_ends = Instant::now() + self.shared.patience;
        loop {
            let all: Vec<Key> = self.operations.iter().map(|(key, _)| key).collect();
            let progress = self.attempt_all(&all);
            let delivered = self.deliver(completions);
            if self.heed_waker() || delivered > 0 {
                return Ok(());
            }
            let elapsed = self.shared.lock().elapsed;
            if deadline.is_some_and(|deadline| deadline <= elapsed) {
                return Ok(());
            }
            if progress {
                continue;
            }
            match self.next_due().into_iter().chain(deadline).min() {
                Some(next) => self.shared.change(|world| world.advance_to(next)),
                None if Instant::now() < patience_ends => self.bell.await_until(patience_ends),
                None => return Err(self.deadlock()),
            }
        }
    }

    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation> {
        self.source(handle)?;
        let of_handle: Vec<Key> = self
            .operations
            .iter()
            .filter(|(_, pending)| pending.handle == handle)
            .map(|(key, _)| key)
            .collect();
        for key in of_handle {
            self.cancel(Operation(key));
        }
        let entry = self.handles.get_mut(handle.0).expect("looked up above");
        entry.closing = true;
        Ok(self.start(handle, RequestKind::Close, Task::Close(mode), token))
    }

    fn listen(&mut self, options: &ListenOptions) -> io::Result<Handle> {
        let listener = self.shared.change(|world| world.listen(options))?;
        Ok(self.open(Source::Listener(listener)))
    }

    fn open_stream(&mut self, peer: SocketAddr, local: Option<SocketAddr>) -> io::Result<Handle> {
        let address = self.shared.change(|world| world.bind(peer, local))?;
        Ok(self.open(Source::Bound(address)))
    }

    fn adopt(&mut self, resource: Resource) -> io::Result<Handle> {
        match resource {
            Resource::Socket(Socket(SocketRepr::Sim(socket))) => self.adopt_socket(socket),
            _ => Err(unsuitable(
                "the simulated port cannot adopt sockets and pipes of the OS",
            )),
        }
    }

    fn spawn(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        let started = self.shared.change(|world| world.start_child(command))?;
        let pipes = (0..).zip(started.pipes).filter_map(|(child_fd, channel)| {
            let (direction, end) = match child_fd {
                0 => (PipeDirection::ToChild, Source::Writer(channel?)),
                _ => (PipeDirection::FromChild, Source::Reader(channel?)),
            };
            Some(SpawnedPipe {
                child_fd,
                direction,
                handle: self.open(end),
            })
        });
        let pipes = pipes.collect();
        Ok(Spawned {
            process: self.open(Source::Process(started.child)),
            pid: started.pid,
            pipes,
        })
    }

    fn signal(&mut self, process: Handle, signal: Signal, target: SignalTarget) -> io::Result<()> {
        match self.source(process)? {
            Source::Process(child) => self
                .shared
                .change(|world| world.signal_child(child, signal, target)),
            _ => Err(unsuitable("only processes take signals")),
        }
    }

    fn local_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        let world = self.shared.lock();
        match self.source(handle)? {
            Source::Listener(listener) => Ok(world.listener(listener).address),
            Source::Bound(address) => Ok(address),
            Source::Stream(end) => Ok(world.addresses(end).0),
            _ => Err(unsuitable("only sockets have addresses")),
        }
    }

    fn unacknowledged(&self, handle: Handle) -> io::Result<usize> {
        match self.source(handle)? {
            Source::Stream(end) => Ok(self.shared.lock().under_way(end)),
            _ => Err(unsuitable("only connections have unacknowledged bytes")),
        }
    }

    fn peer_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        match self.source(handle)? {
            Source::Stream(end) => Ok(self.shared.lock().addresses(end).1),
            Source::Bound(_) | Source::Listener(_) => {
                Err(io::Error::from(io::ErrorKind::NotConnected))
            }
            _ => Err(unsuitable("only sockets have addresses")),
        }
    }

    fn raw_descriptor(&self, handle: Handle) -> io::Result<RawDescriptor> {
        self.source(handle)?;
        Err(unsuitable("simulated handles have no descriptor"))
    }

    fn set_option(&mut self, handle: Handle, _option: SocketOption) -> io::Result<()> {
        match self.source(handle)? {
            Source::Listener(_) | Source::Bound(_) | Source::Stream(_) => Ok(()),
            _ => Err(unsuitable("only sockets have options")),
        }
    }

    fn shutdown_write(&mut self, handle: Handle) -> io::Result<()> {
        match self.source(handle)? {
            Source::Stream(end) => self.shared.change(|world| world.shutdown_write(end)),
            Source::Bound(_) => Err(io::Error::from(io::ErrorKind::NotConnected)),
            _ => Err(unsuitable("only stream sockets can be shut down")),
        }
    }

    fn in_flight(&self) -> usize {
        self.operations.len()
    }

    fn open_handles(&self) -> usize {
        self.handles.len()
    }

    fn stale(&self) -> u64 {
        // The OS delivers nothing here: an operation lives until its last completion.
        0
    }
}

impl SimDriver {
    fn deadlock(&self) -> io::Error {
        let count = self.operations.len();
        let message = format!(
            "nothing can complete: {count} operations are under way, and no event, timeout or wake-up \
             will come (if another thread is to bring one: `Sim::builder(seed).patience(…)`)"
        );
        io::Error::new(io::ErrorKind::Deadlock, message)
    }

    /// Closes the object behind a handle.
    pub(super) fn close_source(world: &mut super::world::World, source: Source, mode: CloseMode) {
        match source {
            Source::Listener(listener) => world.close_listener(listener),
            Source::Bound(address) => world.unbind(address),
            Source::Stream(end) => world.close_end(end, mode),
            Source::Reader(channel) => world.release_channel(channel, ChannelEnd::Reader),
            Source::Writer(channel) => world.release_channel(channel, ChannelEnd::Writer),
            Source::Process(child) => world.unwatch_child(child),
            Source::Gone => {}
        }
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        self.shared.change(|world| {
            for (_, entry) in handles.iter() {
                SimDriver::close_source(world, entry.source, CloseMode::Graceful);
            }
        });
    }
}

impl fmt::Debug for SimDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDriver")
            .field("info", &self.info)
            .field("handles", &self.handles.len())
            .field("operations", &self.operations.len())
            .finish_non_exhaustive()
    }
}
