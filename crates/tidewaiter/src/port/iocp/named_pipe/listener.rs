//! A server of a named pipe: its instances.

use std::collections::VecDeque;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_CONNECTED,
    ERROR_SEM_TIMEOUT, ERROR_SUCCESS, GetLastError, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX,
};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_ACCEPT_REMOTE_CLIENTS, PIPE_READMODE_MESSAGE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_MESSAGE, PIPE_UNLIMITED_INSTANCES, WaitNamedPipeW,
};
use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent};

use super::access::Access;
use super::{End, NamedPipe};
use crate::os::{Address, PipeName};
use crate::port::admission::invalid;
use crate::port::iocp::pipe::{disconnect, peek};
use crate::port::iocp::record::{LentRecord, OsResult, Record, Records, Started};
use crate::port::table::Key;
use crate::port::{PipeListenOptions, PipeMode};

/// The number of instances that wait for clients. Further clients wait for the next ones.
const WAITING: usize = 8;
/// The most rounds of clients that a listener takes in one turn, so that a flood of them holds nothing else up.
const ROUNDS_MAX: usize = 4;

/// The state that a listener shares with its connections.
#[derive(Debug)]
pub(super) struct Shared {
    /// Set once a client has connected to one of the waiting instances, or a connection is gone for whose end the listener
    /// waits.
    event: OwnedHandle,
    /// The number of accepted connections.
    accepted: AtomicUsize,
    /// Whether the listener waits for the end of one of them.
    is_full: AtomicBool,
}

impl Shared {
    fn new() -> io::Result<Shared> {
        // SAFETY: the null pointers ask for default attributes, under which children do not inherit the event, and for no
        // name.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared {
            // SAFETY: the call created this handle just now, and nothing else owns it.
            event: unsafe { OwnedHandle::from_raw_handle(event) },
            accepted: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
        })
    }

    /// Takes note of the end of an accepted connection.
    pub(super) fn connection_is_gone(&self) {
        self.accepted.fetch_sub(1, Ordering::SeqCst);
        if self.is_full.swap(false, Ordering::SeqCst) {
            self.set_event();
        }
    }

    /// Whether one more connection may be accepted. Otherwise the event is set once one of the others is gone.
    fn has_room(&self, connections_max: usize) -> bool {
        let has_room = || self.accepted.load(Ordering::SeqCst) < connections_max;
        if has_room() {
            return true;
        }
        self.is_full.store(true, Ordering::SeqCst);
        // One may have gone before it could tell.
        has_room()
    }

    fn set_event(&self) {
        // SAFETY: the handle is open.
        unsafe { SetEvent(self.event.as_raw_handle()) };
    }

    fn reset_event(&self) {
        // SAFETY: the handle is open.
        unsafe { ResetEvent(self.event.as_raw_handle()) };
    }
}

/// An accepted connection, as its listener counts it.
#[derive(Debug)]
pub(super) struct Accepted(Arc<Shared>);

impl Accepted {
    fn new(shared: &Arc<Shared>) -> Accepted {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        Accepted(Arc::clone(shared))
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.connection_is_gone();
    }
}

/// A server of a named pipe.
#[derive(Debug)]
pub(in super::super) struct PipeListener {
    name: PipeName,
    /// The same, as Windows takes it.
    wide: Vec<u16>,
    options: PipeListenOptions,
    access: Access,
    shared: Arc<Shared>,
    /// Instances for which Windows tells of a client.
    listening: Vec<Listening>,
    /// Instances for which it does not. A client may nevertheless have connected to one.
    spare: Vec<NamedPipe>,
    /// Instances to which a client has connected.
    connected: VecDeque<NamedPipe>,
    /// Why Windows tells of no client.
    failure: Option<io::Error>,
}

#[derive(Debug)]
struct Listening {
    instance: NamedPipe,
    lent: LentRecord,
}

impl PipeListener {
    /// Makes the first instance.
    ///
    /// # Errors
    ///
    /// `AddrInUse`: the pipe has a server. Others: the system's.
    pub(in super::super) fn open(
        name: &PipeName,
        options: &PipeListenOptions,
    ) -> io::Result<PipeListener> {
        if name.local_name().is_none() {
            return Err(invalid("a pipe's server must be on this machine"));
        }
        if matches!(options.connections_max, Some(0 | 254..)) {
            return Err(invalid("a pipe has from 1 to 253 connections"));
        }
        let mut listener = PipeListener {
            name: name.clone(),
            wide: name.as_str().encode_utf16().chain([0]).collect(),
            options: options.clone(),
            access: Access::parse(options.access.as_deref())?,
            shared: Arc::new(Shared::new()?),
            listening: Vec::new(),
            spare: Vec::new(),
            connected: VecDeque::new(),
            failure: None,
        };
        // Not every system heeds the flag that makes the first instance fail if there is another one (Wine 8).
        if listener.exists() {
            return Err(in_use());
        }
        let first = listener.create(true).map_err(|error| {
            let denied = error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed());
            match denied && listener.exists() {
                true => in_use(),
                false => error,
            }
        })?;
        listener.spare.push(first);
        Ok(listener)
    }

    /// Whether the pipe has an instance, of whomever.
    fn exists(&self) -> bool {
        // The shortest time to wait for an instance; not at all if there is none.
        const MILLISECONDS: u32 = 1;
        // SAFETY: the name is zero-terminated.
        let available = unsafe { WaitNamedPipeW(self.wide.as_ptr(), MILLISECONDS) };
        // SAFETY: the call reads this thread's last error.
        available != 0 || unsafe { GetLastError() } == ERROR_SEM_TIMEOUT
    }

    fn create(&self, first: bool) -> io::Result<NamedPipe> {
        let only_first = match first {
            true => FILE_FLAG_FIRST_PIPE_INSTANCE,
            false => 0,
        };
        let kind = match self.options.mode {
            PipeMode::Bytes => 0,
            PipeMode::Messages { .. } => PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
        };
        let remote = match self.options.accepts_remote_clients {
            true => PIPE_ACCEPT_REMOTE_CLIENTS,
            false => PIPE_REJECT_REMOTE_CLIENTS,
        };
        // One more than connections: some instance is always there, so that the name is, too.
        let count = self.options.connections_max.map(|count| count + 1);
        let attributes = self.access.attributes();
        // SAFETY: the name is zero-terminated, and the attributes outlive the call.
        let pipe = unsafe {
            CreateNamedPipeW(
                self.wide.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | only_first,
                kind | remote,
                count.map_or(PIPE_UNLIMITED_INSTANCES, u32::from),
                self.options.buffer_bytes,
                self.options.buffer_bytes,
                0,
                &raw const attributes,
            )
        };
        if pipe == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call created this handle just now, and nothing else owns it.
        let pipe = unsafe { OwnedHandle::from_raw_handle(pipe) };
        let (name, mode) = (self.name.clone(), self.options.mode);
        Ok(NamedPipe::new(
            pipe,
            name,
            End::Server { _accepted: None },
            mode,
        ))
    }

    pub(in super::super) fn address(&self) -> Address {
        self.name.clone().into()
    }

    pub(super) fn event(&self) -> BorrowedHandle<'_> {
        self.shared.event.as_handle()
    }

    /// The number of records that Windows holds.
    pub(in super::super) fn lent(&self) -> usize {
        self.listening.len()
    }

    /// Asks Windows to give its records back. The event is set then.
    pub(in super::super) fn cancel(&self) {
        for Listening { instance, lent } in &self.listening {
            lent.cancel(instance.pipe.as_raw_handle());
        }
    }

    /// Takes all records back that Windows is done with.
    pub(super) fn take_back(&mut self, records: &mut Records) {
        let ended = |listening: &Listening| listening.lent.is_finished();
        while let Some(index) = self.listening.iter().position(ended) {
            let Listening { instance, lent } = self.listening.swap_remove(index);
            // SAFETY: Windows has written its result, and posts no packet, because the instance is on no port.
            let (record, result) = unsafe { lent.finished() };
            records.put(record);
            self.arrived(instance, result);
        }
    }

    /// Takes note of clients, and makes instances wait for the next ones: one with `once`. The event is set once there is
    /// more to do.
    pub(super) fn renew(
        &mut self,
        operation: Key,
        once: bool,
        records: &mut Records,
    ) -> io::Result<()> {
        self.shared.reset_event();
        for _ in 0..ROUNDS_MAX {
            self.take_back(records);
            // An instance is there for the next client before a connected one is given away.
            while self.is_short(once) {
                let instance = self.create(false)?;
                self.spare.push(instance);
            }
            while !self.spare.is_empty() && (!once || self.has_none()) {
                self.listen(records.take(operation), records);
            }
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            // To listen resets the event, so look for what it may have told.
            let has_ended = |listening: &Listening| listening.lent.is_finished();
            if !self.is_short(once) && !self.listening.iter().any(has_ended) {
                return Ok(());
            }
        }
        self.shared.set_event();
        Ok(())
    }

    /// Whether too few instances wait for clients.
    fn is_short(&self, once: bool) -> bool {
        let waiting = if once { 1 } else { WAITING };
        let accepted = self.shared.accepted.load(Ordering::SeqCst);
        let instances_max = self.connections_max().saturating_add(1);
        let room = instances_max.saturating_sub(accepted + self.connected.len());
        self.listening.len() + self.spare.len() < waiting.min(room)
    }

    /// Whether no client has come, and Windows is not asked for one.
    fn has_none(&self) -> bool {
        self.connected.is_empty() && self.listening.is_empty()
    }

    fn connections_max(&self) -> usize {
        self.options.connections_max.map_or(usize::MAX, usize::from)
    }

    /// Takes a client that has connected, if another connection may be accepted.
    pub(super) fn next_connected(&mut self) -> Option<NamedPipe> {
        if self.connected.is_empty() || !self.shared.has_room(self.connections_max()) {
            return None;
        }
        let mut accepted = self.connected.pop_front()?;
        accepted.end = End::Server {
            _accepted: Some(Accepted::new(&self.shared)),
        };
        Some(accepted)
    }

    /// Has Windows set the event once a spare instance has a client.
    fn listen(&mut self, record: Box<Record>, records: &mut Records) {
        let Some(instance) = self.spare.pop() else {
            return records.put(record);
        };
        match self.call_connect(&instance, record) {
            Started::UnderWay(lent) => self.listening.push(Listening { instance, lent }),
            Started::Finished(record, result) => {
                records.put(record);
                self.arrived(instance, result);
            }
        }
    }

    fn call_connect(&self, instance: &NamedPipe, record: Box<Record>) -> Started {
        let lent = record.lend_with_event(self.shared.event.as_raw_handle());
        // SAFETY: the instance stays open until the record is back: both are kept together. The OVERLAPPED belongs to
        // the lent record.
        let connected =
            unsafe { ConnectNamedPipe(instance.pipe.as_raw_handle(), lent.overlapped()) };
        let code = match connected {
            // SAFETY: the call reads this thread's last error.
            0 => unsafe { GetLastError() },
            _ => ERROR_SUCCESS,
        };
        // SAFETY: the code is that of the call just made with this record. The instance is on no port, so what succeeds
        // at once posts no packet.
        unsafe { lent.called(code, true) }
    }

    /// Puts an instance where it belongs, by what Windows says of its client.
    fn arrived(&mut self, instance: NamedPipe, result: OsResult) {
        match result.code {
            ERROR_SUCCESS | ERROR_PIPE_CONNECTED => self.connected.push_back(instance),
            // A client that has written and gone is one nevertheless.
            ERROR_NO_DATA if peek(&instance.pipe).is_some_and(|bytes| bytes > 0) => {
                self.connected.push_back(instance);
            }
            ERROR_NO_DATA => {
                disconnect(&instance.pipe);
                self.spare.push(instance);
            }
            ERROR_OPERATION_ABORTED => self.spare.push(instance),
            code => self.failure = Some(io::Error::from_raw_os_error(code.cast_signed())),
        }
    }
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "the pipe has a server")
}
