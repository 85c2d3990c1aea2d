//! Which sockets receive an IP datagram.

use std::net::{IpAddr, SocketAddr};

use super::transit::{Transit, canonical, is_broadcast};
use super::{DatagramSocket, World, serves};
use crate::os::Address;
use crate::port::table::Key;

impl World {
    /// The sockets that receive a datagram: for one address, one of them, and for a group or a broadcast, all.
    pub(super) fn receivers(&mut self, transit: &Transit) -> Vec<Key> {
        let to = transit.destination;
        let loops_back =
            (self.datagrams.sockets.get(transit.from)).is_none_or(|from| from.multicast.loopback);
        if to.ip().is_multicast() && !loops_back {
            return Vec::new();
        }
        let sockets = self.datagrams.sockets.iter();
        let takers = sockets.filter(|(_, socket)| socket.takes(transit));
        if to.ip().is_multicast() || is_broadcast(to.ip()) {
            return takers.map(|(key, _)| key).collect();
        }
        // The most specific name wins.
        let takers: Vec<(usize, Key)> = takers
            .map(|(key, socket)| (socket.precision(to), key))
            .collect();
        let Some(best) = takers.iter().map(|&(precision, _)| precision).max() else {
            return Vec::new();
        };
        let best: Vec<Key> = takers
            .into_iter()
            .filter(|&(precision, _)| precision == best)
            .map(|(_, key)| key)
            .collect();
        vec![best[self.random.index(best.len())]]
    }
}

impl DatagramSocket {
    /// Whether the socket receives such a datagram.
    fn takes(&self, transit: &Transit) -> bool {
        let Address::Ip(local) = self.local else {
            return false;
        };
        let (sender, to) = (transit.sender, transit.destination);
        let peer = self.peer.as_ref().and_then(Address::socket_addr);
        if peer.is_some_and(|peer| canonical(peer) != sender) {
            return false;
        }
        if to.ip().is_multicast() {
            let is_name = local.ip().is_unspecified() || local.ip() == to.ip();
            return is_name && local.port() == to.port() && self.is_member(to.ip(), sender.ip());
        }
        serves(local, self.only_v6, to)
            || (is_broadcast(to.ip()) && serves(local, self.only_v6, any(to)))
    }

    fn is_member(&self, group: IpAddr, sender: IpAddr) -> bool {
        self.memberships.iter().any(|membership| {
            membership.group == group && membership.source.is_none_or(|source| source == sender)
        })
    }

    /// How well the socket's name fits: with a peer better than without, and with an address better than with any.
    fn precision(&self, to: SocketAddr) -> usize {
        let exact = self.local == Address::Ip(to);
        2 * usize::from(self.peer.is_some()) + usize::from(exact)
    }
}

/// The address of any socket of the same port.
fn any(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(super::unspecified(address.ip()), address.port())
}
