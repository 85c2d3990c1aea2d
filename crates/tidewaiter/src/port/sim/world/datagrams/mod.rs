//! The simulated datagram sockets: their names, peers and groups, and what has arrived for them.

mod route;
mod transit;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::transit::Transit;
use super::World;
use super::network::{FIRST_EPHEMERAL_PORT, is_reserved, unspecified};
use crate::os::{Address, UnixAddress};
use crate::port::PortKind;
use crate::port::admission::invalid;
use crate::port::calls::unsupported;
use crate::port::datagram::{DatagramOptions, Multicast, MulticastSettings, NetworkInterface};
use crate::port::sim::faults::Call;
use crate::port::table::{Key, Table};

/// The number of the only network interface.
pub(crate) const INTERFACE: u32 = 1;

/// The datagram sockets, and the datagrams between them.
pub(super) struct DatagramNetwork {
    pub(super) sockets: Table<DatagramSocket>,
    next_port: u16,
    /// The IP datagrams on their way, by the time of their arrival and the order of their sending.
    in_transit: BTreeMap<(Duration, u64), Transit>,
    last_transit: u64,
}

impl Default for DatagramNetwork {
    fn default() -> DatagramNetwork {
        DatagramNetwork {
            sockets: Table::default(),
            next_port: FIRST_EPHEMERAL_PORT,
            in_transit: BTreeMap::new(),
            last_transit: 0,
        }
    }
}

/// A datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) local: Address,
    pub(crate) peer: Option<Address>,
    /// Whether it shares its address with other sockets that do, too.
    shared: bool,
    only_v6: bool,
    broadcast: bool,
    pub(crate) packet_info: bool,
    memberships: Vec<Membership>,
    /// Only the loopback has an effect: whether this host receives what the socket sends to groups.
    multicast: MulticastSettings,
    arrivals: VecDeque<Arrival>,
    /// Until then, the queue of the interface is full for this socket.
    full_until: Duration,
}

/// A membership of a multicast group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    group: IpAddr,
    /// The only sender to receive from; `None`: any sender.
    source: Option<IpAddr>,
}

/// An arrival at a socket.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    Datagram {
        bytes: Vec<u8>,
        /// The sender, if it has a name.
        sender: Option<Address>,
        /// The address that an IP datagram was sent to.
        destination: Option<IpAddr>,
    },
    /// A datagram that was sent to `peer` found nobody there.
    Unreachable { peer: Address },
}

impl World {
    pub(crate) fn open_datagrams(&mut self, options: &DatagramOptions) -> io::Result<Key> {
        if let Some(error) = self.requested_failures.take(Call::OpenDatagrams) {
            return Err(error);
        }
        let mut socket = DatagramSocket::new(options)?;
        match &socket.local {
            Address::Ip(local) => socket.local = self.free_ip_name(&socket, *local)?.into(),
            Address::Unix(name) => self.check_is_free(name)?,
            Address::Pipe(_) => {}
        }
        if let Some(peer) = options.peer_address() {
            self.check_peer(&socket, peer)?;
            socket.connect(peer);
        }
        Ok(self.datagrams.sockets.insert(socket))
    }

    /// Connects a socket to a peer, or takes back the connection.
    pub(crate) fn set_peer(&mut self, key: Key, peer: Option<&Address>) -> io::Result<()> {
        if let Some(peer) = peer {
            self.check_peer(self.datagram_socket(key), peer)?;
        }
        let socket = self.datagram_socket_mut(key);
        match peer {
            Some(peer) => socket.connect(peer),
            None => socket.peer = None,
        }
        Ok(())
    }

    /// Whether a socket can have such a peer.
    fn check_peer(&self, socket: &DatagramSocket, peer: &Address) -> io::Result<()> {
        if !socket.reaches(peer) {
            return Err(of_two_kinds(&socket.local, peer));
        }
        match peer {
            Address::Unix(name) if self.datagram_socket_named(name).is_none() => {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
            _ => Ok(()),
        }
    }

    /// Chooses a port, if none is given, and checks that the name is free.
    fn free_ip_name(
        &mut self,
        socket: &DatagramSocket,
        mut local: SocketAddr,
    ) -> io::Result<SocketAddr> {
        if is_reserved(local.ip()) {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        if local.port() == 0 {
            local.set_port(self.free_datagram_port()?);
        }
        let taken = |other: &DatagramSocket| {
            let both_share = other.shared && socket.shared;
            let meets = |other_local| {
                serves(local, socket.only_v6, other_local)
                    || serves(other_local, other.only_v6, local)
            };
            !both_share && other.local.socket_addr().is_some_and(meets)
        };
        if self.datagrams.sockets.iter().any(|(_, other)| taken(other)) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(local)
    }

    fn free_datagram_port(&mut self) -> io::Result<u16> {
        for _ in FIRST_EPHEMERAL_PORT..=u16::MAX {
            let port = self.datagrams.next_port;
            self.datagrams.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
            let has_it = |socket: &DatagramSocket| {
                let local = socket.local.socket_addr();
                local.is_some_and(|local| local.port() == port)
            };
            if !self
                .datagrams
                .sockets
                .iter()
                .any(|(_, other)| has_it(other))
            {
                return Ok(port);
            }
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }

    pub(crate) fn close_datagrams(&mut self, key: Key) {
        let socket = self.datagrams.sockets.remove(key);
        socket.expect("a held socket is open");
    }

    pub(crate) fn datagram_socket(&self, key: Key) -> &DatagramSocket {
        let socket = self.datagrams.sockets.get(key);
        socket.expect("a held socket is open")
    }

    pub(crate) fn datagram_socket_mut(&mut self, key: Key) -> &mut DatagramSocket {
        let socket = self.datagrams.sockets.get_mut(key);
        socket.expect("a held socket is open")
    }

    /// The open datagram socket of this name.
    pub(super) fn datagram_socket_named(&self, name: &UnixAddress) -> Option<Key> {
        let is_it = |local: &Address| matches!(local, Address::Unix(local) if local == name);
        let mut sockets = self.datagrams.sockets.iter();
        let found = sockets.find(|(_, socket)| !name.is_unnamed() && is_it(&socket.local));
        found.map(|(key, _)| key)
    }
}

impl DatagramSocket {
    fn new(options: &DatagramOptions) -> io::Result<DatagramSocket> {
        let local = match (options.local_address(), options.peer_address()) {
            (Some(local), _) => local.clone(),
            (None, Some(Address::Ip(peer))) => SocketAddr::new(unspecified(peer.ip()), 0).into(),
            (None, Some(_)) => UnixAddress::unnamed().into(),
            (None, None) => {
                return Err(invalid("a datagram socket needs a local address or a peer"));
            }
        };
        if let Some(pipe @ Address::Pipe(_)) = options.address() {
            return Err(unsupported(PortKind::Sim, "exchange datagrams at", pipe));
        }
        Ok(DatagramSocket {
            local,
            peer: None,
            shared: options.reuse_address || options.reuse_port,
            only_v6: options.only_v6,
            broadcast: options.broadcast,
            packet_info: options.packet_info,
            memberships: Vec::new(),
            multicast: MulticastSettings {
                loopback: true,
                hops: 1,
                interface: NetworkInterface::Any,
            },
            arrivals: VecDeque::new(),
            full_until: Duration::ZERO,
        })
    }

    /// Whether the socket can send to addresses of this kind.
    fn reaches(&self, to: &Address) -> bool {
        match (&self.local, to) {
            (Address::Ip(local), Address::Ip(to)) => {
                local.is_ipv4() == to.is_ipv4() || (local.is_ipv6() && !self.only_v6)
            }
            (Address::Unix(_), Address::Unix(_)) => true,
            _ => false,
        }
    }

    /// Connects the socket, which then has the address that the peer sees.
    fn connect(&mut self, peer: &Address) {
        if let (Address::Ip(local), Address::Ip(peer)) = (&mut self.local, peer) {
            let seen = transit::source(local.ip(), peer.ip());
            *local = transit::as_seen(SocketAddr::new(seen, local.port()), local.is_ipv6());
        }
        self.peer = Some(peer.clone());
    }

    /// Takes the next arrival.
    pub(crate) fn receive(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
    }

    /// The number of datagrams, up to `most`, that come before the next error.
    pub(crate) fn datagrams_arrived(&self, most: usize) -> usize {
        let is_one = |arrival: &&Arrival| matches!(arrival, Arrival::Datagram { .. });
        self.arrivals.iter().take(most).take_while(is_one).count()
    }

    pub(crate) fn multicast_settings(&self) -> io::Result<MulticastSettings> {
        match self.local {
            Address::Ip(_) => Ok(self.multicast),
            _ => Err(invalid("only UDP sockets join multicast groups")),
        }
    }

    /// Changes what the socket receives from or sends to groups.
    pub(crate) fn set_multicast(&mut self, change: Multicast) -> io::Result<()> {
        let Address::Ip(local) = self.local else {
            return Err(invalid("only UDP sockets join multicast groups"));
        };
        match change {
            Multicast::Join {
                group,
                source,
                interface,
            } => {
                let membership = membership(local, group, source, interface)?;
                if self.memberships.contains(&membership) {
                    return Err(io::Error::from(io::ErrorKind::AddrInUse));
                }
                self.memberships.push(membership);
            }
            Multicast::Leave {
                group,
                source,
                interface,
            } => {
                let membership = membership(local, group, source, interface)?;
                let at = self
                    .memberships
                    .iter()
                    .position(|other| *other == membership);
                let at = at.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
                self.memberships.remove(at);
            }
            Multicast::Loopback(on) => self.multicast.loopback = on,
            Multicast::Hops(count) => self.multicast.hops = count,
            Multicast::Interface(interface) => {
                check_interface(interface)?;
                self.multicast.interface = interface;
            }
        }
        Ok(())
    }
}

/// The membership of a group, if a socket at `local` can have it.
fn membership(
    local: SocketAddr,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: NetworkInterface,
) -> io::Result<Membership> {
    let fits = |ip: IpAddr| ip.is_ipv4() == local.is_ipv4();
    if !group.is_multicast() || !fits(group) || !source.is_none_or(fits) {
        return Err(invalid("the group or its source is none for this socket"));
    }
    check_interface(interface)?;
    Ok(Membership { group, source })
}

/// This host has one interface, which has every address.
fn check_interface(interface: NetworkInterface) -> io::Result<()> {
    match interface {
        NetworkInterface::Index(index) if index != INTERFACE => {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
        _ => Ok(()),
    }
}

fn of_two_kinds(local: &Address, to: &Address) -> io::Error {
    let message = format!("{local} cannot send to {to}: they are of two kinds");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Whether a socket of the name `local` receives what is sent to `target`.
fn serves(local: SocketAddr, only_v6: bool, target: SocketAddr) -> bool {
    let (own, ip) = (local.ip(), target.ip());
    let same_family = own.is_ipv4() == ip.is_ipv4();
    let takes_v4 = own.is_ipv6() && !only_v6;
    let everywhere = own.is_unspecified() && (same_family || takes_v4);
    let mapped =
        matches!((own, ip), (IpAddr::V6(own), IpAddr::V4(ip)) if own == ip.to_ipv6_mapped());
    local.port() == target.port() && (own == ip || everywhere || mapped)
}
