//! The calls of a driver other than its [requests](super::Request), as plain data.

use std::fmt;
use std::io::{self, IoSlice};

use super::datagram::{DatagramBatch, DatagramOptions, Multicast, MulticastSettings};
use super::directory::DirectoryOptions;
use super::options::{ListenOptions, PortKind, SocketOption};
use super::pipe_options::PipeConnectOptions;
use super::serial::{ModemLines, SerialChange, SerialOptions};
use super::socket::Resource;
use super::watch::Interest;
use crate::os::{Address, OsFile, RawDescriptor};
use crate::process::{OsProcess, Signal, SignalTarget, Survey, TerminalSize, Unreached, Usage};

/// A handle to open.
#[derive(Debug)]
pub(super) enum Open<'a> {
    /// A listening stream socket.
    Listener(&'a ListenOptions),
    /// An unconnected stream socket of the kind and family of `peer`, bound to `local` if given.
    Stream {
        peer: &'a Address,
        local: Option<&'a Address>,
        /// Whether it carries sequenced packets instead of a stream.
        packets: bool,
    },
    /// A datagram socket.
    Datagrams(&'a DatagramOptions),
    /// A serial port.
    Serial(&'a SerialOptions),
    /// A client of a named pipe, to be opened by a connect.
    Pipe(PipeConnectOptions),
    /// A file, for [`Request::OpenFile`](super::Request::OpenFile) to open.
    UnopenedFile,
    /// A socket, pipe or file that was made elsewhere. It is closed if the driver does not take it.
    Adopted(Resource),
}

/// An object of the program to watch, without a handle.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only Windows has handles to watch")]
pub(super) enum Watched<'a> {
    /// A descriptor of Unix or a socket of Windows: reports the readiness that the interest includes.
    Descriptor(RawDescriptor, Interest),
    /// A waitable object of Windows: reports that it is signalled.
    Handle(RawDescriptor),
    /// A directory: reports changes in it.
    Directory(&'a DirectoryOptions),
}

impl Watched<'_> {
    /// The kind of object, in the plural.
    pub(super) fn name(self) -> &'static str {
        match self {
            Watched::Descriptor(..) => "descriptors",
            Watched::Handle(_) => "handles",
            Watched::Directory(_) => "directories",
        }
    }
}

/// The error of a port that cannot `verb` ("watch", "connect to") such an object.
pub(super) fn unsupported(port: PortKind, verb: &str, object: impl fmt::Display) -> io::Error {
    let message = format!("the {port} port does not {verb} {object}");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// The most pieces of [`Offer::PressingBytes`].
pub(crate) const PRESSED_PIECES_MAX: usize = 64;

/// The most bytes of an offer: kernels take somewhat less than 2 GiB in one send, and some refuse more.
pub(crate) const PRESSED_BYTES_MAX: usize = 1 << 30;

/// Data to send at once, without an operation.
#[derive(Debug)]
pub(super) enum Offer<'a> {
    /// On a stream: bytes, of which the OS may take some.
    Bytes(&'a [u8]),
    /// The same in several pieces, also where an operation would be cheaper: the caller waits for what becomes of them,
    /// or would have to copy them.
    PressingBytes(&'a [IoSlice<'a>]),
    /// On a datagram socket: datagrams, of which those that the OS took or refused leave the batch.
    Datagrams(&'a mut DatagramBatch),
}

/// A change to the object behind a handle. It takes effect at once, without an operation.
#[derive(Debug)]
pub(super) enum Control<'a> {
    /// Sends a signal to a child process, or to its tree.
    Signal(SignalCall<'a>),
    /// Sets the size of a child's terminal.
    Resize(TerminalSize),
    /// Sets an option of a socket.
    SetOption(SocketOption),
    /// Half-closes a stream socket: the peer receives an end of file after the bytes sent so far.
    ShutdownWrite,
    /// Holds back the last partial segment of each send, or releases it. Does nothing if the OS has no such option.
    HoldEnds(bool),
    /// Connects a datagram socket to a peer, or takes back the connection.
    SetPeer(Option<&'a Address>),
    /// Changes what a UDP socket receives from or sends to multicast groups.
    Multicast(Multicast),
    /// Changes a serial port.
    Serial(SerialChange),
}

/// A signal for a child process or its tree.
#[derive(Debug)]
pub(super) struct SignalCall<'a> {
    pub(super) signal: Signal,
    pub(super) target: SignalTarget,
    /// What the port knows about all processes.
    pub(super) survey: &'a mut Survey,
    /// The result: the processes that the signal did not reach.
    pub(super) unreached: &'a mut Unreached,
}

impl SignalCall<'_> {
    /// Sends the signal to a process of the OS.
    pub(super) fn send(self, process: &OsProcess) -> io::Result<()> {
        *self.unreached = process.signal(self.signal, self.target, self.survey)?;
        Ok(())
    }
}

/// A question about the object behind a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    /// The address that a socket is bound to: an [`Answer::Address`].
    LocalAddress,
    /// The address that a socket is connected to: an [`Answer::Address`].
    PeerAddress,
    /// The OS's number of a socket or pipe: an [`Answer::RawDescriptor`].
    RawDescriptor,
    /// The number of sent bytes that the peer's system has not acknowledged: an [`Answer::Bytes`].
    Unacknowledged,
    /// The lines of a serial port that the other side sets: an [`Answer::ModemLines`].
    ModemLines,
    /// What a child process used: an [`Answer::Usage`].
    Usage,
    /// The OS's open file: an [`Answer::File`].
    File,
    /// The process and the user at the other end of a UNIX socket: an [`Answer::Credentials`].
    PeerCredentials,
    /// How a UDP socket sends to multicast groups: an [`Answer::Multicast`].
    Multicast,
}

/// The process at the other end of a UNIX socket, and its user, as they were when it connected or began to listen; or the
/// process at the other end of a named pipe.
///
/// The process may have ended since, and another one may have its number.
///
/// ```
/// use tidewaiter::Transport;
/// use tidewaiter::port::PeerCredentials;
///
/// /// Whether the client on a UNIX socket runs as this user.
/// fn is_user(transport: &Transport, number: u32) -> std::io::Result<bool> {
///     let PeerCredentials { user, .. } = transport.peer_credentials()?;
///     Ok(user == Some(number))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The number of the process; `None` where the OS does not tell (it does on Linux and Windows), and for a process in a namespace
    /// that we cannot see.
    pub process: Option<u32>,
    /// The number of its effective user; `None` on Windows, where users have no numbers.
    pub user: Option<u32>,
    /// The number of its effective group; `None` on Windows.
    pub group: Option<u32>,
}

/// The answer to a [`Query`].
#[derive(Debug)]
pub(super) enum Answer {
    Address(Address),
    RawDescriptor(RawDescriptor),
    Bytes(usize),
    ModemLines(ModemLines),
    Usage(Option<Usage>),
    File(OsFile),
    Credentials(PeerCredentials),
    Multicast(MulticastSettings),
}

impl Answer {
    pub(super) fn address(self) -> Address {
        match self {
            Answer::Address(address) => address,
            other => unreachable!("{other:?} is no address"),
        }
    }

    pub(super) fn raw_descriptor(self) -> RawDescriptor {
        match self {
            Answer::RawDescriptor(number) => number,
            other => unreachable!("{other:?} is no descriptor"),
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Answer::Bytes(count) => count,
            other => unreachable!("{other:?} is no number of bytes"),
        }
    }

    pub(super) fn modem_lines(self) -> ModemLines {
        match self {
            Answer::ModemLines(lines) => lines,
            other => unreachable!("{other:?} is not about lines"),
        }
    }

    pub(super) fn credentials(self) -> PeerCredentials {
        match self {
            Answer::Credentials(credentials) => credentials,
            other => unreachable!("{other:?} is no credentials"),
        }
    }

    pub(super) fn multicast(self) -> MulticastSettings {
        match self {
            Answer::Multicast(settings) => settings,
            other => unreachable!("{other:?} is not about groups"),
        }
    }

    pub(super) fn usage(self) -> Option<Usage> {
        match self {
            Answer::Usage(usage) => usage,
            other => unreachable!("{other:?} is no usage"),
        }
    }

    pub(super) fn file(self) -> OsFile {
        match self {
            Answer::File(file) => file,
            other => unreachable!("{other:?} is no file"),
        }
    }
}
