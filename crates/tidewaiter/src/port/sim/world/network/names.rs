//! The addresses of the simulated host: which are there, free and taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Listener;
use crate::port::sim::faults::Call;
use crate::port::sim::world::World;
use crate::port::table::Key;

pub(in super::super) const FIRST_EPHEMERAL_PORT: u16 = 49152;

impl World {
    /// Binds a socket that will connect to `peer`.
    pub(crate) fn bind(
        &mut self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<SocketAddr> {
        if let Some(error) = self.requested_failures.take(Call::OpenStream) {
            return Err(error);
        }
        let mut address = local.unwrap_or_else(|| SocketAddr::new(unspecified(peer.ip()), 0));
        if address.is_ipv4() != peer.is_ipv4() {
            let message =
                format!("{address} cannot connect to {peer}: one is IPv4, the other IPv6");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if is_reserved(address.ip()) {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        if address.ip().is_unspecified() {
            address.set_ip(reachable(peer.ip()));
        }
        if address.port() == 0 {
            address.set_port(self.free_port(address.ip())?);
        }
        let taken = self
            .listeners
            .iter()
            .any(|(_, listener)| listener.serves(address));
        if taken || !self.bound.insert(address) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(address)
    }

    /// Releases the address of a socket that never became a connection: undoes [`World::bind`].
    pub(crate) fn unbind(&mut self, address: SocketAddr) {
        self.bound.remove(&address);
    }

    pub(super) fn free_port(&mut self, ip: IpAddr) -> io::Result<u16> {
        for _ in FIRST_EPHEMERAL_PORT..=u16::MAX {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
            let listening = |(_, listener): (Key, &Listener)| listener.address.port() == port;
            let bound = self.bound.contains(&SocketAddr::new(ip, port));
            if !bound && !self.listeners.iter().any(listening) {
                return Ok(port);
            }
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }
}

impl Listener {
    /// Whether the listener accepts connections to `target`.
    pub(super) fn serves(&self, target: SocketAddr) -> bool {
        let (own, ip) = (self.address.ip(), target.ip());
        let same_family = own.is_ipv4() == ip.is_ipv4();
        let takes_v4 = own.is_ipv6() && !self.only_v6;
        let everywhere = own.is_unspecified() && (same_family || takes_v4);
        self.address.port() == target.port() && (own == ip || everywhere)
    }
}

pub(in super::super) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Maps the unspecified address to this host.
pub(in super::super) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether nobody has this address: it is reserved for documentation.
pub(in super::super) fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xDB8],
    }
}
