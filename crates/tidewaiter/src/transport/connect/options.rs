//! Where to connect to, and how.

use std::net::SocketAddr;
use std::time::Duration;

use crate::endpoint::{ATTEMPT_DELAY, HostPort};

/// How long connecting may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(super) target: HostPort,
    /// The target, if it was given as an address. A `HostPort` cannot hold an IPv6 scope or flow label.
    pub(super) address: Option<SocketAddr>,
    pub(super) timeout: Option<Duration>,
    pub(super) local: Option<SocketAddr>,
    pub(super) attempt_delay: Duration,
}

impl ConnectOptions {
    /// Connects to `port` of `host`: a name, or an IPv4 or IPv6 address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> ConnectOptions {
        ConnectOptions {
            target: HostPort {
                host: host.into(),
                port,
            },
            address: None,
            timeout: Some(TIMEOUT),
            local: None,
            attempt_delay: ATTEMPT_DELAY,
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
    /// family are tried.
    #[must_use]
    pub fn local_address(mut self, local: SocketAddr) -> ConnectOptions {
        self.local = Some(local);
        self
    }

    /// Sets how long an address has to answer before the next one is tried beside it: 250 ms by default, held
    /// between 10 ms and 2 s.
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> ConnectOptions {
        self.attempt_delay = delay;
        self
    }
}

impl From<SocketAddr> for ConnectOptions {
    fn from(address: SocketAddr) -> ConnectOptions {
        let options = ConnectOptions::new(address.ip().to_string(), address.port());
        ConnectOptions {
            address: Some(address),
            ..options
        }
    }
}

impl From<HostPort> for ConnectOptions {
    fn from(target: HostPort) -> ConnectOptions {
        ConnectOptions::new(target.host, target.port)
    }
}

impl From<(&str, u16)> for ConnectOptions {
    fn from((host, port): (&str, u16)) -> ConnectOptions {
        ConnectOptions::new(host, port)
    }
}
