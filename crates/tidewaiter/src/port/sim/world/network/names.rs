//! The names of the simulated host: which addresses there are, and which are free or taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Listener;
use crate::os::{Address, UnixAddress};
use crate::port::ListenOptions;
use crate::port::admission::invalid;
use crate::port::listening::not_shared;
use crate::port::sim::faults::Call;
use crate::port::sim::world::World;
use crate::port::table::Key;

pub(in super::super) const FIRST_EPHEMERAL_PORT: u16 = 49152;

/// A stream socket that is not connected yet.
#[derive(Clone, Debug)]
pub(crate) struct Unconnected {
    /// It is bound to this address, unless the address is that of a UNIX socket without a name.
    pub(crate) local: Address,
    /// Whether it carries sequenced packets.
    pub(crate) packets: bool,
}

impl World {
    /// The address that a listener gets.
    pub(super) fn listening_address(&mut self, options: &ListenOptions) -> io::Result<Address> {
        match options.address()? {
            Address::Ip(_) if options.sequenced_packets => Err(packets_over_ip()),
            Address::Ip(address) => {
                let mut address = *address;
                if is_reserved(address.ip()) {
                    return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
                }
                if address.port() == 0 {
                    address.set_port(self.free_port(address.ip())?);
                }
                Ok(address.into())
            }
            _ if options.reuse_port => Err(not_shared("such an address")),
            Address::Unix(name) => {
                self.check_is_free(name)?;
                Ok(Address::Unix(name.clone()))
            }
            Address::Pipe(_) => Err(invalid("a pipe's name is no address of a socket")),
        }
    }

    /// Refuses a name of a UNIX socket that a socket has, and a path at which there is something else.
    pub(in super::super) fn check_is_free(&self, name: &UnixAddress) -> io::Result<()> {
        let problem = if self.has_socket(name) {
            "another server is there"
        } else if name.as_pathname().is_some_and(|path| self.has_file(path)) {
            "there is a file that is no socket"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::AddrInUse, problem))
    }

    /// Whether a UNIX socket has this name.
    fn has_socket(&self, name: &UnixAddress) -> bool {
        let address = Address::from(name.clone());
        let mut listeners = self.network.listeners.iter();
        self.network.bound.contains(&address)
            || listeners.any(|(_, listener)| listener.address == address)
            || self.datagram_socket_named(name).is_some()
    }

    /// Why nobody can be connected to at `peer`, as far as the names tell.
    pub(super) fn refusal(&self, peer: &Address) -> io::ErrorKind {
        match peer {
            Address::Unix(name)
                if name.as_pathname().is_some() && self.check_is_free(name).is_ok() =>
            {
                io::ErrorKind::NotFound
            }
            _ => io::ErrorKind::ConnectionRefused,
        }
    }

    /// Opens a socket that will connect to `peer`, and binds it.
    pub(crate) fn open_stream(
        &mut self,
        peer: &Address,
        local: Option<&Address>,
        packets: bool,
    ) -> io::Result<Key> {
        if let Some(error) = self.requested_failures.take(Call::OpenStream) {
            return Err(error);
        }
        let local = match (peer, local) {
            (Address::Ip(_), _) if packets => return Err(packets_over_ip()),
            (Address::Ip(peer), None) => self.bind_ip(*peer, None)?.into(),
            (Address::Ip(peer), Some(Address::Ip(local))) => {
                self.bind_ip(*peer, Some(*local))?.into()
            }
            (Address::Unix(_), None) => UnixAddress::unnamed().into(),
            (Address::Unix(_), Some(local @ Address::Unix(name))) => {
                self.check_is_free(name)?;
                self.network.bound.insert(local.clone());
                local.clone()
            }
            (peer, Some(local)) => {
                let message = format!("{local} cannot connect to {peer}: they are of two kinds");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            (Address::Pipe(_), None) => {
                return Err(invalid("a pipe's name is no address of a socket"));
            }
        };
        Ok(self
            .network
            .unconnected
            .insert(Unconnected { local, packets }))
    }

    pub(crate) fn unconnected(&self, key: Key) -> &Unconnected {
        let socket = self.network.unconnected.get(key);
        socket.expect("a held socket is open")
    }

    /// Closes a socket that never became a connection: undoes [`World::open_stream`].
    pub(crate) fn close_unconnected(&mut self, key: Key) {
        let socket = self.network.unconnected.remove(key);
        self.unbind(&socket.expect("a held socket is open").local);
    }

    /// Releases the address of a socket that connects or is connected.
    pub(super) fn unbind(&mut self, address: &Address) {
        self.network.bound.remove(address);
    }

    /// Binds a socket that will connect to `peer`.
    fn bind_ip(&mut self, peer: SocketAddr, local: Option<SocketAddr>) -> io::Result<SocketAddr> {
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
        let named = Address::from(address);
        let mut listeners = self.network.listeners.iter();
        let taken = listeners.any(|(_, listener)| listener.serves(&named));
        if taken || !self.network.bound.insert(named) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(address)
    }

    fn free_port(&mut self, ip: IpAddr) -> io::Result<u16> {
        for _ in FIRST_EPHEMERAL_PORT..=u16::MAX {
            let port = self.network.next_port;
            self.network.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
            let listening = |(_, listener): (Key, &Listener)| {
                let address = listener.address.socket_addr();
                address.is_some_and(|address| address.port() == port)
            };
            let bound = self.network.bound.contains(&Address::from((ip, port)));
            if !bound && !self.network.listeners.iter().any(listening) {
                return Ok(port);
            }
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }
}

impl Listener {
    /// Whether the listener accepts connections to `target`.
    pub(super) fn serves(&self, target: &Address) -> bool {
        let (Address::Ip(own), Address::Ip(target)) = (&self.address, target) else {
            return self.address == *target;
        };
        let same_family = own.is_ipv4() == target.is_ipv4();
        let takes_v4 = own.is_ipv6() && !self.only_v6;
        let everywhere = own.ip().is_unspecified() && (same_family || takes_v4);
        own.port() == target.port() && (own.ip() == target.ip() || everywhere)
    }
}

fn packets_over_ip() -> io::Error {
    invalid("only UNIX sockets have sequenced packets")
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

/// The address that a connect to `peer` reaches.
pub(super) fn on_this_host(peer: &Address) -> Address {
    match peer {
        Address::Ip(peer) => SocketAddr::new(reachable(peer.ip()), peer.port()).into(),
        _ => peer.clone(),
    }
}

/// Whether nobody ever answers at this address.
pub(super) fn is_deserted(address: &Address) -> bool {
    matches!(address, Address::Ip(address) if is_reserved(address.ip()))
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
