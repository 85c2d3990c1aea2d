//! Where to connect to, and how.

use std::time::Duration;

use crate::endpoint::{ATTEMPT_DELAY, Endpoint, ToEndpoint};
use crate::os::Address;
use crate::port::{PipeConnectOptions, SocketOption};

/// How long connecting may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(super) endpoint: Endpoint,
    pub(super) timeout: Option<Duration>,
    pub(super) local: Option<Endpoint>,
    pub(super) packets: bool,
    pub(super) attempt_delay: Duration,
    pub(super) pipe: PipeConnectOptions,
    pub(super) socket_options: Vec<SocketOption>,
}

impl ConnectOptions {
    /// Connects to `port` of `host`: a name, or an IPv4 or IPv6 address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> ConnectOptions {
        ConnectOptions::to((host.into(), port))
    }

    /// Whether a connection to `peer` carries packets or messages.
    pub(super) fn keep_packets(&self, peer: &Address) -> bool {
        match peer {
            Address::Pipe(_) => self.pipe.mode.has_messages(),
            _ => self.packets,
        }
    }

    /// Connects to an address, a host and a port, or what a text stands for: see [`ToEndpoint`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::ConnectOptions;
    ///
    /// let options = ConnectOptions::to("example.org:80").timeout(Duration::from_secs(5));
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn to(endpoint: impl ToEndpoint) -> ConnectOptions {
        ConnectOptions {
            endpoint: endpoint.to_endpoint(),
            timeout: Some(TIMEOUT),
            local: None,
            packets: false,
            attempt_delay: ATTEMPT_DELAY,
            pipe: PipeConnectOptions::default(),
            socket_options: Vec::new(),
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
    /// kind and family are tried. A name is looked up before the one to connect to; each family has its first address.
    ///
    /// ```
    /// use tidewaiter::ConnectOptions;
    ///
    /// let options = ConnectOptions::to("localhost:8080").local_address("127.0.0.1:0");
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn local_address(mut self, local: impl ToEndpoint) -> ConnectOptions {
        self.local = Some(local.to_endpoint());
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

    /// Sets an option of the TCP socket before it connects, besides those that were set before. Connecting fails if the OS
    /// refuses it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::ConnectOptions;
    /// use tidewaiter::port::SocketOption;
    ///
    /// let options = ConnectOptions::to("example.org:80")
    ///     .socket_option(SocketOption::NoDelay(true))
    ///     .socket_option(SocketOption::KeepAlive(Some(Duration::from_secs(60))));
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn socket_option(mut self, option: SocketOption) -> ConnectOptions {
        self.socket_options.push(option);
        self
    }

    /// Sets what is particular to named pipes, without effect on other addresses.
    #[must_use]
    pub fn pipe(mut self, options: PipeConnectOptions) -> ConnectOptions {
        self.pipe = options;
        self
    }
}

impl<E: ToEndpoint> From<E> for ConnectOptions {
    fn from(endpoint: E) -> ConnectOptions {
        ConnectOptions::to(endpoint)
    }
}
