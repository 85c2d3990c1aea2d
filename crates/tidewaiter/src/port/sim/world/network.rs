//! The simulated network: addresses, listeners, connections.
//!
//! One host has every address except those reserved for documentation (RFC 5737, RFC 3849): nobody
//! answers there, and no socket can be bound to them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::World;
use super::channel::ChannelEnd;
use crate::port::sim::faults::{Call, Faults, too_many_open_files};
use crate::port::table::Key;
use crate::port::{Chunks, CloseMode, ListenOptions};

pub(super) const FIRST_EPHEMERAL_PORT: u16 = 49152;

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    backlog: VecDeque<End>,
    backlog_max: usize,
    reuse_port: bool,
    only_v6: bool,
}

/// A connection: two ends, and a channel out of each.
#[derive(Debug)]
pub(super) struct Connection {
    pub(crate) addresses: [SocketAddr; 2],
    /// For each side, the channel that it writes to.
    channels: [Key; 2],
    open: [bool; 2],
    writing: [bool; 2],
    reset: bool,
}

/// One end of a connection: the connecting side is 0, the accepting one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(super) connection: Key,
    side: usize,
}

/// The result of an attempt to connect.
#[derive(Debug)]
pub(crate) enum ConnectResult {
    Connected(End),
    /// The backlog is full.
    BacklogFull,
    /// Nobody will ever answer.
    Unanswered,
}

impl World {
    pub(crate) fn listen(
        &mut self,
        mut address: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<Key> {
        if let Some(error) = self.requested_failures.take(Call::Listen) {
            return Err(error);
        }
        if is_reserved(address.ip()) {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        if address.port() == 0 {
            address.set_port(self.free_port(address.ip())?);
        }
        let wanted = Listener {
            address,
            backlog: VecDeque::new(),
            backlog_max: usize::try_from(options.backlog.max(1)).unwrap_or(usize::MAX),
            reuse_port: options.reuse_port,
            only_v6: options.only_v6,
        };
        let taken = |other: &Listener| {
            let shared = other.reuse_port && wanted.reuse_port;
            !shared && (wanted.serves(other.address) || other.serves(address))
        };
        if self.listeners.iter().any(|(_, other)| taken(other)) || self.bound.contains(&address) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(self.listeners.insert(wanted))
    }

    /// Closes a listener. Resets connections that were not accepted.
    pub(crate) fn close_listener(&mut self, key: Key) {
        let listener = self.listeners.remove(key).expect("a held listener is open");
        for end in listener.backlog {
            self.close_end(end, CloseMode::Reset);
        }
    }

    pub(crate) fn listener(&self, key: Key) -> &Listener {
        self.listeners.get(key).expect("a held listener is open")
    }

    /// Accepts the next waiting connection; `None` if there is none.
    pub(crate) fn accept(&mut self, key: Key) -> Option<io::Result<End>> {
        loop {
            let &end = self.listener(key).backlog.front()?;
            let dead = self.connection(end).reset;
            if !dead && let Some(error) = self.accept_failure() {
                return Some(Err(error));
            }
            let listener = self.listeners.get_mut(key);
            listener.expect("looked up above").backlog.pop_front();
            if !dead {
                return Some(Ok(end));
            }
            // The connection was reset before it was accepted: skip it.
            self.close_end(end, CloseMode::Graceful);
        }
    }

    pub(super) fn accept_failure(&mut self) -> Option<io::Error> {
        let fails = self.random.chance(self.faults.accept_failures);
        let ordered = self.requested_failures.take(Call::Accept);
        ordered.or_else(|| fails.then(too_many_open_files))
    }

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

    fn free_port(&mut self, ip: IpAddr) -> io::Result<u16> {
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

    /// Attempts to connect from `local`, which is bound, to `peer`.
    pub(crate) fn try_connect(
        &mut self,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<ConnectResult> {
        if let Some(error) = self.requested_failures.take(Call::Connect) {
            return Err(error);
        }
        let peer = SocketAddr::new(reachable(peer.ip()), peer.port());
        if is_reserved(peer.ip()) || self.random.chance(self.faults.silences) {
            return Ok(ConnectResult::Unanswered);
        }
        let serving = self.listeners.iter();
        let serving = serving.filter(|(_, listener)| listener.serves(peer));
        let serving: Vec<Key> = serving.map(|(key, _)| key).collect();
        if serving.is_empty() || self.random.chance(self.faults.refusals) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let chosen = serving[self.random.index(serving.len())];
        let listener = self.listener(chosen);
        if listener.backlog.len() >= listener.backlog_max {
            return Ok(ConnectResult::BacklogFull);
        }
        let channels = [self.open_channel(), self.open_channel()];
        let connection = self.connections.insert(Connection {
            addresses: [local, peer],
            channels,
            open: [true; 2],
            writing: [true; 2],
            reset: false,
        });
        let listener = self.listeners.get_mut(chosen).expect("looked up above");
        listener.backlog.push_back(End {
            connection,
            side: 1,
        });
        Ok(ConnectResult::Connected(End {
            connection,
            side: 0,
        }))
    }

    fn connection(&self, end: End) -> &Connection {
        let connection = self.connections.get(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    fn connection_mut(&mut self, end: End) -> &mut Connection {
        let connection = self.connections.get_mut(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    /// The addresses of this end and of the other one.
    pub(crate) fn addresses(&self, end: End) -> (SocketAddr, SocketAddr) {
        let addresses = self.connection(end).addresses;
        (addresses[end.side], addresses[1 - end.side])
    }

    /// The number of bytes that this end has sent and the other one has not received.
    pub(crate) fn unacknowledged(&self, end: End) -> usize {
        self.channel(self.connection(end).channels[end.side]).len()
    }

    /// Resets a connection: both ends fail from now on, and the bytes in transit are lost.
    pub(super) fn reset(&mut self, connection: Key) {
        let Some(state) = self.connections.get_mut(connection) else {
            return;
        };
        state.reset = true;
        for channel in state.channels {
            self.purge_channel(channel);
        }
    }

    /// Resets every connection that has an end at `address`; returns how many had not been reset
    /// before.
    pub(crate) fn reset_all(&mut self, address: SocketAddr) -> usize {
        let hit = self.connections.iter();
        let hit = hit.filter(|(_, state)| !state.reset && state.addresses.contains(&address));
        let hit: Vec<Key> = hit.map(|(key, _)| key).collect();
        for &connection in &hit {
            self.reset(connection);
        }
        hit.len()
    }

    /// Fails if the connection is reset, or if a random fault resets it now.
    fn check_not_reset(&mut self, end: End) -> io::Result<()> {
        if self.random.chance(self.faults.resets) {
            self.reset(end.connection);
        }
        if self.connection(end).reset {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }

    /// Whether both sides of a connection have ended; fails if it was reset.
    pub(crate) fn is_over(&self, end: End) -> io::Result<bool> {
        let connection = self.connection(end);
        if connection.reset {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(connection.writing == [false; 2])
    }

    /// The channel to receive from, once it has bytes or the end of file.
    pub(crate) fn receive_from(&mut self, end: End) -> io::Result<Option<Key>> {
        let connection = self.connection(end);
        let channel = connection.channels[1 - end.side];
        if !connection.reset && !self.channel(channel).is_readable() {
            return Ok(None);
        }
        self.check_not_reset(end)?;
        Ok(Some(channel))
    }

    /// Sends bytes; returns `None` while there is no room.
    pub(crate) fn send(&mut self, end: End, chunks: &Chunks) -> io::Result<Option<usize>> {
        let connection = self.connection(end);
        let channel = connection.channels[end.side];
        let answered = connection.open[1 - end.side];
        if !connection.reset && !connection.writing[end.side] {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        if !connection.reset && answered && self.channel(channel).room() == 0 {
            return Ok(None);
        }
        self.check_not_reset(end)?;
        if !answered {
            // The other end is closed: the sender notices it only afterwards.
            self.reset(end.connection);
            return Ok(Some(chunks.len()));
        }
        self.send_into(channel, chunks).map(Some)
    }

    /// Moves bytes into a channel that has room for at least one.
    pub(crate) fn send_into(&mut self, channel: Key, chunks: &Chunks) -> io::Result<usize> {
        let most = chunks.len().min(self.channel(channel).room());
        let most = Faults::shorten(most, self.faults.short_sends, &mut self.random);
        self.write_channel(channel, chunks.slices(), most)
    }

    /// Ends the sending side.
    pub(crate) fn shutdown_write(&mut self, end: End) -> io::Result<()> {
        let connection = self.connection_mut(end);
        if connection.reset {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        }
        let channel = connection.channels[end.side];
        if std::mem::take(&mut connection.writing[end.side]) {
            self.release_channel(channel, ChannelEnd::Writer);
        }
        Ok(())
    }

    /// Closes an end. One that leaves bytes unread resets the connection, as TCP does.
    pub(crate) fn close_end(&mut self, end: End, mode: CloseMode) {
        let incoming = self.connection(end).channels[1 - end.side];
        if mode == CloseMode::Reset || self.channel(incoming).len() > 0 {
            self.reset(end.connection);
        }
        let connection = self.connection_mut(end);
        let outgoing = connection.channels[end.side];
        connection.open[end.side] = false;
        let over = connection.open == [false; 2];
        let local = connection.addresses[0];
        let writing = std::mem::take(&mut connection.writing[end.side]);
        if writing {
            self.release_channel(outgoing, ChannelEnd::Writer);
        }
        self.release_channel(incoming, ChannelEnd::Reader);
        if over {
            self.connections.remove(end.connection);
        }
        if end.side == 0 {
            self.unbind(local);
        }
    }
}

impl Listener {
    /// Whether the listener accepts connections to `target`.
    fn serves(&self, target: SocketAddr) -> bool {
        let (own, ip) = (self.address.ip(), target.ip());
        let same_family = own.is_ipv4() == ip.is_ipv4();
        let takes_v4 = own.is_ipv6() && !self.only_v6;
        let everywhere = own.is_unspecified() && (same_family || takes_v4);
        self.address.port() == target.port() && (own == ip || everywhere)
    }
}

pub(super) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Maps the unspecified address to this host.
pub(super) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether nobody has this address: it is reserved for documentation.
pub(super) fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xDB8],
    }
}
