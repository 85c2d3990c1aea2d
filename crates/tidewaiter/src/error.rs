//! Errors, told apart by what the caller does next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::os::Address;
use crate::port::{Failure, RawDescriptor};

/// Why a connection or a pipe ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It ended in order: both sides have ended, or we closed it. Bytes that were written may be unsent only after
    /// [`Transport::close_connection_now`](crate::Transport::close_connection_now), which drops them.
    Done,
    /// The peer reset the connection, or nobody reads the pipe any more: bytes may be lost.
    Reset(io::Error),
    /// We called [`Transport::abort_connection`](crate::Transport::abort_connection).
    Aborted,
    /// The OS gave up waiting for the peer's machine to answer, or a
    /// [timeout of ours](crate::Protocol::timed_out) passed: the error then carries no OS error code.
    TimedOut(io::Error),
    /// The reactor stopped: bytes may be unsent.
    Stopped,
    /// A callback of the protocol or of a producer panicked.
    Panicked,
    /// The OS refused something else.
    Os {
        /// The name of the system call, or of the operation where several system calls carry it out.
        call: &'static str,
        /// The OS's reason.
        source: io::Error,
    },
}

impl Reason {
    /// Whether this is [`Reason::Done`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Reason::Done)
    }

    /// Returns the reason that a failed operation gives, or `None` for one that was merely cancelled.
    pub(crate) fn of(failure: Failure) -> Option<Reason> {
        match failure {
            Failure::Cancelled => None,
            Failure::Os { call, source } => Some(match source.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Reason::Reset(source),
                io::ErrorKind::TimedOut => Reason::TimedOut(source),
                _ => Reason::Os { call, source },
            }),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Done => f.write_str("closed in order"),
            Reason::Reset(source) => write!(f, "reset by the peer: {source}"),
            Reason::Aborted => f.write_str("aborted"),
            Reason::TimedOut(source) => write!(f, "timed out: {source}"),
            Reason::Stopped => f.write_str("the reactor stopped"),
            Reason::Panicked => f.write_str("a callback panicked"),
            Reason::Os { call, source } => write!(f, "{call}: {source}"),
        }
    }
}

/// Why no connection was made.
///
/// ```
/// use tidewaiter::io::Stream;
/// use tidewaiter::{ConnectError, Reactor};
///
/// let reactor = Reactor::new()?;
/// let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
/// match reactor.block_on(Stream::connect(&reactor, free))? {
///     Err(ConnectError::Refused { address, source }) => println!("{address}: {source}"),
///     other => println!("somebody else is there: {other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name could not be looked up, or it has no address of the local address's family.
    Resolve {
        /// The name.
        host: String,
        /// The resolver's reason.
        source: io::Error,
    },
    /// A text is no address. The message names it.
    Endpoint(io::Error),
    /// Nobody listens at the address. When several addresses failed, this is the error of the attempt that came
    /// furthest.
    Refused {
        /// The address of that attempt.
        address: Address,
        /// The OS's reason.
        source: io::Error,
    },
    /// No route leads to that host or network.
    Unreachable {
        /// The address of that attempt.
        address: Address,
        /// The OS's reason.
        source: io::Error,
    },
    /// The peer did not answer within [`ConnectOptions::timeout`](crate::ConnectOptions::timeout), or within the
    /// OS's own limit.
    TimedOut {
        /// The OS's error, or our own, which carries no OS error code.
        source: io::Error,
    },
    /// [`Connector::cancel`](crate::Connector::cancel) was called.
    Cancelled,
    /// The connection was made, but the [`Factory`](crate::Factory) has no protocol for it.
    Declined {
        /// The peer's address.
        address: Address,
    },
    /// The reactor stopped, or had stopped already.
    Stopped,
    /// The OS refused something else.
    Os {
        /// The address of that attempt.
        address: Address,
        /// The OS's reason.
        source: io::Error,
    },
}

impl ConnectError {
    /// Returns the underlying error, with the OS's code if it is the OS's error; `None` for `Cancelled`,
    /// `Declined` and `Stopped`.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            ConnectError::Resolve { source, .. }
            | ConnectError::Refused { source, .. }
            | ConnectError::Unreachable { source, .. }
            | ConnectError::TimedOut { source }
            | ConnectError::Endpoint(source)
            | ConnectError::Os { source, .. } => Some(source),
            ConnectError::Cancelled | ConnectError::Declined { .. } | ConnectError::Stopped => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Resolve { host, source } => {
                write!(f, "cannot resolve {host:?}: {source}")
            }
            ConnectError::Endpoint(source) => source.fmt(f),
            ConnectError::Refused { address, .. } => write!(f, "{address} refused the connection"),
            ConnectError::Unreachable { address, source } => {
                write!(f, "{address} is unreachable: {source}")
            }
            ConnectError::TimedOut { source } => write!(f, "no connection: {source}"),
            ConnectError::Cancelled => f.write_str("connecting was cancelled"),
            ConnectError::Declined { address } => {
                write!(f, "we declined the connection to {address}")
            }
            ConnectError::Stopped => f.write_str("the reactor stopped"),
            ConnectError::Os { address, source } => {
                write!(f, "cannot connect to {address}: {source}")
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Why an operation on a file was not performed.
///
/// ```
/// use tidewaiter::{FileError, FileOptions, Reactor};
///
/// let reactor = Reactor::new()?;
/// reactor.open_file("no/such/file", FileOptions::new().read(true), |reactor, opened| {
///     match opened {
///         Ok(_) => println!("there is one"),
///         Err(FileError::Os { path, source, .. }) => println!("{}: {source}", path.display()),
///         Err(other) => println!("{other}"),
///     }
///     reactor.stop();
/// });
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// [`FileOperation::cancel`](crate::FileOperation::cancel) was called. The OS may or may not have performed it.
    Cancelled,
    /// The file was [closed](crate::File::close) before this was asked for.
    Closed,
    /// The reactor stopped, or had stopped already. The OS may or may not have performed it.
    Stopped,
    /// The OS refused.
    Os {
        /// The path of the file.
        path: PathBuf,
        /// The name of the system call, or of the operation where several system calls carry it out.
        call: &'static str,
        /// How many bytes were written before that.
        written: u64,
        /// The OS's reason, with its code.
        source: io::Error,
    },
}

impl FileError {
    /// Returns the OS's error; `None` if it is not the OS that refused.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            FileError::Os { source, .. } => Some(source),
            FileError::Cancelled | FileError::Closed | FileError::Stopped => None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Cancelled => f.write_str("cancelled"),
            FileError::Closed => f.write_str("the file is closed"),
            FileError::Stopped => f.write_str("the reactor stopped"),
            FileError::Os {
                path, call, source, ..
            } => write!(f, "{call} {path:?}: {source}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Why [`Transport::send_file`](crate::Transport::send_file) did not send all that it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendFileError {
    /// The file ended before the part did.
    FileEnded {
        /// How many bytes were sent.
        sent: u64,
    },
    /// The connection ended, or could not send any more:
    /// [`connection_lost`](crate::Protocol::connection_lost) tells why.
    ConnectionLost {
        /// How many bytes the OS took. The peer may not have received them all.
        sent: u64,
    },
    /// [`FileTransfer::cancel`](crate::FileTransfer::cancel) was called.
    Cancelled {
        /// How many bytes are sent before what was written behind the file.
        sent: u64,
    },
    /// The file could not be read.
    File {
        /// How many bytes were sent.
        sent: u64,
        /// The reason.
        source: FileError,
    },
}

impl SendFileError {
    /// How many bytes were sent before that: begin that much later to go on.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            SendFileError::FileEnded { sent }
            | SendFileError::ConnectionLost { sent }
            | SendFileError::Cancelled { sent }
            | SendFileError::File { sent, .. } => *sent,
        }
    }
}

impl fmt::Display for SendFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendFileError::FileEnded { sent } => write!(f, "the file ended after {sent} bytes"),
            SendFileError::ConnectionLost { sent } => {
                write!(f, "the connection was lost after {sent} bytes")
            }
            SendFileError::Cancelled { sent } => write!(f, "cancelled after {sent} bytes"),
            SendFileError::File { sent, source } => write!(f, "after {sent} bytes: {source}"),
        }
    }
}

impl std::error::Error for SendFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SendFileError::File { source, .. } => Some(source),
            SendFileError::FileEnded { .. }
            | SendFileError::ConnectionLost { .. }
            | SendFileError::Cancelled { .. } => None,
        }
    }
}

/// Why a reactor refused or failed to do something.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The reactor is running already, or in the middle of a turn.
    Running,
    /// The reactor is stopping or has stopped: it takes nothing new and is never run again.
    Stopped,
    /// A text is no address, or a name has none. The message names it.
    Endpoint(io::Error),
    /// The reactor cannot listen on the address.
    Listen {
        /// The address.
        address: Address,
        /// The OS's reason.
        source: io::Error,
    },
    /// The reactor cannot open a datagram socket.
    Datagrams {
        /// The socket's own address or, if it has none, its peer's.
        address: Option<Address>,
        /// The OS's reason.
        source: io::Error,
    },
    /// A listening socket made elsewhere cannot be taken over.
    ListenOn(io::Error),
    /// A connected socket or a pipe made elsewhere cannot be taken over.
    Adopt {
        /// The peer's address, if it is known.
        peer: Option<Address>,
        /// The OS's reason.
        source: io::Error,
    },
    /// An open file cannot be taken over.
    AdoptFile {
        /// The path that names it.
        path: PathBuf,
        /// The OS's reason.
        source: io::Error,
    },
    /// A descriptor, or a handle, cannot be watched.
    Watch {
        /// The number of the descriptor or handle.
        descriptor: RawDescriptor,
        /// The OS's reason.
        source: io::Error,
    },
    /// The completion port failed, or could not be opened.
    Port(io::Error),
    /// The OS refused a thread for a reactor.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Running => f.write_str("the reactor is running already"),
            Error::Stopped => f.write_str("the reactor has been stopped"),
            Error::Endpoint(source) => source.fmt(f),
            Error::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Error::Datagrams {
                address: Some(address),
                source,
            } => write!(f, "cannot exchange datagrams at {address}: {source}"),
            Error::Datagrams { source, .. } => write!(f, "cannot exchange datagrams: {source}"),
            Error::ListenOn(source) => write!(f, "cannot take over a listening socket: {source}"),
            Error::Adopt {
                peer: Some(peer),
                source,
            } => write!(f, "cannot take over the connection to {peer}: {source}"),
            Error::Adopt { peer: None, source } => {
                write!(f, "cannot take over a socket or pipe: {source}")
            }
            Error::AdoptFile { path, source } => {
                write!(f, "cannot take over the file {path:?}: {source}")
            }
            Error::Watch { descriptor, source } => {
                write!(f, "cannot watch descriptor {descriptor}: {source}")
            }
            Error::Port(source) => write!(f, "the completion port failed: {source}"),
            Error::Thread(source) => write!(f, "cannot start a reactor's thread: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. }
            | Error::Datagrams { source, .. }
            | Error::Adopt { source, .. }
            | Error::AdoptFile { source, .. }
            | Error::Watch { source, .. }
            | Error::ListenOn(source)
            | Error::Port(source)
            | Error::Thread(source) => Some(source),
            // The message is that of the inner error already.
            Error::Endpoint(source) => source.source(),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Running => io::ErrorKind::ResourceBusy,
            Error::Stopped => io::ErrorKind::ConnectionAborted,
            Error::Listen { source, .. }
            | Error::Datagrams { source, .. }
            | Error::Adopt { source, .. }
            | Error::AdoptFile { source, .. }
            | Error::Watch { source, .. }
            | Error::Endpoint(source)
            | Error::ListenOn(source)
            | Error::Port(source)
            | Error::Thread(source) => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<ConnectError> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: ConnectError) -> io::Error {
        let kind = match (&error, error.io_error()) {
            (_, Some(source)) => source.kind(),
            (ConnectError::Cancelled, None) => io::ErrorKind::Interrupted,
            _ => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}

impl From<FileError> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: FileError) -> io::Error {
        let kind = match &error {
            FileError::Os { source, .. } => source.kind(),
            FileError::Cancelled => io::ErrorKind::Interrupted,
            FileError::Closed => io::ErrorKind::BrokenPipe,
            FileError::Stopped => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}

impl From<SendFileError> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: SendFileError) -> io::Error {
        let kind = match error {
            SendFileError::FileEnded { .. } => io::ErrorKind::UnexpectedEof,
            SendFileError::ConnectionLost { .. } => io::ErrorKind::ConnectionAborted,
            SendFileError::Cancelled { .. } => io::ErrorKind::Interrupted,
            SendFileError::File {
                source: FileError::Os { ref source, .. },
                ..
            } => source.kind(),
            SendFileError::File { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
