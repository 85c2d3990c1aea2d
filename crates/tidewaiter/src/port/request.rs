//! Requests to a port, and their completions: plain data.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::buffer::Buffer;
use super::chunks::Chunks;
use super::socket::Socket;
use super::table::Key;
use super::watch::Readiness;
use crate::process::ExitStatus;

/// A socket, pipe or process that belongs to a port.
///
/// A handle is never valid twice: one that was closed stays closed, even when the OS uses its number again.
/// A handle means something only to the port that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub(crate) Key);

/// A submitted operation: see [`Port::cancel`](super::Port::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(pub(crate) Key);

/// A number that the submitter chooses and finds in the completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// An operation to start: see [`Port::submit`](super::Port::submit).
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// On a listening socket: accepts connections. Multishot: each completion is an
    /// [`Outcome::Accepted`], until the operation is cancelled or fails.
    ///
    /// A connection that died before it was accepted is not reported. The operation fails when descriptors
    /// or memory run out; the connections that wait stay in the listener's backlog, for a later operation.
    Accept,
    /// On a listening socket: accepts one connection, and completes with [`Outcome::Accepted`].
    /// [`Request::Accept`], in contrast, accepts every connection that arrives before it is
    /// cancelled.
    AcceptOne,
    /// On an unconnected stream socket: connects it. Completes with [`Outcome::Connected`].
    ///
    /// The only time limit is the OS's, which may be minutes: cancel the operation, or close the
    /// handle.
    Connect(SocketAddr),
    /// On a stream socket or a readable pipe: receives. Multishot: each completion is an
    /// [`Outcome::Received`] with at least one byte; the last completion is an [`Outcome::EndOfFile`] or a
    /// [`Failure`]. One such operation at a time on a handle.
    ///
    /// After a cancelled receive, bytes that were not delivered stay in the OS, for the next receive.
    Receive,
    /// On a stream socket or a writable pipe: sends. Completes with [`Outcome::Sent`] once the OS took
    /// some or all of the bytes. The others are in [`Completion::unsent`], however the operation ended. One
    /// such operation at a time on a handle. The bytes must not be empty.
    Send(Chunks),
    /// On a child process: waits until it has ended. Completes with [`Outcome::Exited`].
    Exit,
    /// On a connected stream socket or a writable pipe: waits until it is of no further use. Completes with
    /// [`Outcome::HungUp`] once both directions of the connection have ended, or the pipe has no reader left;
    /// fails when the connection was reset. The peer's end of file alone is no hang-up: bytes may be left to
    /// receive. One such operation at a time on a handle, beside all others.
    ///
    /// Use it on a connection that is not being received from; otherwise the receive reports the same. I/O
    /// completion ports do not have it ([`Unsupported`](io::ErrorKind::Unsupported)).
    HangUp,
}

impl Request {
    /// Which kind of request this is.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Accept | Request::AcceptOne => RequestKind::Accept,
            Request::Connect(_) => RequestKind::Connect,
            Request::Receive => RequestKind::Receive,
            Request::Send(_) => RequestKind::Send,
            Request::Exit => RequestKind::Exit,
            Request::HangUp => RequestKind::HangUp,
        }
    }
}

/// The kind of request that a [`Completion`] answers: a kind of [`Request`], a watch or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// [`Request::Accept`] or [`Request::AcceptOne`].
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

/// The result of an operation that succeeded.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// A connection was accepted. It belongs to no port yet: pass it to [`Port::adopt`](super::Port::adopt)
    /// of this port or of another port, on any thread. Dropping it closes it.
    Accepted {
        /// The connected socket.
        socket: Socket,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// The socket is connected.
    Connected,
    /// Bytes arrived: at least one.
    Received(Buffer),
    /// The peer sends no more. This ends the operation; sending may go on.
    EndOfFile,
    /// The OS took bytes, not necessarily all: the others are in [`Completion::unsent`].
    Sent {
        /// How many bytes the OS took: at least one.
        bytes: usize,
    },
    /// The child process has ended.
    Exited(ExitStatus),
    /// Both directions have ended, or the pipe has no reader left: see [`Request::HangUp`].
    HungUp,
    /// A watched descriptor is ready, or a watched handle of Windows is signalled (readable).
    Ready(Readiness),
    /// The handle is closed: every completion of it has been delivered.
    Closed,
}

/// Why an operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It was cancelled, or its handle was closed: the OS may or may not have performed it.
    Cancelled,
    /// The OS refused. The error keeps the OS's own code. A reset by the peer has the kind
    /// [`io::ErrorKind::ConnectionReset`] on every OS; sending to a connection or pipe that is closed may
    /// fail with [`io::ErrorKind::BrokenPipe`] instead.
    Os {
        /// The name of the system call, or of the operation where several calls make it.
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
    /// The submitter's token.
    pub token: Token,
    /// The operation that this answers. It has ended if `more` is false.
    pub operation: Operation,
    /// The kind of request.
    pub kind: RequestKind,
    /// The result.
    pub result: Result<Outcome, Failure>,
    /// Whether further completions of this operation follow (multishot operations only).
    pub more: bool,
    /// The bytes of a [`Request::Send`] that the OS did not take, in their order, whether the send
    /// succeeded, failed or was cancelled. A send that failed or was cancelled may nevertheless
    /// have sent some of them. Empty for every other request.
    ///
    /// Also returns the queue's storage for reuse, and the sent memory until
    /// [`Chunks::release_sent`]: dropping that memory may run the program's code, and a port runs
    /// none.
    pub unsent: Chunks,
}
