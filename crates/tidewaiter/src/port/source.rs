//! The objects behind handles on Unix.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Socket, Type};

use super::admission::HandleKind;
use super::calls::{Answer, Control, Query};
use super::control::{self, Object};
use super::listening::Listening;
use super::messages::DatagramSocket;
use super::serial::{self, SerialPort, SerialQueue};
use crate::os::OsFile;
use crate::process::{OsProcess, PipeDirection};

/// The object behind a handle. Dropping it closes it.
#[derive(Debug)]
pub(super) enum Source {
    /// Boxed, as what follows: connections far outnumber listeners, datagram sockets and processes.
    Listener(Box<Listening>),
    Stream(Socket),
    Datagrams(Box<DatagramSocket>),
    /// A socket of sequenced packets.
    Packets(Socket),
    Reader(OwnedFd),
    Writer(OwnedFd),
    /// A pipe that goes both ways.
    Duplex(Socket),
    Serial(SerialPort),
    Process(Box<OsProcess>),
    /// A file that is still to be opened.
    UnopenedFile,
    File(OsFile),
}

impl Source {
    /// A socket to be connected.
    pub(super) fn connecting(socket: Socket, packets: bool) -> Source {
        if packets {
            Source::Packets(socket)
        } else {
            Source::Stream(socket)
        }
    }

    /// A connection, or a socket to be connected, that may be of either kind.
    pub(super) fn of_socket(socket: Socket) -> io::Result<Source> {
        let packets = socket.r#type()? == Type::SEQPACKET;
        Ok(Source::connecting(socket, packets))
    }

    /// Our end of a pipe to a child.
    pub(super) fn of_pipe(direction: PipeDirection, pipe: OwnedFd) -> Source {
        match direction {
            PipeDirection::ToChild => Source::Writer(pipe),
            PipeDirection::FromChild => Source::Reader(pipe),
            PipeDirection::Both => Source::Duplex(pipe.into()),
        }
    }

    /// The kind of handle, which decides the requests that it takes.
    pub(super) fn kind(&self) -> HandleKind {
        match self {
            Source::Listener(_) => HandleKind::Listener,
            Source::Stream(_) => HandleKind::Stream,
            Source::Datagrams(_) => HandleKind::Datagrams,
            Source::Packets(_) => HandleKind::Packets,
            Source::Reader(_) => HandleKind::PipeReader,
            Source::Writer(_) => HandleKind::PipeWriter,
            Source::Duplex(_) => HandleKind::DuplexPipe,
            Source::Serial(_) => HandleKind::SerialPort,
            Source::Process(_) => HandleKind::Process,
            Source::UnopenedFile => HandleKind::UnopenedFile,
            Source::File(_) => HandleKind::File,
        }
    }

    /// Prepares a close that drops what the OS has not sent yet.
    pub(super) fn drop_unsent(&self) {
        let dropped = match self {
            Source::Stream(socket) => control::reset_on_close(socket),
            Source::Serial(port) => serial::discard(port, SerialQueue::Output),
            _ => Ok(()),
        };
        if let Err(error) = dropped {
            // The connection has ended, or has not begun: there is nothing to drop.
            log::debug!("port: bytes that are not sent could not be dropped: {error}");
        }
    }

    pub(super) fn control(&self, control: Control<'_>) -> io::Result<()> {
        match self {
            Source::Datagrams(socket) => socket.control(control),
            _ => self.object().control(control),
        }
    }

    pub(super) fn query(&self, query: Query) -> io::Result<Answer> {
        match (self, query) {
            (Source::Datagrams(socket), Query::Multicast) => {
                Ok(Answer::Multicast(socket.multicast_settings()?))
            }
            _ => self.object().query(query),
        }
    }

    fn object(&self) -> Object<'_> {
        match self {
            Source::Listener(listening) => Object::Socket(&listening.socket),
            Source::Stream(socket) | Source::Packets(socket) | Source::Duplex(socket) => {
                Object::Socket(socket)
            }
            Source::Datagrams(socket) => Object::Socket(socket),
            Source::Reader(pipe) | Source::Writer(pipe) => Object::Pipe(pipe),
            Source::Serial(port) => Object::Serial(port),
            Source::Process(process) => Object::Process(process),
            Source::UnopenedFile => Object::UnopenedFile,
            Source::File(file) => Object::File(file),
        }
    }
}

impl AsFd for Source {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listening) => listening.socket.as_fd(),
            Source::Stream(socket) | Source::Packets(socket) | Source::Duplex(socket) => {
                socket.as_fd()
            }
            Source::Datagrams(socket) => socket.as_fd(),
            Source::Reader(pipe) | Source::Writer(pipe) => pipe.as_fd(),
            Source::Serial(port) => port.as_fd(),
            Source::Process(process) => process.as_fd(),
            // The directory in which a relative path is looked up.
            Source::UnopenedFile => rustix::fs::CWD,
            Source::File(file) => file.as_fd(),
        }
    }
}
