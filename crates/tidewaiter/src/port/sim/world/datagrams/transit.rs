//! Datagrams on their way: some are lost, arrive twice or late, find a full queue, or nobody.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Arrival, DatagramSocket, World, of_two_kinds};
use crate::os::{Address, UnixAddress};
use crate::port::admission::invalid;
use crate::port::sim::faults::Call;
use crate::port::sim::world::network::{is_reserved, reachable};
use crate::port::table::Key;

/// The most bytes in one datagram: over IPv4 and IPv6, and between UNIX sockets.
const IPV4_BYTES_MAX: usize = 65_507;
const IPV6_BYTES_MAX: usize = 65_527;
const UNIX_BYTES_MAX: usize = 128 * 1024;

/// How much later than others a datagram arrives that takes a detour, and how long a queue of an interface is full.
const DETOUR: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_millis(10);

/// An IP datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Transit {
    /// The socket that sent it, which is told if nobody is there.
    pub(super) from: Key,
    pub(super) sender: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl World {
    /// Sends a datagram to `to`, or to the socket's peer. Returns whether it was sent: otherwise, a queue is full.
    pub(crate) fn send_datagram(
        &mut self,
        key: Key,
        to: Option<&Address>,
        bytes: &[u8],
    ) -> io::Result<bool> {
        if let Some(error) = self.requested_failures.take(Call::SendDatagrams) {
            return Err(error);
        }
        let socket = self.datagram_socket(key);
        let Some(to) = to.or(socket.peer.as_ref()).cloned() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        if !socket.reaches(&to) {
            return Err(of_two_kinds(&socket.local, &to));
        }
        match (to, socket.local.clone()) {
            (Address::Ip(to), Address::Ip(local)) => self.send_ip(key, local, to, bytes),
            (Address::Unix(to), Address::Unix(local)) => self.send_unix(key, local, &to, bytes),
            (to, local) => Err(of_two_kinds(&local, &to)),
        }
    }

    fn send_ip(
        &mut self,
        key: Key,
        local: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<bool> {
        let to = canonical(to);
        self.check_destination(key, to, bytes.len())?;
        if self.random.chance(self.faults.datagrams.full_interfaces) {
            let full = self.random.duration(&DETOUR);
            self.datagram_socket_mut(key).full_until = self.after(full);
        }
        if self.elapsed < self.datagram_socket(key).full_until {
            return Ok(false);
        }
        let destination = SocketAddr::new(reachable(to.ip()), to.port());
        let transit = Transit {
            from: key,
            sender: canonical(SocketAddr::new(
                source(local.ip(), destination.ip()),
                local.port(),
            )),
            destination,
            bytes: bytes.to_vec(),
        };
        let lost = self.random.chance(self.faults.datagrams.losses);
        let twice = self.random.chance(self.faults.datagrams.duplicates);
        for _ in 0..if lost { 0 } else { 1 + usize::from(twice) } {
            self.forward(transit.clone());
        }
        Ok(true)
    }

    /// Refuses what no network takes.
    fn check_destination(&self, key: Key, to: SocketAddr, length: usize) -> io::Result<()> {
        if to.port() == 0 {
            return Err(invalid("nothing can be sent to port 0"));
        }
        if is_broadcast(to.ip()) && !self.datagram_socket(key).broadcast {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let most = match to {
            SocketAddr::V4(_) => IPV4_BYTES_MAX,
            SocketAddr::V6(_) => IPV6_BYTES_MAX,
        };
        check_length(length, most)
    }

    /// Lets a datagram arrive now or later.
    fn forward(&mut self, transit: Transit) {
        let delay = self.faults.datagrams.delay.clone();
        let mut delay = self.random.duration(&delay);
        if self.random.chance(self.faults.datagrams.detours) {
            delay = delay.saturating_add(self.random.duration(&DETOUR));
        }
        if delay.is_zero() {
            return self.arrive(&transit);
        }
        let due = self.after(delay);
        self.datagrams.last_transit += 1;
        self.datagrams
            .in_transit
            .insert((due, self.datagrams.last_transit), transit);
    }

    /// When the next datagram arrives, or the next queue has room again.
    pub(crate) fn next_datagram_event(&self) -> Option<Duration> {
        let arrival = self.datagrams.in_transit.keys().next().map(|&(due, _)| due);
        let room = self.datagrams.sockets.iter();
        let room = room.map(|(_, socket)| socket.full_until);
        let room = room.filter(|&until| until > self.elapsed);
        arrival.into_iter().chain(room).min()
    }

    /// Delivers what arrives by now.
    pub(in super::super) fn deliver_datagrams(&mut self) {
        while let Some(entry) = self.datagrams.in_transit.first_entry() {
            if entry.key().0 > self.elapsed {
                break;
            }
            let transit = entry.remove();
            self.arrive(&transit);
        }
    }

    /// Gives a datagram to everybody who receives it. Tells its sender if nobody does.
    fn arrive(&mut self, transit: &Transit) {
        if is_reserved(transit.destination.ip()) {
            return;
        }
        let to_one = !is_for_many(transit.destination.ip());
        let refused = to_one && self.random.chance(self.faults.datagrams.refusals);
        let receivers = match refused {
            true => Vec::new(),
            false => self.receivers(transit),
        };
        if receivers.is_empty()
            && to_one
            && let Some(sender) = self.datagrams.sockets.get(transit.from)
        {
            let peer = as_seen(transit.destination, sender.is_v6()).into();
            self.put_arrival(transit.from, Arrival::Unreachable { peer });
        }
        for receiver in receivers {
            let is_v6 = self.datagram_socket(receiver).is_v6();
            let arrival = Arrival::Datagram {
                bytes: transit.bytes.clone(),
                sender: Some(as_seen(transit.sender, is_v6).into()),
                destination: Some(transit.destination.ip()),
            };
            self.put_arrival(receiver, arrival);
        }
    }

    /// Queues an arrival. A full queue drops it, and a closed socket gets none.
    fn put_arrival(&mut self, key: Key, arrival: Arrival) {
        let most = self.faults.datagrams.queue.max(1);
        let Some(socket) = self.datagrams.sockets.get_mut(key) else {
            return;
        };
        if socket.arrivals.len() < most {
            socket.arrivals.push_back(arrival);
        }
    }

    /// Sends between UNIX sockets: at once and without loss. A full queue makes the sender wait.
    fn send_unix(
        &mut self,
        key: Key,
        local: UnixAddress,
        to: &UnixAddress,
        bytes: &[u8],
    ) -> io::Result<bool> {
        check_length(bytes.len(), UNIX_BYTES_MAX)?;
        let Some(receiver) = self.datagram_socket_named(to) else {
            let connected = self.datagram_socket(key).peer.is_some();
            return Err(io::Error::from(match connected {
                true => io::ErrorKind::ConnectionRefused,
                false => io::ErrorKind::NotFound,
            }));
        };
        let most = self.faults.datagrams.queue.max(1);
        let socket = self.datagram_socket_mut(receiver);
        if let Some(Address::Unix(peer)) = &socket.peer
            && (local.is_unnamed() || *peer != local)
        {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        if socket.arrivals.len() >= most {
            return Ok(false);
        }
        let is_named = !local.is_unnamed();
        socket.arrivals.push_back(Arrival::Datagram {
            bytes: bytes.to_vec(),
            sender: Some(local.into()).filter(|_| is_named),
            destination: None,
        });
        Ok(true)
    }
}

impl DatagramSocket {
    fn is_v6(&self) -> bool {
        self.local
            .socket_addr()
            .is_some_and(|local| local.is_ipv6())
    }
}

fn check_length(length: usize, most: usize) -> io::Result<()> {
    if length <= most {
        return Ok(());
    }
    let message = format!("a datagram of {length} bytes: at most {most} are possible (simulated)");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// The sender's address of what goes to `destination`.
pub(super) fn source(own: IpAddr, destination: IpAddr) -> IpAddr {
    if !own.is_unspecified() {
        own
    } else if is_for_many(destination) || is_reserved(destination) {
        match destination {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    } else {
        destination
    }
}

/// The address as an IPv6 socket sees it.
pub(super) fn as_seen(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        address => address,
    }
}

/// The IPv4 address behind one that an IPv6 socket uses for it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the address is one of the two broadcast addresses of this host.
pub(super) fn is_broadcast(ip: IpAddr) -> bool {
    ip == Ipv4Addr::BROADCAST || ip == Ipv4Addr::new(127, 255, 255, 255)
}

fn is_for_many(ip: IpAddr) -> bool {
    ip.is_multicast() || is_broadcast(ip)
}
