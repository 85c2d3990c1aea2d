//! The results of requests: plain data.

use std::fmt;
use std::io;

use super::datagram::{DatagramBatch, DatagramError, Datagrams};
use super::directory::Change;
use super::file::FileOutcome;
use super::handle::{Handle, Operation, Token};
use super::memory::{Buffer, Chunks};
use super::request::RequestKind;
use super::socket::Socket;
use super::watch::Readiness;
use crate::os::{Address, OwnedDescriptor};
use crate::process::{ExitStatus, PipeDirection};

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
        peer: Address,
    },
    /// The socket is connected.
    Connected,
    /// Bytes arrived: at least one.
    Received(Buffer),
    /// Bytes arrived, and descriptors that were sent with one of them: see
    /// [`Request::ReceiveWithDescriptors`](super::Request::ReceiveWithDescriptors).
    ReceivedWithDescriptors(Box<ReceivedWithDescriptors>),
    /// The peer sends no more. This ends the operation; sending may go on.
    EndOfFile,
    /// The OS took bytes, not necessarily all: the others are in [`Completion::unsent`].
    Sent {
        /// How many bytes the OS took: at least one.
        bytes: usize,
    },
    /// Datagrams arrived: at least one.
    Datagrams(Datagrams),
    /// A datagram was too large to be received, or one that was sent did not reach its peer. The operation goes on.
    DatagramError(Box<DatagramError>),
    /// The OS took or refused datagrams, at least one unless the operation was cancelled. The batch holds those that are
    /// still to be sent, and the [errors](DatagramBatch::failures) of those that were refused. It also returns its
    /// storage for reuse.
    DatagramsSent(DatagramBatch),
    /// The child process has ended.
    Exited(ExitStatus),
    /// Both directions have ended, or the pipe has no reader left: see [`Request::HangUp`](super::Request::HangUp).
    HungUp,
    /// The file is open.
    FileOpened,
    /// The result of a [`Request::File`](super::Request::File).
    File(FileOutcome),
    /// A part of a file was sent: all of it, unless the file ended before or something stopped it. Go on behind the
    /// bytes that were sent to send the rest.
    FileSent {
        /// How many bytes the OS took.
        bytes: u64,
        /// The failure that stopped it before the end of the part and of the file. Nothing else reports it.
        stopped_by: Option<Box<Failure>>,
    },
    /// A watched descriptor is ready, or a watched handle of Windows is signalled (readable).
    Ready(Readiness),
    /// A watched directory has changed: see [`Port::watch_directory`](super::Port::watch_directory).
    Changed(Vec<Change>),
    /// The handle is closed: every completion of it has been delivered.
    Closed,
}

/// Bytes, and the descriptors that were sent with one of them.
///
/// ```
/// use std::fs::File;
/// use tidewaiter::port::{Completion, Outcome, PassedDescriptors};
///
/// /// Takes what came over a UNIX socket.
/// fn take(completion: Completion) {
///     let Ok(Outcome::ReceivedWithDescriptors(received)) = completion.result else {
///         return;
///     };
///     println!("{} bytes", received.data.len());
///     let PassedDescriptors { descriptors, .. } = received.passed;
///     let files: Vec<File> = descriptors.into_iter().map(File::from).collect();
///     println!("{} files", files.len());
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceivedWithDescriptors {
    /// The bytes: at least one.
    pub data: Buffer,
    /// The descriptors.
    pub passed: PassedDescriptors,
}

/// Descriptors that the peer has passed. Dropping them closes them.
#[derive(Debug)]
#[non_exhaustive]
pub struct PassedDescriptors {
    /// The descriptors, in the peer's order. They are ours alone, and closed on exec.
    pub descriptors: Vec<OwnedDescriptor>,
    /// Whether the OS has dropped some: as a rule, because this process has as many descriptors open as it may
    /// (`RLIMIT_NOFILE`). The bytes are not affected.
    pub some_lost: bool,
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

    /// Whether a connection or a pipe failed, rather than what was to be sent through it.
    pub(crate) fn is_of_connection(&self) -> bool {
        use io::ErrorKind;
        match self {
            Failure::Cancelled => true,
            Failure::Os { source, .. } => matches!(
                source.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected
                    | ErrorKind::TimedOut
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::NetworkDown
            ),
        }
    }

    /// Whether the port itself lacks the operation.
    pub(crate) fn is_unsupported(&self) -> bool {
        match self {
            Failure::Cancelled => false,
            Failure::Os { source, .. } => {
                source.kind() == io::ErrorKind::Unsupported && source.raw_os_error().is_none()
            }
        }
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
///
/// ```
/// use tidewaiter::port::{
///     CloseMode, Completion, Failure, Handle, ListenOptions, Operation, Port, PortOptions, Request,
///     RequestKind, Token,
/// };
///
/// let mut port = Port::open(&PortOptions::default())?;
/// let listener: Handle = port.listen(&ListenOptions::new(([127, 0, 0, 1], 0)))?;
/// let accept: Operation = port.submit(listener, Request::Accept, Token(1))?;
/// port.cancel(accept);
/// let mut completions: Vec<Completion> = Vec::new();
/// while completions.is_empty() {
///     port.wait(None, &mut completions)?;
/// }
/// let last = completions.remove(0);
/// assert_eq!((last.token, last.operation), (Token(1), accept));
/// assert_eq!((last.kind, last.more), (RequestKind::Accept, false));
/// assert!(matches!(last.result, Err(Failure::Cancelled)));
/// port.close(listener, CloseMode::Graceful, Token(2))?;
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// The bytes of a [`Request::Send`](super::Request::Send), or to write to a file, that the OS did not take, in their order, whether the send
    /// succeeded, failed or was cancelled. A send that failed or was cancelled may nevertheless
    /// have sent some of them. Empty for every other request.
    ///
    /// Also returns the queue's storage for reuse, and the sent memory until
    /// [`Chunks::release_sent`](super::Chunks::release_sent): dropping that memory may run the program's code, and a port runs
    /// none.
    pub unsent: Chunks,
}

/// A child process that a port has started.
///
/// ```
/// use tidewaiter::port::sim::{Sim, programs};
/// use tidewaiter::port::{Request, Spawned, SpawnedPipe, Token};
/// use tidewaiter::process::{Command, PipeDirection};
///
/// let sim = Sim::new(7);
/// sim.program("cat", || programs::Cat);
/// let mut port = sim.port();
/// let Spawned { process, pipes, .. } = port.spawn(&Command::new("cat"))?;
/// for SpawnedPipe { child_fd, direction, handle, .. } in pipes {
///     if direction == PipeDirection::FromChild {
///         port.submit(handle, Request::Receive, Token(child_fd.into()))?;
///     }
/// }
/// port.submit(process, Request::Exit, Token(9))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spawned {
    /// The process. Submit [`Request::Exit`](super::Request::Exit) on it to learn how it ends.
    pub process: Handle,
    /// The OS's number for the process.
    pub pid: u32,
    /// Our ends of the pipes to the child, in the order of the child's descriptors.
    pub pipes: Vec<SpawnedPipe>,
}

impl Spawned {
    /// Our end of the pipe at the child's descriptor `child_fd`, if there is one.
    #[must_use]
    pub fn pipe(&self, child_fd: u32) -> Option<Handle> {
        let pipe = self.pipes.iter().find(|pipe| pipe.child_fd == child_fd);
        pipe.map(|pipe| pipe.handle)
    }
}

/// Our end of a pipe to a child that a port has started.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpawnedPipe {
    /// The child's descriptor at the other end.
    pub child_fd: u32,
    /// Which way bytes go through the pipe: whether we [send](super::Request::Send),
    /// [receive](super::Request::Receive), or both.
    pub direction: PipeDirection,
    /// Whether our sending side can be ended alone, by [`Port::shutdown_write`](super::Port::shutdown_write). Only some
    /// pipes that go both ways can do that.
    pub half_closes: bool,
    /// The handle of our end.
    pub handle: Handle,
}
