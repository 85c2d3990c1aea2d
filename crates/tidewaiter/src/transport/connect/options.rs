//! Where to connect to, and how.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::endpoint::{ATTEMPT_DELAY, HostPort};
use crate::os::{Address, PipeName, UnixAddress};
use crate::port::PipeConnectOptions;

/// How long connecting may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(super) target: Target,
    pub(super) timeout: Option<Duration>,
    pub(super) local: Option<Address>,
    pub(super) packets: bool,
    pub(super) attempt_delay: Duration,
    pub(super) pipe: PipeConnectOptions,
}

#[derive(Clone, Debug)]
pub(super) enum Target {
    Host(HostPort),
    Address(Address),
}

impl ConnectOptions {
    /// Connects to `port` of `host`: a name, or an IPv4 or IPv6 address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> ConnectOptions {
        ConnectOptions::to(Target::Host(HostPort {
            host: host.into(),
            port,
        }))
    }

    /// Whether a connection to `peer` carries packets or messages.
    pub(super) fn keep_packets(&self, peer: &Address) -> bool {
        match peer {
            Address::Pipe(_) => self.pipe.mode.has_messages(),
            _ => self.packets,
        }
    }

    fn to(target: Target) -> ConnectOptions {
        ConnectOptions {
            target,
            timeout: Some(TIMEOUT),
            local: None,
            packets: false,
            attempt_delay: ATTEMPT_DELAY,
            pipe: PipeConnectOptions::default(),
        }
    }

    /// Sets how long connecting may take altogether, looking up the name included: 30 s by default. With `None`,
    /// the OS's own limits apply, which may be minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> ConnectOptions {
        self.timeout = timeout.into();
        self
    }

    /// Sets the local address to connect from; with port 0, the OS chooses the port. Only addresses of the same
    /// kind and family are tried.
    #[must_use]
    pub fn local_address(mut self, local: impl Into<Address>) -> ConnectOptions {
        self.local = Some(local.into());
        self
    }

    /// Carries sequenced packets (`SOCK_SEQPACKET`) instead of a stream, on UNIX sockets only; the other end must do so,
    /// too: see [`ListenOptions::sequenced_packets`](crate::port::ListenOptions::sequenced_packets).
    ///
    /// Each [`write`](crate::Transport::write) is one packet, and each packet that arrives is one
    /// [`data_received`](crate::Protocol::data_received). A packet that is longer than the OS takes (on Linux, about
    /// the size of the socket's send buffer), or longer than the [`surge_bytes`](crate::port::PortOptions::surge_bytes)
    /// of the receiver, is never cut: the connection is lost, for a reason that says so. Writing nothing sends nothing,
    /// and an empty packet from the peer counts as its end, because the OS does not tell them apart.
    #[must_use]
    pub fn sequenced_packets(mut self) -> ConnectOptions {
        self.packets = true;
        self
    }

    /// Sets how long an address has to answer before the next one is tried beside it: 250 ms by default, held
    /// between 10 ms and 2 s.
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> ConnectOptions {
        self.attempt_delay = delay;
        self
    }

    /// Sets what is particular to named pipes, without effect on other addresses.
    #[must_use]
    pub fn pipe(mut self, options: PipeConnectOptions) -> ConnectOptions {
        self.pipe = options;
        self
    }
}

impl From<Address> for ConnectOptions {
    fn from(address: Address) -> ConnectOptions {
        ConnectOptions::to(Target::Address(address))
    }
}

impl From<UnixAddress> for ConnectOptions {
    fn from(address: UnixAddress) -> ConnectOptions {
        ConnectOptions::from(Address::from(address))
    }
}

impl From<PipeName> for ConnectOptions {
    fn from(name: PipeName) -> ConnectOptions {
        ConnectOptions::from(Address::from(name))
    }
}

impl From<SocketAddr> for ConnectOptions {
    fn from(address: SocketAddr) -> ConnectOptions {
        ConnectOptions::from(Address::from(address))
    }
}

impl From<HostPort> for ConnectOptions {
    fn from(target: HostPort) -> ConnectOptions {
        ConnectOptions::to(Target::Host(target))
    }
}

impl From<(&str, u16)> for ConnectOptions {
    fn from((host, port): (&str, u16)) -> ConnectOptions {
        ConnectOptions::new(host, port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host(target) => target.fmt(f),
            Target::Address(address) => address.fmt(f),
        }
    }
}
