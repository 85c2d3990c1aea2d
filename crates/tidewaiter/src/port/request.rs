//! Requests to a port: plain data.

use super::datagram::DatagramBatch;
use super::file::{FilePart, FileRequest, FileToOpen};
use super::memory::Chunks;
use crate::os::Address;

/// An operation to start: see [`Port::submit`](super::Port::submit).
///
/// Each variant carries at most one pointer, so that requests are passed in registers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// On a listening socket: accepts connections. Multishot: each completion is an
    /// [`Outcome::Accepted`](super::Outcome::Accepted), until the operation is cancelled or fails.
    ///
    /// A connection that died before it was accepted is not reported. The operation fails when descriptors
    /// or memory run out; the connections that wait stay in the listener's backlog, for a later operation.
    Accept,
    /// On a listening socket: accepts one connection, and completes with [`Outcome::Accepted`](super::Outcome::Accepted).
    /// [`Request::Accept`], in contrast, accepts every connection that arrives before it is
    /// cancelled.
    AcceptOne,
    /// On an unconnected stream socket or named pipe: connects it. Completes with [`Outcome::Connected`](super::Outcome::Connected).
    ///
    /// Nothing else may be under way on the handle. The only time limit is the OS's, which may be minutes: cancel the
    /// operation, or close the handle.
    Connect(Box<Address>),
    /// On a stream socket or a readable pipe: receives. Multishot: each completion is an
    /// [`Outcome::Received`](super::Outcome::Received) with at least one byte; the last completion is an [`Outcome::EndOfFile`](super::Outcome::EndOfFile) or a
    /// [`Failure`](super::Failure). One such operation at a time on a handle.
    ///
    /// After a cancelled receive, bytes that were not delivered stay in the OS, for the next receive.
    ///
    /// On a named pipe that carries [messages](super::PipeMode::Messages), each `Received` is a whole message, however
    /// long, and may be empty.
    Receive,
    /// On a UNIX socket: as [`Request::Receive`], and takes descriptors that the peer passes. Bytes with which some came
    /// are an [`Outcome::ReceivedWithDescriptors`](super::Outcome::ReceivedWithDescriptors). A mere `Receive` has the OS
    /// close them. Only the ports of Unix and of simulations have it; of other sockets, no descriptors come.
    ReceiveWithDescriptors,
    /// On a stream socket or a writable pipe: sends. Completes with [`Outcome::Sent`](super::Outcome::Sent) once the OS took
    /// some or all of the bytes. The others are in [`Completion::unsent`](super::Completion::unsent), however the operation ended. One
    /// such operation at a time on a handle. The bytes must not be empty. On a named pipe that carries
    /// [messages](super::PipeMode::Messages), each piece is one, and the first is sent.
    Send(Chunks),
    /// On a datagram socket: receives. Multishot: each completion is an [`Outcome::Datagrams`](super::Outcome::Datagrams),
    /// or an [`Outcome::DatagramError`](super::Outcome::DatagramError) that tells of one datagram: it was too large to be
    /// received, or a peer or the network refused it. Neither ends the operation. One such operation at a time on a
    /// handle.
    ReceiveDatagrams,
    /// On a datagram socket: sends. Completes with [`Outcome::DatagramsSent`](super::Outcome::DatagramsSent) once the OS
    /// has taken or refused some or all of the datagrams, or when it is cancelled; the others come back in its batch. One
    /// such operation at a time on a handle. The batch must not be empty.
    SendDatagrams(DatagramBatch),
    /// On a child process: waits until it has ended. Completes with [`Outcome::Exited`](super::Outcome::Exited).
    Exit,
    /// On a connected stream socket or a writable pipe: waits until it is of no further use. Completes with
    /// [`Outcome::HungUp`](super::Outcome::HungUp) once both directions of the connection have ended, or the pipe has no reader left;
    /// fails when the connection was reset. The peer's end of file alone is no hang-up: bytes may be left to
    /// receive. One such operation at a time on a handle, beside all others.
    ///
    /// Use it on a connection that is not being received from; otherwise the receive reports the same. I/O
    /// completion ports tell resets of sockets alone: they do not have it for pipes
    /// ([`Unsupported`](std::io::ErrorKind::Unsupported)), and it does not complete once both directions have ended in order.
    HangUp,
    /// On [an unopened file](super::Port::unopened_file): opens it. Completes with
    /// [`Outcome::FileOpened`](super::Outcome::FileOpened).
    ///
    /// io_uring and the simulation have it. The other ports open no file
    /// ([`Unsupported`](std::io::ErrorKind::Unsupported)), but [adopt](super::Port::adopt) one.
    OpenFile(Box<FileToOpen>),
    /// On an open file: reads, writes or something else. Completes with an
    /// [`Outcome::File`](super::Outcome::File). Any number of them may be under way on a file, and none waits for
    /// another one: what overlaps happens in any order.
    ///
    /// I/O completion ports read and write only; the readiness port does none of it, as a file is never ready or not.
    /// They refuse the rest ([`Unsupported`](std::io::ErrorKind::Unsupported)). io_uring sets the length since
    /// Linux 6.9.
    File(Box<FileRequest>),
    /// On a stream socket or a writable pipe: sends a part of a file, which the program's memory never holds. Completes
    /// once, with an [`Outcome::FileSent`](super::Outcome::FileSent) if any byte went, or if the file has none there.
    /// Excludes sends and is excluded by them.
    ///
    /// The file may be closed while it is sent: it is kept open until then. What is written to it or cut off meanwhile
    /// may be sent or not.
    ///
    /// Both ports of Linux have it, by `sendfile`; and on the servers among the versions of Windows, I/O completion
    /// ports have it for sockets, by `TransmitFile`. The others refuse it
    /// ([`Unsupported`](std::io::ErrorKind::Unsupported)).
    SendFile(Box<FilePart>),
}

impl Request {
    /// A [`Request::Connect`] to `peer`.
    #[must_use]
    pub fn connect(peer: impl Into<Address>) -> Request {
        Request::Connect(Box::new(peer.into()))
    }

    /// Which kind of request this is.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Accept | Request::AcceptOne => RequestKind::Accept,
            Request::Connect(_) => RequestKind::Connect,
            Request::Receive | Request::ReceiveWithDescriptors => RequestKind::Receive,
            Request::Send(_) => RequestKind::Send,
            Request::ReceiveDatagrams => RequestKind::ReceiveDatagrams,
            Request::SendDatagrams(_) => RequestKind::SendDatagrams,
            Request::Exit => RequestKind::Exit,
            Request::HangUp => RequestKind::HangUp,
            Request::OpenFile(_) => RequestKind::OpenFile,
            Request::File(_) => RequestKind::File,
            Request::SendFile(_) => RequestKind::SendFile,
        }
    }
}

/// The kind of request that a [`Completion`](super::Completion) answers: a kind of [`Request`], a watch or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// [`Request::Accept`] or [`Request::AcceptOne`].
    Accept,
    /// [`Request::Connect`].
    Connect,
    /// [`Request::Receive`] or [`Request::ReceiveWithDescriptors`].
    Receive,
    /// [`Request::Send`].
    Send,
    /// [`Request::ReceiveDatagrams`].
    ReceiveDatagrams,
    /// [`Request::SendDatagrams`].
    SendDatagrams,
    /// [`Request::Exit`].
    Exit,
    /// [`Request::HangUp`].
    HangUp,
    /// [`Request::OpenFile`].
    OpenFile,
    /// [`Request::File`].
    File,
    /// [`Request::SendFile`].
    SendFile,
    /// [`Port::watch`](super::Port::watch) or [`Port::watch_handle`](super::Port::watch_handle).
    Watch,
    /// [`Port::close`](super::Port::close).
    Close,
}
