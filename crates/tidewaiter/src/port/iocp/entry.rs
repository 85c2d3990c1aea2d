//! The port's handles, and what they are asked.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};

use socket2::{Domain, Socket};
use windows_sys::Win32::Foundation::HANDLE;

use super::extension::raw_handle;
use super::record::LentRecord;
use super::traffic::Traffic;
use crate::port::table::Key;
use crate::port::{Request, RequestKind, Token};
use crate::process::OsProcess;

/// The object behind a handle.
#[derive(Debug)]
pub(super) enum Source {
    Listener(Socket, Domain),
    Stream(Socket),
    PipeReader(OwnedHandle),
    PipeWriter(OwnedHandle),
    /// Boxed: sockets far outnumber processes.
    Process(Box<Child>),
}

/// A child, and our ends of the pipes to it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) process: OsProcess,
    /// The handles of the pipes. Empty once these were told of the tree's end.
    pub(super) pipes: Vec<Key>,
}

impl Source {
    pub(super) fn as_raw(&self) -> HANDLE {
        match self {
            Source::Listener(socket, _) | Source::Stream(socket) => raw_handle(socket),
            Source::PipeReader(pipe) | Source::PipeWriter(pipe) => pipe.as_raw_handle(),
            Source::Process(child) => child.process.as_handle().as_raw_handle(),
        }
    }

    /// Whether such an object can perform `request`.
    fn knows(&self, request: &Request) -> bool {
        match request {
            Request::Accept | Request::AcceptOne => matches!(self, Source::Listener(..)),
            Request::Connect(_) => matches!(self, Source::Stream(_)),
            Request::Receive => matches!(self, Source::Stream(_) | Source::PipeReader(_)),
            Request::Send(_) => matches!(self, Source::Stream(_) | Source::PipeWriter(_)),
            Request::Exit => matches!(self, Source::Process(_)),
            Request::HangUp => matches!(self, Source::Stream(_) | Source::PipeWriter(_)),
        }
    }

    pub(super) fn socket(&self) -> io::Result<&Socket> {
        match self {
            Source::Listener(socket, _) | Source::Stream(socket) => Ok(socket),
            _ => Err(invalid("the handle is not a socket")),
        }
    }

    pub(super) fn process(&self) -> io::Result<&OsProcess> {
        match self {
            Source::Process(child) => Ok(&child.process),
            _ => Err(invalid("the handle is not a process")),
        }
    }
}

/// A handle that is open or being closed.
pub(super) struct Entry {
    pub(super) source: Source,
    /// Whether operations that succeed at once post no packet.
    pub(super) skip: bool,
    /// The handle's recent traffic, and its index in the list of receives that hold memory in
    /// advance.
    pub(super) traffic: Traffic,
    pub(super) eager_index: Option<usize>,
    /// The operations under way.
    pub(super) operations: Vec<Key>,
    /// The records of these operations that Windows holds.
    pub(super) lent_records: Vec<LentRecord>,
    pub(super) receiving: bool,
    /// For a pipe that we read: whether the child's tree has ended, so that the pipe ends once it is empty.
    pub(super) ends_when_empty: bool,
    pub(super) sending: bool,
    /// The close under way.
    pub(super) closing: Option<(Key, Token)>,
}

impl Entry {
    pub(super) fn new(source: Source) -> Entry {
        Entry {
            source,
            skip: false,
            traffic: Traffic::default(),
            eager_index: None,
            operations: Vec::new(),
            lent_records: Vec::new(),
            receiving: false,
            ends_when_empty: false,
            sending: false,
            closing: None,
        }
    }

    /// Whether `request` can start now.
    pub(super) fn check(&self, request: &Request) -> io::Result<()> {
        if self.closing.is_some() {
            return Err(closed());
        }
        if !self.source.knows(request) {
            return Err(invalid("this kind of handle does not take such requests"));
        }
        match request {
            Request::Receive if self.receiving => Err(invalid("the handle is already receiving")),
            Request::Send(_) if self.sending => Err(invalid("the handle is already sending")),
            Request::Send(chunks) if chunks.is_empty() => Err(invalid("there is nothing to send")),
            Request::HangUp => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "completion ports report a hang-up only to a receive or a send",
            )),
            _ => Ok(()),
        }
    }

    /// Notes that an operation of this kind begins or has ended.
    pub(super) fn mark(&mut self, kind: RequestKind, under_way: bool) {
        match kind {
            RequestKind::Receive => self.receiving = under_way,
            RequestKind::Send => self.sending = under_way,
            _ => {}
        }
    }

    /// Asks Windows to cancel the records that it holds for `operation`.
    pub(super) fn cancel(&self, operation: Key) {
        let handle = self.source.as_raw();
        for lent in &self.lent_records {
            if lent.operation() == operation {
                lent.cancel(handle);
            }
        }
    }
}

pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the handle is closed")
}

pub(super) fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
