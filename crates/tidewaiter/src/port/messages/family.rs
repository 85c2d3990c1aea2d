//! The families of datagram sockets.

use socket2::Domain;

use crate::os::Address;

/// The family of a socket's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Unix,
}

impl Family {
    /// The family of an address; `None` for one that no socket has.
    pub(super) fn of(address: &Address) -> Option<Family> {
        match address {
            Address::Ip(ip) if ip.is_ipv4() => Some(Family::V4),
            Address::Ip(_) => Some(Family::V6),
            Address::Unix(_) => Some(Family::Unix),
            Address::Pipe(_) => None,
        }
    }

    pub(super) fn domain(self) -> Domain {
        match self {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
            Family::Unix => Domain::UNIX,
        }
    }
}
