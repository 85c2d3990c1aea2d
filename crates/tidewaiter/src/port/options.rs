//! Options of ports and sockets, and a port's description.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use super::pipe_options::PipeListenOptions;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::os::Address;

/// A kind of completion port.
///
/// ```
/// use tidewaiter::port::PortKind;
///
/// let kind: PortKind = "uring".parse()?;
/// assert_eq!(kind, PortKind::Uring);
/// let reactor = tidewaiter::Reactor::new()?;
/// println!("this machine gives us {}", reactor.port_info().kind);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortKind {
    /// Windows I/O completion ports.
    Iocp,
    /// Linux io_uring.
    Uring,
    /// Readiness (epoll on Linux, kqueue on other Unixes): the port performs an operation once the OS says
    /// that it can proceed.
    Poll,
    /// The simulation, without an OS: see [`sim`](super::sim).
    Sim,
}

impl PortKind {
    /// Whether sockets send messages apart from each other, and pass descriptors.
    pub(crate) fn has_messages(self) -> bool {
        self != PortKind::Iocp
    }

    /// The short name: `iocp`, `uring`, `poll` or `sim`. The environment variable `TIDEWAITER_PORT` takes the
    /// first three.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PortKind::Iocp => "iocp",
            PortKind::Uring => "uring",
            PortKind::Poll => "poll",
            PortKind::Sim => "sim",
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PortKind {
    type Err = ParsePortKindError;

    fn from_str(name: &str) -> Result<PortKind, ParsePortKindError> {
        match name {
            "iocp" => Ok(PortKind::Iocp),
            "uring" => Ok(PortKind::Uring),
            "poll" => Ok(PortKind::Poll),
            _ => Err(ParsePortKindError {
                name: name.to_owned(),
            }),
        }
    }
}

/// The error of parsing a [`PortKind`]: the text is not `iocp`, `uring` or `poll`.
///
/// ```
/// use tidewaiter::port::{ParsePortKindError, PortKind};
///
/// let error: ParsePortKindError = "epoll".parse::<PortKind>().unwrap_err();
/// assert!(error.to_string().contains("expected `iocp`, `uring` or `poll`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePortKindError {
    name: String,
}

impl fmt::Display for ParsePortKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown completion port {:?}: expected `iocp`, `uring` or `poll`",
            self.name
        )
    }
}

impl std::error::Error for ParsePortKindError {}

impl From<ParsePortKindError> for io::Error {
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with the error as the inner one.
    fn from(error: ParsePortKindError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// How to open a port: see [`Port::open`](super::Port::open).
///
/// The fields are public, the struct is not exhaustive: take the default and change fields.
///
/// ```
/// use tidewaiter::port::PortOptions;
///
/// let mut options = PortOptions::default();
/// options.receive_bytes = 4096;
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortOptions {
    /// Which kind of port to open. `None`, the default: the kind that the environment variable
    /// `TIDEWAITER_PORT` names, otherwise the best that this machine allows.
    pub kind: Option<PortKind>,
    /// The most bytes that one [`Outcome::Received`](super::Outcome::Received) holds: 16 KiB by default, at
    /// least 1, less than 2 GiB.
    ///
    /// The readiness port receives up to a sixteenth more from a connection, and the port of Windows from
    /// everything: a message of exactly this length then does not fill the buffer, so the port sees that
    /// nothing follows it.
    pub receive_bytes: usize,
    /// The most bytes that one `Received` holds while bytes arrive in bulk: from a pipe that was full, or from
    /// a connection that brings much without a pause. 68 KiB by default, less than 2 GiB; less than `receive_bytes`
    /// counts as `receive_bytes`. On Linux, such a pipe is also enlarged to 256 KiB.
    ///
    /// Programs like to send 64 KiB at a time. With somewhat more memory, such a message does not fill it, so that no
    /// further call has to find out that nothing follows.
    pub surge_bytes: usize,
    /// The most receive buffers of `receive_bytes` that the port has: 256 by default.
    ///
    /// io_uring takes a power of two from 1 to 32768, and begins with 32 of them. The other ports
    /// take any number, and keep up to that many unused buffers for reuse. On Windows, busy
    /// connections may hold further buffers, of up to 16 MiB together, while they wait for bytes.
    pub receive_buffers: u16,
    /// The number of entries in io_uring's submission queue: 1024 by default, at least 1. The
    /// kernel rounds up to a power of two, and down to 32768.
    pub submission_entries: u32,
    /// The number of entries in io_uring's completion queue: 8192 by default, at least 1. The
    /// kernel rounds up to a power of two, and down to 65536. It keeps further completions and
    /// delivers them later, so none is lost.
    pub completion_entries: u32,
}

/// The largest size of a receive buffer: the OS takes no more in one call.
pub(super) const RECEIVE_BYTES_MAX: usize = i32::MAX.cast_unsigned() as usize;

impl PortOptions {
    /// Refuses options that no port supports.
    pub(super) fn check(&self) -> io::Result<()> {
        let refused = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        if !(1..=RECEIVE_BYTES_MAX).contains(&self.receive_bytes) {
            return refused("`receive_bytes` must be between 1 and 2^31 - 1");
        }
        if self.surge_bytes > RECEIVE_BYTES_MAX {
            return refused("`surge_bytes` must be less than 2^31");
        }
        Ok(())
    }
}

impl Default for PortOptions {
    fn default() -> Self {
        PortOptions {
            kind: None,
            receive_bytes: 16 * 1024,
            surge_bytes: 68 * 1024,
            receive_buffers: 256,
            submission_entries: 1024,
            completion_entries: 8192,
        }
    }
}

/// A port's backend, and the reason for choosing it.
///
/// ```
/// use tidewaiter::port::PortInfo;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let info: PortInfo = reactor.port_info().clone();
/// println!("{}, because {}; uses {:?}", info.kind, info.reason, info.features);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortInfo {
    /// The backend.
    pub kind: PortKind,
    /// The reason for choosing it: "asked for by TIDEWAITER_PORT", "io_uring was refused:
    /// io_uring_setup: …".
    pub reason: String,
    /// The names of the OS's features that it uses: "multishot receive", "deferred task work", …
    pub features: Vec<String>,
}

impl fmt::Display for PortInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.reason)
    }
}

/// The address to listen on, and how.
///
/// The fields are public, the struct is not exhaustive: begin with an endpoint, and change fields, or call the methods of
/// the same names.
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::port::{ListenOptions, SocketOption};
///
/// let options = ListenOptions::new("localhost:8080")
///     .backlog(16)
///     .socket_option(SocketOption::NoDelay(true))
///     .socket_option(SocketOption::KeepAlive(Some(Duration::from_secs(60))));
/// assert_eq!(options.socket_options.len(), 2);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Where to listen; with port 0, the OS chooses one. A [`Port`](super::Port) takes addresses alone; a reactor also
    /// reads texts and looks names up, as [`ToEndpoint`] says. Which ports listen on which addresses, [`Address`] tells.
    pub endpoint: Endpoint,
    /// The number of connections that may wait to be accepted: 1024 by default. The OS may cap it,
    /// on Linux to `net.core.somaxconn`. On a named pipe, it is always 8; further clients wait outside.
    pub backlog: u32,
    /// Whether several sockets may listen on the same address, over which the kernel spreads the connections
    /// (Linux, and simulations): false by default. Each of the sockets must set it. On other systems,
    /// listening fails with [`Unsupported`](std::io::ErrorKind::Unsupported).
    pub reuse_port: bool,
    /// Whether a listener on an IPv6 address refuses IPv4 connections: true by default. Without effect on an
    /// IPv4 address.
    pub only_v6: bool,
    /// Whether a reactor accepts connections one at a time, the next one after the
    /// [`connection_made`](crate::Protocol::connection_made) of the one before: false by default. A
    /// [pause](crate::Listener::pause_accepting) then leaves all further connections in the backlog; otherwise the
    /// port may have accepted some already. Each connection costs a little more.
    ///
    /// A [`Port`](super::Port) ignores this: submit [`Request::AcceptOne`](super::Request::AcceptOne) instead.
    pub one_at_a_time: bool,
    /// Whether accepted sockets are for other programs, such as the standard streams of a child: false by default. On
    /// Windows, they are then not made for overlapped I/O, which ordinary programs do not use, and no port can
    /// [adopt](super::Port::adopt) them. Elsewhere, any socket will do. Simulations refuse to listen then, with
    /// [`Unsupported`](std::io::ErrorKind::Unsupported).
    ///
    /// A reactor decides for itself:
    /// [`listen_for_programs`](crate::Reactor::listen_for_programs) sets it, the other calls do not.
    pub for_programs: bool,
    /// Whether the connections of a UNIX socket carry sequenced packets (`SOCK_SEQPACKET`) instead of a stream: false by
    /// default. Both ends must agree. See [`ConnectOptions::sequenced_packets`](crate::ConnectOptions::sequenced_packets).
    pub sequenced_packets: bool,
    /// Options that are set on the listening TCP socket before it is bound, and that its connections inherit: none by
    /// default. Where the OS does not pass them on, a reactor sets them on each connection.
    pub socket_options: Vec<SocketOption>,
    /// How the file of a UNIX socket is made and removed. Without effect on other addresses, but a mode or an owner is
    /// refused for them.
    pub socket_file: SocketFileOptions,
    /// The options of named pipes alone. Without effect on other addresses.
    pub pipe: PipeListenOptions,
}

impl ListenOptions {
    /// Listens on `endpoint`, with the defaults for everything else.
    #[must_use]
    pub fn new(endpoint: impl ToEndpoint) -> ListenOptions {
        ListenOptions {
            endpoint: endpoint.to_endpoint(),
            backlog: 1024,
            reuse_port: false,
            only_v6: true,
            one_at_a_time: false,
            for_programs: false,
            sequenced_packets: false,
            socket_options: Vec::new(),
            socket_file: SocketFileOptions::default(),
            pipe: PipeListenOptions::default(),
        }
    }

    /// Sets [`backlog`](ListenOptions#structfield.backlog).
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Sets [`reuse_port`](ListenOptions#structfield.reuse_port).
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.reuse_port = reuse;
        self
    }

    /// Sets [`only_v6`](ListenOptions#structfield.only_v6).
    #[must_use]
    pub fn only_v6(mut self, only_v6: bool) -> ListenOptions {
        self.only_v6 = only_v6;
        self
    }

    /// Sets [`one_at_a_time`](ListenOptions#structfield.one_at_a_time).
    #[must_use]
    pub fn one_at_a_time(mut self, one: bool) -> ListenOptions {
        self.one_at_a_time = one;
        self
    }

    /// Sets [`sequenced_packets`](ListenOptions#structfield.sequenced_packets).
    #[must_use]
    pub fn sequenced_packets(mut self, packets: bool) -> ListenOptions {
        self.sequenced_packets = packets;
        self
    }

    /// Adds one to the [`socket_options`](ListenOptions#structfield.socket_options).
    #[must_use]
    pub fn socket_option(mut self, option: SocketOption) -> ListenOptions {
        self.socket_options.push(option);
        self
    }

    /// Sets the [mode](SocketFileOptions::mode) of a UNIX socket's file.
    ///
    /// ```
    /// use std::path::Path;
    /// use tidewaiter::port::ListenOptions;
    ///
    /// let options = ListenOptions::new(Path::new("/run/app.sock")).socket_mode(0o600);
    /// assert_eq!(options.socket_file.mode, Some(0o600));
    /// ```
    #[must_use]
    pub fn socket_mode(mut self, mode: u32) -> ListenOptions {
        self.socket_file.mode = Some(mode);
        self
    }

    /// Sets the [options of named pipes](ListenOptions#structfield.pipe).
    #[must_use]
    pub fn pipe(mut self, options: PipeListenOptions) -> ListenOptions {
        self.pipe = options;
        self
    }

    /// Refuses options that no port supports.
    pub(super) fn check(&self) -> io::Result<()> {
        self.socket_file.check(self.address()?)
    }

    /// The address to listen on.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for an endpoint that is no address.
    pub(crate) fn address(&self) -> io::Result<&Address> {
        self.endpoint.expect_address()
    }
}

/// How the file of a UNIX socket is made and removed.
///
/// Closing the socket removes its file, if the path still leads to that file. A forked copy of the process does not
/// remove it.
///
/// ```
/// use std::path::Path;
/// use tidewaiter::port::{ListenOptions, SocketFileOptions};
///
/// let mut file = SocketFileOptions::default();
/// file.mode = Some(0o660);
/// file.lock = false;
/// let mut options = ListenOptions::new(Path::new("/run/app.sock"));
/// options.socket_file = file;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketFileOptions {
    /// The permission bits of the file, such as `0o600`. `None`, the default: `0o777` without the bits of the process's
    /// umask. To connect, a user needs permission to write to the file, and to search its folder.
    ///
    /// Nobody can connect before the file has these bits.
    ///
    /// Windows has no such bits: there, listening fails with [`Unsupported`](std::io::ErrorKind::Unsupported) for a mode, and
    /// likewise for an owner or a group. The access list of the folder decides which users can connect.
    pub mode: Option<u32>,
    /// The number of the user that owns the file. `None`, the default: the user of the process.
    pub owner: Option<u32>,
    /// The number of the group of the file. `None`, the default: the group of the process or of the folder, as the OS
    /// decides.
    pub group: Option<u32>,
    /// Whether a lock keeps other servers away from the path, and the file of a dead server is replaced: true by default.
    ///
    /// The lock is a file beside the socket's, with `.lock` after its name, that the OS locks (on Unix by `flock`, on Windows
    /// by opening it for this process alone) until the socket is closed or the process ends. Of several servers that start at once, one gets the lock, and the others fail with
    /// [`AddrInUse`](std::io::ErrorKind::AddrInUse). Listening also fails so where a server lives that does not use the
    /// lock, which is found out by connecting to it, and where there is a file that is no socket. The folder must be
    /// writable.
    ///
    /// With false, every existing file makes listening fail with `AddrInUse`.
    pub lock: bool,
}

/// All permission bits of a file.
const MODE_MAX: u32 = 0o7777;

impl SocketFileOptions {
    /// Refuses a mode that is none, and a mode or an owner for an address that has no file.
    pub(super) fn check(&self, address: &Address) -> io::Result<()> {
        let refused = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        if self.mode.is_some_and(|mode| mode > MODE_MAX) {
            return refused("the mode of a socket's file has at most 12 bits");
        }
        let has_file = matches!(address, Address::Unix(name) if name.as_pathname().is_some());
        if !has_file && (self.mode.is_some() || self.owner.is_some() || self.group.is_some()) {
            return refused("only the path of a UNIX socket has a mode and an owner");
        }
        Ok(())
    }
}

impl Default for SocketFileOptions {
    fn default() -> Self {
        SocketFileOptions {
            mode: None,
            owner: None,
            group: None,
            lock: true,
        }
    }
}

impl<E: ToEndpoint> From<E> for ListenOptions {
    fn from(endpoint: E) -> ListenOptions {
        ListenOptions::new(endpoint)
    }
}

/// An option of a TCP socket, for [`Transport::set_option`](crate::Transport::set_option),
/// [`ConnectOptions::socket_option`](crate::ConnectOptions::socket_option) and [`ListenOptions::socket_options`].
///
/// An option that the OS does not have is [`Unsupported`](io::ErrorKind::Unsupported). A simulation takes all of them and
/// heeds none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// Whether the OS sends small segments at once instead of gathering them (`TCP_NODELAY`). Ports leave the
    /// OS's default, which is false.
    NoDelay(bool),
    /// The idle time before the OS first probes whether the peer is still there; `None`, the
    /// default, never probes. At least one second; only Windows takes fractions of a second. The OS
    /// decides how often to probe and when to give up, unless the next two options say so.
    KeepAlive(Option<Duration>),
    /// Turns probing on, and sets the time between two probes that are not answered. At least one second.
    KeepAliveInterval(Duration),
    /// Turns probing on, and sets the number of probes that are not answered before the connection is lost.
    KeepAliveRetries(u32),
    /// The size of the OS's receive buffer in bytes (`SO_RCVBUF`), which the OS may cap. Set it before connecting or
    /// listening, because the peer is told how far it may go when the connection is made.
    ReceiveBuffer(usize),
    /// The size of the OS's send buffer in bytes (`SO_SNDBUF`), which the OS may cap.
    SendBuffer(usize),
    /// How many routers a packet may pass (`IP_TTL`, `IPV6_UNICAST_HOPS`).
    HopLimit(u32),
    /// The type of service, or traffic class, of packets (`IP_TOS`, `IPV6_TCLASS`): DSCP in the upper six bits. Windows
    /// ignores it.
    TypeOfService(u32),
    /// Linux. How long sent bytes may stay without an acknowledgement, before the connection is lost (`TCP_USER_TIMEOUT`);
    /// `None`, the default: as long as the OS tries, about 15 minutes.
    UserTimeout(Option<Duration>),
    /// Linux. The name of the network device that packets are sent to and received from (`SO_BINDTODEVICE`).
    Device(String),
}
