//! The simulated connections: two ends, and a channel each way.

use std::io;
use std::net::SocketAddr;

use crate::port::sim::faults::Faults;
use crate::port::sim::world::World;
use crate::port::sim::world::channel::ChannelEnd;
use crate::port::table::Key;
use crate::port::{Chunks, CloseMode};

/// A connection: two ends, and a channel out of each.
#[derive(Debug)]
pub(in super::super) struct Connection {
    pub(super) addresses: [SocketAddr; 2],
    /// For each side, the channel that it writes to.
    pub(super) channels: [Key; 2],
    pub(super) open: [bool; 2],
    pub(super) writing: [bool; 2],
    pub(super) reset: bool,
}

/// One end of a connection: the connecting side is 0, the accepting one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(super) connection: Key,
    pub(super) side: usize,
}

impl World {
    pub(super) fn connection(&self, end: End) -> &Connection {
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
