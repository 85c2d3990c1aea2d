//! The simulated network: listeners, and connecting to them, over TCP and between UNIX sockets.
//!
//! One host has every address except those reserved for documentation (RFC 5737, RFC 3849): nobody
//! answers there, and no socket can be bound to them.

mod connection;
mod names;

use std::collections::{HashSet, VecDeque};
use std::io;

use self::connection::Connection;
pub(crate) use self::connection::End;
use self::names::Unconnected;
pub(super) use self::names::{FIRST_EPHEMERAL_PORT, is_reserved, reachable, unspecified};
use super::World;
use crate::os::Address;
use crate::port::admission::invalid;
use crate::port::sim::faults::{Call, too_many_open_files};
use crate::port::table::{Key, Table};
use crate::port::{CloseMode, ListenOptions};

/// The stream sockets of the world.
pub(super) struct Network {
    pub(super) connections: Table<Connection>,
    pub(super) listeners: Table<Listener>,
    unconnected: Table<Unconnected>,
    /// The addresses that connecting sockets, and those that have connected, are bound to.
    bound: HashSet<Address>,
    next_port: u16,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            connections: Table::default(),
            listeners: Table::default(),
            unconnected: Table::default(),
            bound: HashSet::new(),
            next_port: FIRST_EPHEMERAL_PORT,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: Address,
    backlog: VecDeque<End>,
    backlog_max: usize,
    reuse_port: bool,
    only_v6: bool,
    /// Whether its connections carry sequenced packets.
    packets: bool,
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
    pub(crate) fn listen(&mut self, options: &ListenOptions) -> io::Result<Key> {
        if let Some(error) = self.requested_failures.take(Call::Listen) {
            return Err(error);
        }
        let wanted = Listener {
            address: self.listening_address(options)?,
            backlog: VecDeque::new(),
            backlog_max: usize::try_from(options.backlog.max(1)).unwrap_or(usize::MAX),
            reuse_port: options.reuse_port,
            only_v6: options.only_v6,
            packets: options.sequenced_packets,
        };
        let taken = |other: &Listener| {
            let shared = other.reuse_port && wanted.reuse_port;
            !shared && (wanted.serves(&other.address) || other.serves(&wanted.address))
        };
        let is_taken = self.network.listeners.iter().any(|(_, other)| taken(other));
        if is_taken || self.network.bound.contains(&wanted.address) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(self.network.listeners.insert(wanted))
    }

    /// Closes a listener. Resets connections that were not accepted.
    pub(crate) fn close_listener(&mut self, key: Key) {
        let listener = self
            .network
            .listeners
            .remove(key)
            .expect("a held listener is open");
        for end in listener.backlog {
            self.refuse(end);
        }
    }

    pub(crate) fn listener(&self, key: Key) -> &Listener {
        self.network
            .listeners
            .get(key)
            .expect("a held listener is open")
    }

    /// Accepts the next waiting connection; `None` if there is none.
    pub(crate) fn accept(&mut self, key: Key) -> Option<io::Result<End>> {
        loop {
            let &end = self.listener(key).backlog.front()?;
            let dead = self.connection(end).reset;
            if !dead && let Some(error) = self.accept_failure() {
                return Some(Err(error));
            }
            let listener = self.network.listeners.get_mut(key);
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

    /// Attempts to connect `socket`, which is gone once it is connected.
    pub(crate) fn try_connect(&mut self, socket: Key, peer: &Address) -> io::Result<ConnectResult> {
        if let Some(error) = self.requested_failures.take(Call::Connect) {
            return Err(error);
        }
        let peer = names::on_this_host(peer);
        if names::is_deserted(&peer) || self.random.chance(self.faults.silences) {
            return Ok(ConnectResult::Unanswered);
        }
        let Unconnected { local, packets } = self.unconnected(socket).clone();
        if matches!(local, Address::Ip(_)) != matches!(peer, Address::Ip(_)) {
            return Err(invalid("the handle is for addresses of another kind"));
        }
        let serving = self.network.listeners.iter();
        let serving = serving.filter(|(_, listener)| listener.serves(&peer));
        let serving: Vec<Key> = serving.map(|(key, _)| key).collect();
        if serving.is_empty() || self.random.chance(self.faults.refusals) {
            return Err(self.refusal(&peer).into());
        }
        let chosen = serving[self.random.index(serving.len())];
        let listener = self.listener(chosen);
        if listener.packets != packets {
            return Err(io::Error::other("the server's socket is of another kind"));
        }
        if listener.backlog.len() >= listener.backlog_max {
            return Ok(ConnectResult::BacklogFull);
        }
        self.network.unconnected.remove(socket);
        let client = self.open_connection([local, peer], packets);
        let listener = self
            .network
            .listeners
            .get_mut(chosen)
            .expect("looked up above");
        listener.backlog.push_back(client.other());
        Ok(ConnectResult::Connected(client))
    }
}
