//! The port's handles, and what they are asked.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Arc;

use socket2::{Domain, Socket};
use windows_sys::Win32::Foundation::HANDLE;

use super::datagram_socket::DatagramSocket;
use super::extension::raw_handle;
use super::named_pipe::{NamedPipe, PipeListener, Unopened};
use super::queue::{Queue, skip_on_success};
use super::record::LentRecord;
use super::traffic::Traffic;
use crate::os::OsFile;
use crate::port::admission::{
    HandleKind, RequestKinds, admit, closed, no_file_calls, not_a_socket,
};
use crate::port::calls::{Answer, Control, Query};
use crate::port::control::Object;
use crate::port::file::{FileCall, FileCalls};
use crate::port::listening::Listening;
use crate::port::table::Key;
use crate::port::{PortKind, Request, Token};
use crate::process::{OsProcess, PseudoConsole};

/// The object behind a handle.
#[derive(Debug)]
pub(super) enum Source {
    /// Boxed, as are the last ones: connections far outnumber listeners, processes and named pipes.
    Listener(Box<Listener>),
    Stream(Socket),
    Datagrams(Box<DatagramSocket>),
    PipeReader(OwnedHandle),
    PipeWriter(OwnedHandle),
    /// A pipe that goes both ways.
    DuplexPipe(OwnedHandle),
    Serial(OwnedHandle),
    Process(Box<Child>),
    File(OsFile),
    PipeListener(Box<PipeListener>),
    /// A client of a named pipe that is not connected yet.
    Unopened(Box<Unopened>),
    /// A connection over a named pipe.
    NamedPipe(Box<NamedPipe>),
}

/// A listening socket, and what kind of sockets it accepts.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) listening: Listening,
    pub(super) family: Domain,
    /// Whether a port can adopt them: not if they are for other programs.
    pub(super) overlapped: bool,
}

impl Listener {
    pub(super) fn new(listening: Listening, for_programs: bool) -> io::Result<Listener> {
        Ok(Listener {
            family: listening.socket.local_addr()?.domain(),
            listening,
            overlapped: !for_programs,
        })
    }
}

/// A child, and our ends of the pipes to it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) process: OsProcess,
    /// The handles of the pipes. Empty once these were told of the tree's end.
    pub(super) pipes: Vec<Key>,
}

impl Source {
    /// The handle that is on the port, if there is one.
    fn on_port(&self) -> Option<HANDLE> {
        match self {
            Source::Listener(listener) => Some(raw_handle(&listener.listening.socket)),
            Source::Stream(socket) => Some(raw_handle(socket)),
            Source::Datagrams(datagrams) => Some(raw_handle(&datagrams.socket)),
            Source::File(file) => Some(file.as_raw_handle()),
            Source::Process(_) | Source::PipeListener(_) | Source::Unopened(_) => None,
            _ => self.as_stream().map(AsRawHandle::as_raw_handle),
        }
    }

    /// The handle of a source that `ReadFile` and `WriteFile` read and write as a stream.
    pub(super) fn as_stream(&self) -> Option<&OwnedHandle> {
        match self {
            Source::PipeReader(pipe)
            | Source::PipeWriter(pipe)
            | Source::DuplexPipe(pipe)
            | Source::Serial(pipe) => Some(pipe),
            Source::NamedPipe(named) => Some(&named.pipe),
            _ => None,
        }
    }

    /// The kind of handle, which decides the requests that it takes.
    fn kind(&self) -> HandleKind {
        match self {
            Source::Listener(_) | Source::PipeListener(_) => HandleKind::Listener,
            Source::Stream(_) => HandleKind::Stream,
            Source::Datagrams(_) => HandleKind::Datagrams,
            Source::Unopened(_) => HandleKind::UnopenedPipe,
            Source::PipeReader(_) => HandleKind::PipeReader,
            Source::PipeWriter(_) => HandleKind::PipeWriter,
            Source::DuplexPipe(_) | Source::NamedPipe(_) => HandleKind::DuplexPipe,
            Source::Serial(_) => HandleKind::SerialPort,
            Source::Process(_) => HandleKind::Process,
            Source::File(_) => HandleKind::File,
        }
    }

    /// The object, for controls and queries; `None` if it is no object of the OS.
    fn object(&self) -> Option<Object<'_>> {
        match self {
            Source::Listener(listener) => Some(Object::Socket(&listener.listening.socket)),
            Source::Stream(socket) => Some(Object::Socket(socket)),
            Source::Datagrams(datagrams) => Some(Object::Socket(&datagrams.socket)),
            Source::Process(child) => Some(Object::Process(&child.process)),
            Source::PipeListener(_) | Source::Unopened(_) => None,
            Source::Serial(port) => Some(Object::Serial(port)),
            Source::File(file) => Some(Object::File(file)),
            _ => self.as_stream().map(Object::Pipe),
        }
    }

    pub(super) fn control(&self, control: Control<'_>) -> io::Result<()> {
        match self.object() {
            Some(object) => object.control(control),
            None => Err(not_a_socket()),
        }
    }

    pub(super) fn query(&self, query: Query) -> io::Result<Answer> {
        match (self, query) {
            (Source::NamedPipe(named), Query::LocalAddress | Query::PeerAddress) => {
                Ok(Answer::Address(named.address()))
            }
            (Source::NamedPipe(named), Query::PeerCredentials) => {
                Ok(Answer::Credentials(named.peer_credentials()?))
            }
            (Source::PipeListener(listener), Query::LocalAddress) => {
                Ok(Answer::Address(listener.address()))
            }
            (Source::Datagrams(socket), Query::Multicast) => {
                Ok(Answer::Multicast(socket.multicast_settings()?))
            }
            (source, query) => match source.object() {
                Some(object) => object.query(query),
                None => Err(not_a_socket()),
            },
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
    /// The kinds of the operations under way.
    pub(super) under_way: RequestKinds,
    /// For a pipe of a child's terminal: the terminal, which is hung up once both of them are closed.
    pub(super) terminal: Option<Arc<PseudoConsole>>,
    /// For a pipe that we read: whether the child's tree has ended, so that the pipe ends once it is empty.
    pub(super) ends_when_empty: bool,
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
            under_way: RequestKinds::default(),
            terminal: None,
            ends_when_empty: false,
            closing: None,
        }
    }

    /// Puts the handle on the port, if it has one. With `plain`, it is a Windows handle that no provider is layered over.
    pub(super) fn join(&mut self, queue: &Queue, key: Key, plain: bool) -> io::Result<()> {
        if let Some(handle) = self.source.on_port() {
            queue.associate(handle, key)?;
            self.skip = plain && skip_on_success(handle);
        }
        Ok(())
    }

    /// The number of records that Windows holds for the handle.
    pub(super) fn lent(&self) -> usize {
        match &self.source {
            Source::PipeListener(listener) => listener.lent(),
            _ => self.lent_records.len(),
        }
    }

    /// Whether `request` can start now.
    pub(super) fn check(&self, request: &Request, file_calls: FileCalls) -> io::Result<()> {
        if self.closing.is_some() {
            return Err(closed());
        }
        admit(PortKind::Iocp, self.source.kind(), self.under_way, request)?;
        match request {
            Request::HangUp if !matches!(self.source, Source::Stream(_)) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "completion ports report the end of a pipe only to a receive or a send",
            )),
            Request::File(asked) if !file_calls.contain(asked.call()) => {
                Err(no_file_calls(PortKind::Iocp, request))
            }
            Request::SendFile(_) if !self.sends_files(file_calls) => {
                Err(no_file_calls(PortKind::Iocp, request))
            }
            _ => Ok(()),
        }
    }

    /// Whether a part of a file can be sent through the handle: not through a UNIX socket, for which no document promises
    /// `TransmitFile`.
    fn sends_files(&self, file_calls: FileCalls) -> bool {
        let Source::Stream(socket) = &self.source else {
            return false;
        };
        let is_unix = |socket: &Socket| {
            let local = socket.local_addr();
            local.is_ok_and(|address| address.domain() == Domain::UNIX)
        };
        file_calls.contain(FileCall::Send) && !is_unix(socket)
    }

    /// Asks Windows to cancel the records that it holds for `operation`.
    pub(super) fn cancel(&self, operation: Key) {
        if let Source::PipeListener(listener) = &self.source {
            listener.cancel();
        }
        let Some(handle) = self.source.on_port() else {
            return;
        };
        for lent in &self.lent_records {
            if lent.operation() == operation {
                lent.cancel(handle);
            }
        }
    }
}
