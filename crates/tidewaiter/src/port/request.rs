//! What can be asked of a port, and what comes back: plain data.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::buffer::Buffer;
use super::chunks::Chunks;
use super::socket::Socket;
use super::table::Key;
use super::watch::Readiness;
use crate::process::ExitStatus;

/// A socket, pipe or process that a port takes care of.
///
/// Handles are never valid twice: one that was closed stays closed, whatever the OS does with its
/// number. They mean something only to the port that gave them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub(crate) Key);

/// A submitted operation, to cancel it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(pub(crate) Key);

/// What the submitter wants to find in the completion: any number it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// An operation to start.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// On a listening socket: accepts connections. Multishot: each completion is an
    /// [`Outcome::Accepted`], until the operation is cancelled or fails.
    ///
    /// A connection that died before it could be accepted is not an error and not reported. Running
    /// out of descriptors or memory is, and ends the operation; connections not yet accepted stay in
    /// the listener's backlog, to be accepted by a later operation.
    Accept,
    /// On an unconnected stream socket: connects it. Completes with [`Outcome::Connected`].
    Connect(SocketAddr),
    /// On a stream socket or a readable pipe: receives. Multishot: each completion is an
    /// [`Outcome::Received`] with at least one byte, the last one an [`Outcome::EndOfFile`] or an
    /// error. One such operation at a time on one handle.
    Receive,
    /// On a stream socket or a writable pipe: sends. Completes with [`Outcome::Sent`] once the OS took
    /// some or all of the bytes. One such operation at a time on one handle. Must not be empty.
    Send(Chunks),
    /// On a child process: waits for its end. Completes with [`Outcome::Exited`].
    Exit,
    /// On a connected stream socket or a writable pipe: waits until it is of no more use. Completes with
    /// [`Outcome::HungUp`] once both directions have ended, or nobody reads the pipe any more; with an
    /// error when the connection was reset. The peer's end of file alone is no hang-up: bytes may be left
    /// to be received. One such operation at a time on one handle, beside all others.
    ///
    /// For connections that are not being received from: of the others, receiving tells. I/O completion
    /// ports have no such thing ([`Unsupported`](io::ErrorKind::Unsupported)).
    HangUp,
}

impl Request {
    /// Which kind of request this is.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Accept => RequestKind::Accept,
            Request::Connect(_) => RequestKind::Connect,
            Request::Receive => RequestKind::Receive,
            Request::Send(_) => RequestKind::Send,
            Request::Exit => RequestKind::Exit,
            Request::HangUp => RequestKind::HangUp,
        }
    }
}

/// The kinds of [`Request`], and closing: what a completion answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// [`Request::Accept`].
    Accept,
    /// [`Request::Connect`].
    Connect,
    /// [`Request::Receive`].
    Receive,
    /// [`Request::Send`].
    Send,
    /// [`Request::Exit`].
    Exit,
    /// [`Request::HangUp`].
    HangUp,
    /// [`Port::watch`](super::Port::watch) or [`Port::watch_handle`](super::Port::watch_handle).
    Watch,
    /// [`Port::close`](super::Port::close).
    Close,
}

/// What an operation came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// A connection, not yet known to any port: pass it to [`Port::adopt`](super::Port::adopt) of this
    /// port or of another one, on any thread.
    Accepted {
        /// The connected socket.
        socket: Socket,
        /// Who connected.
        peer: SocketAddr,
    },
    /// The socket is connected.
    Connected,
    /// Bytes arrived: at least one.
    Received(Buffer),
    /// The peer will send no more. This ends the operation; sending may go on.
    EndOfFile,
    /// The OS took bytes, not necessarily all.
    Sent {
        /// How many, at least one.
        bytes: usize,
        /// What it did not take, and the storage of the rest, for reuse.
        rest: Chunks,
    },
    /// The child process ended.
    Exited(ExitStatus),
    /// Both directions have ended, or a pipe has no reader: see [`Request::HangUp`].
    HungUp,
    /// A descriptor that is watched is ready; a handle that is watched is signalled, which counts as
    /// readable.
    Ready(Readiness),
    /// The handle is closed: every completion of it has been delivered.
    Closed,
}

/// Why an operation did not do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It was cancelled, or its handle was closed: what it asked for may or may not have happened.
    Cancelled,
    /// The OS refused. The error keeps the OS's own code; resets, on every OS, have the kind
    /// [`io::ErrorKind::ConnectionReset`].
    Os {
        /// The system call, or what stands for it, for searching.
        call: &'static str,
        /// The OS's error.
        source: io::Error,
    },
}

impl Failure {
    pub(crate) fn os(call: &'static str, source: io::Error) -> Failure {
        Failure::Os { call, source }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Cancelled => f.write_str("cancelled"),
            Failure::Os { call, source } => write!(f, "{call}: {source}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Cancelled => None,
            Failure::Os { source, .. } => Some(source),
        }
    }
}

/// The answer to an operation.
#[derive(Debug)]
pub struct Completion {
    /// What the submitter gave.
    pub token: Token,
    /// The operation that this answers. Dead once `more` is false.
    pub operation: Operation,
    /// What was asked.
    pub kind: RequestKind,
    /// What came of it.
    pub result: Result<Outcome, Failure>,
    /// Whether further completions of this operation follow (multishot operations only).
    pub more: bool,
}
