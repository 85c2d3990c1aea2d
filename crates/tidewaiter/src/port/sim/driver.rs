//! A port of the simulated world.

use std::any::Any;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SimSocket;
use super::entry::{Entry, Source};
use super::faults::Call;
use super::pending::{Pending, Work};
use super::send_datagrams;
use super::shared_world::SharedWorld;
use super::socket::SimEnd;
use super::thread_notify::ThreadNotify;
use super::world::World;
use super::world::channel::ChannelEnd;
use crate::os::Address;
use crate::port::admission::{
    HandleKind, RequestKinds, admit, check_streams_to, closed, invalid, no_file_calls,
};
use crate::port::buffer::Pool;
use crate::port::calls::{Answer, Control, Offer, Open, Query, unsupported};
use crate::port::datagram::SpareBatches;
use crate::port::driver::Status;
use crate::port::file::{FileCall, FileCalls};
use crate::port::socket::{PortSocket, SocketRepr};
use crate::port::table::{Key, Table};
use crate::port::{
    CloseMode, Completion, Driver, Failure, Handle, ListenOptions, Operation, PortInfo, PortKind,
    Request, RequestKind, Resource, Socket, Spawned, Token, Waker,
};
use crate::process::{Spawn, SpawnError};

/// The calls on files that this port performs by itself. Files are sent by reading and writing.
const FILE_CALLS: FileCalls = FileCalls::of(&[
    FileCall::Open,
    FileCall::Read,
    FileCall::Write,
    FileCall::Sync,
    FileCall::Metadata,
    FileCall::SetLen,
]);

pub(super) struct SimDriver {
    pub(super) shared: Arc<SharedWorld>,
    info: PortInfo,
    pub(super) pool: Rc<Pool>,
    pub(super) spare_datagrams: Rc<SpareBatches>,
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
            spare_datagrams: Rc::default(),
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

    pub(super) fn keep(&mut self, source: Source) -> Handle {
        let entry = Entry {
            source,
            closing: false,
            under_way: RequestKinds::default(),
        };
        Handle(self.handles.insert(entry))
    }

    fn start(&mut self, handle: Handle, kind: RequestKind, work: Work, token: Token) -> Operation {
        let entry = self.handles.get_mut(handle.0);
        let entry = entry.expect("looked up by the caller");
        entry.under_way.insert(kind);
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
        let entry = self.handles.get(handle.0);
        entry.map_or_else(RequestKinds::default, |entry| entry.under_way)
    }

    fn adopt_socket(&self, socket: Box<dyn PortSocket>) -> io::Result<SimEnd> {
        let socket: Box<dyn Any> = socket;
        let other_world = || invalid("the socket belongs to another simulated world");
        let mut socket = socket.downcast::<SimSocket>().map_err(|_| other_world())?;
        if !Arc::ptr_eq(&socket.shared, &self.shared) {
            return Err(other_world());
        }
        Ok(socket.end.take().expect("only taken here and at its end"))
    }
}

impl Driver for SimDriver {
    fn status(&self) -> Status<'_> {
        Status {
            info: &self.info,
            waker: &self.waker,
            in_flight: self.operations.len(),
            open_handles: self.handles.len(),
            // The OS delivers nothing here: an operation lives until its last completion.
            stale: 0,
            sends_gathered_now: false,
            sends_pressing: false,
            file_calls: FILE_CALLS,
        }
    }

    fn now(&self) -> Instant {
        self.shared.now()
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        let source = self.source(handle)?;
        let under_way = self.under_way(handle);
        let kind = match under_way.contains(RequestKind::OpenFile) {
            // Only the completion tells that it is open.
            true => HandleKind::UnopenedFile,
            false => source.kind(&self.shared.lock())?,
        };
        admit(PortKind::Sim, kind, under_way, &request)?;
        let kind = request.kind();
        let work = match request {
            Request::Accept => Work::Accept,
            Request::AcceptOne => Work::AcceptOne,
            Request::Connect(peer) => Work::Connect(*peer),
            Request::Receive => Work::Receive {
                with_descriptors: false,
            },
            Request::ReceiveWithDescriptors => Work::Receive {
                with_descriptors: true,
            },
            Request::Send(chunks) => Work::Send(chunks),
            Request::ReceiveDatagrams => Work::ReceiveDatagrams,
            Request::SendDatagrams(batch) => Work::SendDatagrams(batch),
            Request::Exit => Work::Exit,
            Request::HangUp => Work::HangUp,
            Request::OpenFile(file) => Work::OpenFile(file),
            Request::File(request) => Work::File(request),
            Request::SendFile(_) => return Err(no_file_calls(PortKind::Sim, &request)),
        };
        Ok(self.start(handle, kind, work, token))
    }

    fn send_now(&mut self, handle: Handle, offer: Offer<'_>) -> Result<usize, Failure> {
        let sending = self.under_way(handle).contains(RequestKind::SendDatagrams);
        match (offer, self.source(handle)) {
            (Offer::Datagrams(batch), Ok(Source::Datagrams(socket))) if !sending => {
                let send = |world: &mut World| send_datagrams::send_now(world, batch, socket);
                Ok(self.shared.change(send))
            }
            _ => Ok(0),
        }
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

    fn open(&mut self, open: Open<'_>) -> io::Result<Handle> {
        let source = match open {
            Open::Listener(options) if options.for_programs => {
                return Err(unsupported(PortKind::Sim, "accept for", "other programs"));
            }
            Open::Listener(options) => self.open_listener(options)?,
            Open::Pipe(options) => {
                let failure = (self.shared.lock().requested_failures).take(Call::OpenStream);
                failure.map_or(Ok(()), Err)?;
                Source::Unopened(options)
            }
            Open::Stream {
                peer,
                local,
                packets,
            } => {
                check_streams_to(PortKind::Sim, "connect to", peer)?;
                if let Some(local) = local {
                    check_streams_to(PortKind::Sim, "connect from", local)?;
                }
                let opened = |world: &mut World| world.open_stream(peer, local, packets);
                Source::Unconnected(self.shared.change(opened)?)
            }
            Open::Datagrams(options) => {
                let socket = self.shared.change(|world| world.open_datagrams(options));
                Source::Datagrams(socket?)
            }
            Open::Serial(_) => return Err(unsupported(PortKind::Sim, "open", "serial ports")),
            Open::UnopenedFile => Source::UnopenedFile,
            Open::Adopted(Resource::Socket(Socket(SocketRepr::Own(socket)))) => {
                self.adopt_socket(socket)?.source()
            }
            Open::Adopted(_) => {
                return Err(invalid(
                    "the simulated port cannot adopt sockets, pipes and files of the OS",
                ));
            }
        };
        Ok(self.keep(source))
    }

    fn spawn(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        match spawn {
            Spawn::Command(command) => self.spawn_child(command),
            Spawn::Started(started) => {
                let message = "the simulated port cannot take children of the OS";
                Err(started.failed(io::Error::new(io::ErrorKind::Unsupported, message)))
            }
        }
    }

    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()> {
        let source = self.source(handle)?;
        if let (Source::Duplex(reads, writes), Control::ShutdownWrite) = (source, &control) {
            let entry = self.handles.get_mut(handle.0);
            entry.expect("looked up above").source = Source::Duplex(reads, None);
            if let Some(writes) = writes {
                self.shared
                    .change(|world| world.release_channel(writes, ChannelEnd::Writer));
            }
            return Ok(());
        }
        self.shared.change(|world| source.control(world, control))
    }

    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.source(handle)?.query(&self.shared.lock(), query)
    }
}

impl SimDriver {
    fn open_listener(&self, options: &ListenOptions) -> io::Result<Source> {
        let address = options.address()?;
        if let Address::Pipe(name) = address {
            let listen = |world: &mut World| world.listen_on_pipe(name, &options.pipe);
            return Ok(Source::PipeListener(self.shared.change(listen)?));
        }
        check_streams_to(PortKind::Sim, "listen on", address)?;
        let listen = |world: &mut World| world.listen(options);
        Ok(Source::Listener(self.shared.change(listen)?))
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
