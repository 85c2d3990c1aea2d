//! How named pipes are made and opened.

/// Whether a named pipe carries bytes or messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeMode {
    /// A stream of bytes, without boundaries, as over TCP.
    #[default]
    Bytes,
    /// Messages: each write is one, and each call of [`data_received`](crate::Protocol::data_received) gets a whole one,
    /// however long it is. The server decides whether a pipe carries messages.
    ///
    /// Other programs can send empty messages, which arrive without a byte. Writing nothing sends nothing.
    Messages {
        /// The most bytes that a received message may have. A longer one ends the connection with
        /// [`InvalidData`](std::io::ErrorKind::InvalidData): no part of it is delivered.
        received_max: usize,
    },
}

impl PipeMode {
    /// Messages, of which a received one may have up to 16 MiB.
    pub const MESSAGES: PipeMode = PipeMode::Messages {
        received_max: 16 << 20,
    };

    /// Whether the pipe carries messages.
    #[must_use]
    pub fn has_messages(self) -> bool {
        matches!(self, PipeMode::Messages { .. })
    }
}

/// How a server makes a named pipe: a part of [`ListenOptions`](super::ListenOptions).
///
/// ```
/// use tidewaiter::PipeName;
/// use tidewaiter::port::{ListenOptions, PipeListenOptions, PipeMode};
///
/// let mut pipe = PipeListenOptions::default();
/// pipe.mode = PipeMode::MESSAGES;
/// pipe.connections_max = Some(10);
/// let options = ListenOptions::new(PipeName::local("app")?).pipe(pipe);
/// # let _ = options;
/// # Ok::<(), tidewaiter::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeListenOptions {
    /// Whether the pipe carries bytes, the default, or messages.
    pub mode: PipeMode,
    /// The users that may open the pipe, in Microsoft's security descriptor definition language (SDDL). `None`, the default:
    /// the owner that the system gives to what this process makes (usually the user; the group of administrators for a
    /// process that runs as administrator), administrators and the system (`D:P(A;;GA;;;OW)(A;;GA;;;SY)(A;;GA;;;BA)`).
    /// Windows's own default also lets everybody read, and thereby occupy instances.
    ///
    /// To let all users of this machine in, but not make instances of their own:
    /// `D:P(A;;GA;;;OW)(A;;0x12019b;;;AU)`. (`GW` would include the right to make instances.) Clients of this crate
    /// ask for exactly the rights `0x12019b`. A simulated pipe lets everybody in.
    pub access: Option<String>,
    /// Whether clients on other machines may connect: false by default.
    pub accepts_remote_clients: bool,
    /// The most connections at a time, from 1 to 253. With `None`, the default, only memory limits them. Further clients
    /// wait until a connection is closed: one of them is connected already, but not accepted.
    pub connections_max: Option<u8>,
    /// The number of bytes that the system holds in each direction while nobody reads: 64 KiB by default. Windows adjusts
    /// it. A simulated pipe holds what [`Faults::capacity`](super::sim::Faults::capacity) says.
    pub buffer_bytes: u32,
}

impl Default for PipeListenOptions {
    fn default() -> PipeListenOptions {
        PipeListenOptions {
            mode: PipeMode::Bytes,
            access: None,
            accepts_remote_clients: false,
            connections_max: None,
            buffer_bytes: 64 * 1024,
        }
    }
}

/// How a client opens a named pipe.
///
/// ```
/// use tidewaiter::port::{Impersonation, PipeConnectOptions, PipeMode};
/// use tidewaiter::{ConnectOptions, PipeName};
///
/// let mut pipe = PipeConnectOptions::default();
/// pipe.mode = PipeMode::MESSAGES;
/// pipe.impersonation = Impersonation::Anonymous;
/// let options = ConnectOptions::to(PipeName::local("app")?).pipe(pipe);
/// # let _ = options;
/// # Ok::<(), tidewaiter::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeConnectOptions {
    /// Whether to receive bytes, the default, or messages. Opening a pipe that carries no messages as one that does fails
    /// with [`InvalidInput`](std::io::ErrorKind::InvalidInput). The other way round, messages arrive as bytes, and each
    /// write may become several messages.
    pub mode: PipeMode,
    /// The rights of the server over the identity of the client's user: to learn it, by default.
    pub impersonation: Impersonation,
}

/// The rights of a server over the identity of the client's user. A program that has taken another's name for its pipe
/// could abuse more than the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Impersonation {
    /// None: the server does not learn the identity.
    Anonymous,
    /// To learn the identity, and what the user may do.
    #[default]
    Identification,
    /// To act as the user, on the server's machine.
    Impersonation,
    /// To act as the user, on other machines as well.
    Delegation,
}
