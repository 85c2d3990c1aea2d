//! The port on Windows: I/O completion ports.
//!
//! The port starts an operation at once, by a call that takes a [`Record`](record::Record).
//! Windows then owns the record until the port takes its packet off the [`Queue`]. If a call
//! completes at once and posts no packet, its record goes through a local queue instead, so that
//! `wait` delivers every completion. One operation of the port can consist of several of Windows:
//! an accept keeps several sockets waiting, and a receive is a series of waits for bytes.

#![expect(unsafe_code, reason = "Windows calls, and memory lent to Windows")]

mod accept;
mod address;
mod afd;
mod call;
mod child;
mod connect;
mod control_messages;
mod datagram_socket;
mod directory;
mod entry;
mod extension;
mod file;
mod hang_up;
mod message;
mod multicast;
mod named_pipe;
mod pending;
mod pipe;
mod queue;
mod receive;
mod receive_datagrams;
mod receive_memory;
mod record;
mod send;
mod send_datagrams;
mod send_file;
#[cfg(test)]
mod tests;
mod traffic;
mod tree;
mod turn;
mod unix_socket;
mod wait;
mod watch;
mod watch_socket;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Domain;

use self::datagram_socket::DatagramSocket;
use self::entry::{Entry, Listener, Source};
use self::extension::{Functions, has_plain_handle};
use self::named_pipe::{NamedPipe, PipeListener, Unopened, Vacancies};
use self::pending::Pending;
use self::queue::{Batch, Queue, QueueNotify};
use self::receive_memory::ReceiveMemory;
use self::record::{OsResult, Record, Records};
use self::wait::Wait;
use self::watch::Watches;
use super::admission::closed;
use super::calls::{Answer, Control, Offer, Open, Query, Watched, unsupported};
use super::control;
use super::driver::Status;
use super::listening::Listening;
use super::serial::{self, SerialQueue};
use super::socket::{PortSocket, SocketRepr, of_another_port};
use super::table::{Key, Table};
use super::{
    BATCH_MAX, Chunks, CloseMode, Completion, Driver, Failure, Handle, Interest, ListenOptions,
    Operation, Outcome, PortInfo, PortKind, PortOptions, Request, RequestKind, Resource, Spawned,
    Token, Waker,
};
use crate::os::Address;
use crate::process::{Spawn, SpawnError};

/// The number of sockets that each listener keeps waiting for connections; large enough for the
/// usual burst between two turns. Further connections wait in the backlog, and keep the server busy
/// under Wine.
const ACCEPTS_PER_LISTENER: usize = 32;
/// The longest time that dropping a port waits for Windows to return its records.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Opens the port, or explains why it cannot.
pub(super) fn open(options: &PortOptions, reason: String) -> io::Result<Box<dyn Driver>> {
    Ok(Box::new(Iocp::open(options, reason)?))
}

struct Iocp {
    info: PortInfo,
    queue: Arc<Queue>,
    waker: Waker,
    functions: Functions,
    receive_memory: ReceiveMemory,
    /// Declared before the handles, to be dropped first: waits refer to processes.
    operations: Table<Pending>,
    handles: Table<Entry>,
    /// Declared after the operations, whose waits refer to the watched objects.
    watches: Watches,
    vacancies: Vacancies,
    records: Records,
    batch: Batch,
    /// Records that completed without a packet, for the next turn to process.
    ready: VecDeque<(Box<Record>, OsResult)>,
    /// Receives that have delivered bytes, and continue once all other work at hand is done.
    resting_receives: VecDeque<Box<Record>>,
    /// Completions for the next wait to deliver.
    done: VecDeque<Completion>,
    /// The number of operations whose last completion has not been delivered.
    in_flight: usize,
    stale: u64,
}

impl Iocp {
    fn open(options: &PortOptions, reason: String) -> io::Result<Iocp> {
        let queue = Queue::create()?;
        let functions = Functions::load()?;
        let mut features = vec!["batched dequeue".to_owned()];
        if functions.sockets.plain_handles {
            features.push("skip on success".to_owned());
        }
        features.push(match functions.packets {
            Some(_) => "wait completion packets".to_owned(),
            None => "registered waits".to_owned(),
        });
        Ok(Iocp {
            info: PortInfo {
                kind: PortKind::Iocp,
                reason,
                features,
            },
            waker: Waker::new(Box::new(QueueNotify(Arc::clone(&queue)))),
            queue,
            functions,
            receive_memory: ReceiveMemory::new(options),
            handles: Table::default(),
            operations: Table::default(),
            watches: Watches::default(),
            vacancies: Vacancies::default(),
            records: Records::default(),
            batch: Batch::new(),
            ready: VecDeque::new(),
            resting_receives: VecDeque::new(),
            done: VecDeque::new(),
            in_flight: 0,
            stale: 0,
        })
    }

    fn entry(&self, handle: Handle) -> io::Result<&Entry> {
        let entry = self.handles.get(handle.0).ok_or_else(closed)?;
        match entry.closing {
            Some(_) => Err(closed()),
            None => Ok(entry),
        }
    }

    /// Registers `source` with the port. With `plain`, it is a Windows handle that no provider is
    /// layered over.
    fn insert(&mut self, source: Source, plain: bool) -> io::Result<Handle> {
        let key = self.handles.insert(Entry::new(source));
        let entry = self.handles.get_mut(key).expect("inserted just now");
        if let Err(error) = entry.join(&self.queue, key, plain) {
            self.handles.remove(key);
            return Err(error);
        }
        Ok(Handle(key))
    }

    /// Cancels every operation on a handle.
    fn cancel_all(&mut self, handle: Key) {
        let mut index = 0;
        // Operations that end at once leave the list meanwhile, so walk it by index.
        while let Some(&operation) = self
            .handles
            .get(handle)
            .and_then(|entry| entry.operations.get(index))
        {
            self.cancel_operation(operation);
            let kept = self.operations.get(operation).is_some();
            index += usize::from(kept);
        }
    }

    fn cancel_operation(&mut self, operation: Key) -> bool {
        let Some(pending) = self.operations.get_mut(operation) else {
            return false;
        };
        if pending.ending.is_some() {
            return true;
        }
        if pending.kind == RequestKind::HangUp {
            self.cancel_hang_up(operation);
            return true;
        }
        pending.ending = Some(Failure::Cancelled);
        // A wait that is to tell of records goes on.
        let unsignalled = pending.records == 0 && pending.wait.as_mut().is_some_and(Wait::cancel);
        if unsignalled {
            self.end(operation, Err(Failure::Cancelled));
        } else if let Some(entry) = self.handles.get(pending.handle) {
            match entry.source {
                Source::Unopened(_) => self.give_pipe_up(operation),
                _ => entry.cancel(operation),
            }
        }
        true
    }

    /// Closes a handle that is being closed and has no operation under way.
    fn close_if_idle(&mut self, handle: Key) {
        let Some(entry) = self.handles.get(handle) else {
            return;
        };
        let Some((operation, token)) = entry.closing else {
            return;
        };
        if !entry.operations.is_empty() {
            return;
        }
        // Every record has returned, so Windows no longer writes to any: the handle may be closed.
        self.handles.remove(handle);
        self.operations.remove(operation);
        self.done.push_back(Completion {
            token,
            operation: Operation(operation),
            kind: RequestKind::Close,
            result: Ok(Outcome::Closed),
            more: false,
            unsent: Chunks::new(),
        });
    }

    /// Delivers up to a batch of completions.
    fn deliver(&mut self, completions: &mut Vec<Completion>) {
        let count = self.done.len().min(BATCH_MAX);
        for completion in self.done.drain(..count) {
            self.in_flight -= usize::from(!completion.more);
            completions.push(completion);
        }
    }

    fn open_listener(&mut self, options: &ListenOptions) -> io::Result<Handle> {
        let source = match options.address()? {
            Address::Pipe(_) if options.for_programs => {
                return Err(unsupported(
                    PortKind::Iocp,
                    "accept for other programs on",
                    &options.endpoint,
                ));
            }
            Address::Pipe(name) => {
                Source::PipeListener(Box::new(PipeListener::open(name, &options.pipe)?))
            }
            address => {
                self.check_unix("listen on", address)?;
                let listening = Listening::open(PortKind::Iocp, options)?;
                Source::Listener(Box::new(Listener::new(listening, options.for_programs)?))
            }
        };
        self.insert(source, false)
    }

    /// Registers a connection that a port of this kind has accepted.
    fn insert_connection(&mut self, connection: Box<dyn PortSocket>) -> io::Result<Handle> {
        let connection: Box<dyn Any> = connection;
        let named = connection.downcast::<NamedPipe>();
        let named = named.map_err(|_| of_another_port())?;
        let plain = named.may_skip_packets();
        self.insert(Source::NamedPipe(named), plain)
    }

    /// Registers a socket or pipe that was made elsewhere.
    fn insert_resource(&mut self, resource: Resource) -> io::Result<Handle> {
        let source = match resource {
            Resource::Socket(socket) => match socket.0 {
                SocketRepr::Os(socket) => {
                    socket.set_nonblocking(true)?;
                    let plain = has_plain_handle(&socket);
                    return self.insert(Source::Stream(socket), plain);
                }
                SocketRepr::Plain(socket) => return self.insert(Source::Stream(socket), true),
                SocketRepr::Own(connection) => return self.insert_connection(connection),
            },
            Resource::Listener(listener) => {
                listener.socket.set_nonblocking(true)?;
                let for_programs = listener.for_programs;
                if listener.socket.local_addr()?.domain() == Domain::UNIX {
                    self.load_unix()?;
                }
                Source::Listener(Box::new(Listener::new(listener.into(), for_programs)?))
            }
            Resource::Datagrams(socket) => {
                let socket =
                    DatagramSocket::adopt(socket.0, &mut self.functions.sockets.datagrams)?;
                Source::Datagrams(Box::new(socket))
            }
            Resource::PipeReader(pipe) => Source::PipeReader(pipe),
            Resource::PipeWriter(pipe) => Source::PipeWriter(pipe),
            Resource::File(file) => return self.insert(Source::File(file), true),
        };
        self.insert(source, false)
    }
}

impl Driver for Iocp {
    fn status(&self) -> Status<'_> {
        Status {
            info: &self.info,
            waker: &self.waker,
            in_flight: self.in_flight,
            open_handles: self.handles.len(),
            stale: self.stale,
            sends_gathered_now: false,
            sends_pressing: false,
            file_calls: self.functions.sockets.file_calls,
        }
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        let entry = self.handles.get_mut(handle.0).ok_or_else(closed)?;
        entry.check(&request, self.functions.sockets.file_calls)?;
        match &request {
            Request::SendFile(part) => {
                self.query(part.file, Query::File)?;
            }
            Request::Connect(peer) => self.check_unix("connect to", peer)?,
            _ => {}
        }
        let entry = self.handles.get_mut(handle.0).expect("checked above");
        let kind = request.kind();
        let operation = self.operations.insert(Pending::new(handle.0, token, kind));
        entry.under_way.insert(kind);
        entry.operations.push(operation);
        self.in_flight += 1;
        self.start(operation, request);
        Ok(Operation(operation))
    }

    fn send_now(&mut self, handle: Handle, offer: Offer<'_>) -> Result<usize, Failure> {
        match offer {
            // A send of bytes is a call with a record anyway.
            Offer::Bytes(_bytes) => Ok(0),
            Offer::PressingBytes(_pieces) => Ok(0),
            Offer::Datagrams(batch) => Ok(self.send_datagrams_now(handle.0, batch)),
        }
    }

    fn cancel(&mut self, operation: Operation) -> bool {
        match self.operations.get(operation.0) {
            Some(pending) if pending.kind == RequestKind::Watch => {
                let key = operation.0;
                if !self.cancel_socket_watch(key) && !self.cancel_directory_watch(key) {
                    self.cancel_watch(operation.0);
                }
                true
            }
            Some(pending) if pending.kind != RequestKind::Close => {
                self.cancel_operation(operation.0)
            }
            // A close cannot be cancelled.
            Some(_) => true,
            None => false,
        }
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        self.resume_watches();
        self.resume_socket_watches();
        loop {
            let woken = self.turn(left)?;
            let delivers = !self.done.is_empty();
            self.deliver(completions);
            // Windows may return slightly early and cannot wait for more than some weeks at once,
            // and the packets of a multishot operation may yield no completion: wait for the rest
            // of the time.
            left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let expired = timeout == Some(Duration::ZERO) || left == Some(Duration::ZERO);
            if woken || delivers || expired {
                return Ok(());
            }
        }
    }

    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation> {
        let entry = self.handles.get_mut(handle.0).ok_or_else(closed)?;
        if entry.closing.is_some() {
            return Err(closed());
        }
        let dropped = match &entry.source {
            Source::Stream(socket) if mode == CloseMode::Reset => control::reset_on_close(socket),
            Source::Serial(port) if mode == CloseMode::Reset => {
                serial::discard(port, SerialQueue::Output)
            }
            _ => Ok(()),
        };
        if let Err(error) = dropped {
            // The connection has ended or not begun: there is nothing to reset.
            log::debug!("port: a connection could not be reset: {error}");
        }
        if mode == CloseMode::Reset
            && let Source::NamedPipe(named) = &entry.source
        {
            named.reset();
        }
        let pending = Pending::new(handle.0, token, RequestKind::Close);
        let operation = self.operations.insert(pending);
        entry.closing = Some((operation, token));
        self.in_flight += 1;
        self.cancel_all(handle.0);
        self.close_if_idle(handle.0);
        Ok(Operation(operation))
    }

    fn open(&mut self, open: Open<'_>) -> io::Result<Handle> {
        match open {
            Open::Listener(options) => self.open_listener(options),
            Open::Stream {
                peer,
                local,
                packets,
            } => {
                self.check_unix("connect to", peer)?;
                if let Some(local) = local {
                    self.check_unix("connect from", local)?;
                }
                let socket = control::stream(PortKind::Iocp, peer, local, packets)?;
                let plain = match peer {
                    Address::Unix(_) => has_plain_handle(&socket),
                    _ => self.functions.sockets.plain_handles,
                };
                self.insert(Source::Stream(socket), plain)
            }
            Open::Datagrams(options) => {
                let socket = DatagramSocket::open(options, &mut self.functions.sockets.datagrams)?;
                self.insert(Source::Datagrams(Box::new(socket)), false)
            }
            Open::Serial(options) => self.insert(Source::Serial(serial::open(options)?), false),
            Open::UnopenedFile => Err(unsupported(self.info.kind, "open", "files")),
            Open::Pipe(options) => {
                let unopened = Box::new(Unopened::new(options));
                self.insert(Source::Unopened(unopened), false)
            }
            Open::Adopted(resource) => self.insert_resource(resource),
        }
    }

    fn watch(&mut self, watched: Watched<'_>, token: Token) -> io::Result<Operation> {
        match watched {
            Watched::Directory(options) => self.begin_directory_watch(options, token),
            Watched::Handle(handle) => self.begin_watch(handle, token),
            Watched::Descriptor(socket, interest) => {
                self.begin_socket_watch(socket, interest, token)
            }
        }
    }

    fn set_interest(&mut self, watch: Operation, interest: Interest) -> io::Result<()> {
        self.set_socket_interest(watch.0, interest)
    }

    fn spawn(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        self.spawn_child(spawn)
    }

    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()> {
        let entry = self.entry(handle)?;
        match (control, &entry.terminal, &entry.source) {
            (Control::Resize(size), Some(terminal), _) => terminal.resize(size),
            (control, _, Source::Datagrams(socket)) => socket.control(control),
            (control, _, source) => source.control(control),
        }
    }

    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.entry(handle)?.source.query(query)
    }
}

impl fmt::Debug for Iocp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iocp")
            .field("info", &self.info)
            .field("handles", &self.handles.len())
            .field("in_flight", &self.in_flight)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

impl Drop for Iocp {
    /// Takes every record back from Windows; leaks those that do not return in time.
    fn drop(&mut self) {
        let handles: Vec<Key> = self.handles.iter().map(|(key, _)| key).collect();
        for handle in handles {
            self.cancel_all(handle);
        }
        self.cancel_socket_watches();
        self.cancel_directory_watches();
        let deadline = Instant::now() + DRAIN_LIMIT;
        loop {
            let lent = self.handles.iter();
            let lent: usize = lent.map(|(_, entry)| entry.lent()).sum();
            let lent = lent + self.watches.lent() + self.vacancies.lent();
            let left = deadline.saturating_duration_since(Instant::now());
            if lent == 0 {
                return;
            }
            if left.is_zero() {
                log::error!(
                    "port: Windows did not return {lent} operations; their memory is leaked"
                );
                return;
            }
            if let Err(error) = self.turn(Some(left)) {
                log::error!(
                    "port: {lent} operations cannot be awaited: {error}; their memory is lost"
                );
                return;
            }
            // Nobody is left to receive them.
            self.done.clear();
        }
    }
}
