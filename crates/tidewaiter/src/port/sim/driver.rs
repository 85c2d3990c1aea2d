//! A port of the simulated world.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SimSocket;
use super::entry::{Entry, Source};
use super::pending::{Pending, Work};
use super::shared_world::SharedWorld;
use super::thread_notify::ThreadNotify;
use crate::port::admission::{RequestKinds, admit, closed, invalid, not_a_socket};
use crate::port::buffer::Pool;
use crate::port::socket::{Simulated, SocketRepr};
use crate::port::table::{Key, Table};
use crate::port::{
    CloseMode, Completion, Driver, Handle, ListenOptions, Operation, PortInfo, RawDescriptor,
    Request, RequestKind, Resource, Socket, SocketOption, Spawned, Token, Waker,
};
use crate::process::{Command, Signal, SignalTarget, SpawnError};

pub(super) struct SimDriver {
    pub(super) shared: Arc<SharedWorld>,
    info: PortInfo,
    pub(super) pool: Rc<Pool>,
    pub(super) handles: Table<Entry>,
    pub(super) operations: Table<Pending>,
    pub(super) notify: Arc<ThreadNotify>,
    pub(super) waker: Waker,
}

impl SimDriver {
    pub(super) fn new(shared: Arc<SharedWorld>, info: PortInfo, pool: Rc<Pool>) -> SimDriver {
        let notify = Arc::new(ThreadNotify::of_this_thread());
        let waker = Waker::new(Box::new(Arc::clone(&notify)));
        shared.add_port(&notify);
        SimDriver {
            shared,
            info,
            pool,
            handles: Table::default(),
            operations: Table::default(),
            notify,
            waker,
        }
    }

    /// The object behind a handle that is open and not being closed.
    pub(super) fn source(&self, handle: Handle) -> io::Result<Source> {
        match self.handles.get(handle.0) {
            Some(entry) if !entry.closing => Ok(entry.source),
            _ => Err(closed()),
        }
    }

    pub(super) fn open(&mut self, source: Source) -> Handle {
        let entry = Entry {
            source,
            closing: false,
        };
        Handle(self.handles.insert(entry))
    }

    fn start(&mut self, handle: Handle, kind: RequestKind, work: Work, token: Token) -> Operation {
        let key = self.operations.insert(Pending {
            handle,
            token,
            kind,
            work,
            cancelled: false,
            completion: None,
        });
        self.attempt_all(&[key]);
        Operation(key)
    }

    /// The kinds of operations under way on a handle.
    fn under_way(&self, handle: Handle) -> RequestKinds {
        let mut kinds = RequestKinds::default();
        let operations = self.operations.iter().map(|(_, pending)| pending);
        for pending in operations.filter(|pending| pending.handle == handle) {
            kinds.insert(pending.kind);
        }
        kinds
    }

    fn adopt_socket(&mut self, socket: Box<dyn Simulated>) -> io::Result<Handle> {
        let socket: Box<dyn Any> = socket;
        let other_world = || invalid("the socket belongs to another simulated world");
        let mut socket = socket.downcast::<SimSocket>().map_err(|_| other_world())?;
        if !Arc::ptr_eq(&socket.shared, &self.shared) {
            return Err(other_world());
        }
        let end = socket.end.take().expect("only taken here and at its end");
        Ok(self.open(Source::Stream(end)))
    }
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
        admit(source.kind()?, self.under_way(handle), &request)?;
        let kind = request.kind();
        let work = match request {
            Request::Accept => Work::Accept,
            Request::AcceptOne => Work::AcceptOne,
            Request::Connect(peer) => Work::Connect(peer),
            Request::Receive => Work::Receive,
            Request::Send(chunks) => Work::Send(chunks),
            Request::Exit => Work::Exit,
            Request::HangUp => Work::HangUp,
        };
        Ok(self.start(handle, kind, work, token))
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
        self.notify.attach_to_this_thread();
        let deadline = timeout.map(|timeout| self.shared.lock().after(timeout));
        let patience_ends = Instant::now() + self.shared.patience;
        loop {
            let all: Vec<Key> = self.operations.iter().map(|(key, _)| key).collect();
            let progress = self.attempt_all(&all);
            let delivered = self.deliver(completions);
            if self.take_wake_up() || delivered > 0 {
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
                None if Instant::now() < patience_ends => self.notify.park_until(patience_ends),
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
        Ok(self.start(handle, RequestKind::Close, Work::Close(mode), token))
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
            _ => Err(invalid(
                "the simulated port cannot adopt sockets and pipes of the OS",
            )),
        }
    }

    fn spawn(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        self.spawn_child(command)
    }

    fn signal(&mut self, process: Handle, signal: Signal, target: SignalTarget) -> io::Result<()> {
        self.signal_child(process, signal, target)
    }

    fn local_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        let world = self.shared.lock();
        match self.source(handle)? {
            Source::Listener(listener) => Ok(world.listener(listener).address),
            Source::Bound(address) => Ok(address),
            Source::Stream(end) => Ok(world.addresses(end).0),
            _ => Err(not_a_socket()),
        }
    }

    fn unacknowledged(&self, handle: Handle) -> io::Result<usize> {
        match self.source(handle)? {
            Source::Stream(end) => Ok(self.shared.lock().unacknowledged(end)),
            _ => Err(invalid("only connections have unacknowledged bytes")),
        }
    }

    fn peer_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        match self.source(handle)? {
            Source::Stream(end) => Ok(self.shared.lock().addresses(end).1),
            Source::Bound(_) | Source::Listener(_) => {
                Err(io::Error::from(io::ErrorKind::NotConnected))
            }
            _ => Err(not_a_socket()),
        }
    }

    fn raw_descriptor(&self, handle: Handle) -> io::Result<RawDescriptor> {
        self.source(handle)?;
        Err(invalid("simulated handles have no descriptor"))
    }

    fn set_option(&mut self, handle: Handle, _option: SocketOption) -> io::Result<()> {
        match self.source(handle)? {
            Source::Listener(_) | Source::Bound(_) | Source::Stream(_) => Ok(()),
            _ => Err(not_a_socket()),
        }
    }

    fn shutdown_write(&mut self, handle: Handle) -> io::Result<()> {
        match self.source(handle)? {
            Source::Stream(end) => self.shared.change(|world| world.shutdown_write(end)),
            Source::Bound(_) => Err(io::Error::from(io::ErrorKind::NotConnected)),
            _ => Err(invalid("only stream sockets can be shut down")),
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

impl Drop for SimDriver {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        self.shared.change(|world| {
            for (_, entry) in handles.iter() {
                entry.source.close(world, CloseMode::Graceful);
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
