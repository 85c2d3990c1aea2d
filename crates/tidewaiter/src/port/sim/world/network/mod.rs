//! The simulated network: listeners, and connecting to them.
//!
//! One host has every address except those reserved for documentation (RFC 5737, RFC 3849): nobody
//! answers there, and no socket can be bound to them.

mod connection;
mod names;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

pub(super) use self::connection::Connection;
pub(crate) use self::connection::End;
pub(super) use self::names::{FIRST_EPHEMERAL_PORT, is_reserved, reachable, unspecified};
use super::World;
use crate::port::sim::faults::{Call, too_many_open_files};
use crate::port::table::Key;
use crate::port::{CloseMode, ListenOptions};

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    backlog: VecDeque<End>,
    backlog_max: usize,
    reuse_port: bool,
    only_v6: bool,
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
}
