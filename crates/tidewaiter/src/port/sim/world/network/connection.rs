//! The simulated connections: two ends, and a channel each way.

use std::io;

use crate::os::Address;
use crate::port::admission::invalid;
use crate::port::sim::faults::Faults;
use crate::port::sim::world::World;
use crate::port::sim::world::channel::ChannelEnd;
use crate::port::table::Key;
use crate::port::{Chunks, CloseMode};

/// The most bytes in one packet, about as on Linux.
const PACKET_BYTES_MAX: usize = 200 * 1024;

/// A connection: two ends, and a channel out of each.
#[derive(Debug)]
pub(in super::super) struct Connection {
    addresses: [Address; 2],
    /// Whether it carries sequenced packets.
    packets: bool,
    /// For each side, the channel that it writes to.
    channels: [Key; 2],
    open: [bool; 2],
    writing: [bool; 2],
    pub(super) reset: bool,
    /// Whether the side of a UNIX connection that closed first left bytes unread. The other one receives what was sent to
    /// it, then an error, and then the end.
    left_unread: bool,
}

impl Connection {
    fn is_unix(&self) -> bool {
        matches!(self.addresses[1], Address::Unix(_))
    }
}

/// One end of a connection: the connecting side is 0, the accepting one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    connection: Key,
    side: usize,
}

impl End {
    /// The other end of the connection.
    pub(super) fn other(self) -> End {
        End {
            side: 1 - self.side,
            ..self
        }
    }
}

impl World {
    /// Connects `addresses[0]` to `addresses[1]`. Returns the connecting end.
    pub(super) fn open_connection(&mut self, addresses: [Address; 2], packets: bool) -> End {
        let channels = [self.open_channel(), self.open_channel()];
        if packets {
            for channel in channels {
                self.keep_messages(channel);
            }
        }
        let connection = self.network.connections.insert(Connection {
            addresses,
            packets,
            channels,
            open: [true; 2],
            writing: [true; 2],
            reset: false,
            left_unread: false,
        });
        End {
            connection,
            side: 0,
        }
    }

    pub(super) fn connection(&self, end: End) -> &Connection {
        let connection = self.network.connections.get(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    fn connection_mut(&mut self, end: End) -> &mut Connection {
        let connection = self.network.connections.get_mut(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    /// The addresses of this end and of the other one.
    pub(crate) fn addresses(&self, end: End) -> (&Address, &Address) {
        let addresses = &self.connection(end).addresses;
        (&addresses[end.side], &addresses[1 - end.side])
    }

    /// Whether the connection carries sequenced packets.
    pub(crate) fn has_packets(&self, end: End) -> bool {
        self.connection(end).packets
    }

    /// The number of bytes that this end has sent and the other one has not received.
    pub(crate) fn unacknowledged(&self, end: End) -> usize {
        self.channel(self.connection(end).channels[end.side]).len()
    }

    /// Resets a connection: both ends fail from now on, and the bytes in transit are lost.
    pub(super) fn reset(&mut self, connection: Key) {
        let Some(state) = self.network.connections.get_mut(connection) else {
            return;
        };
        state.reset = true;
        for channel in state.channels {
            self.purge_channel(channel);
        }
    }

    /// Resets every connection that has an end at `address`; returns how many had not been reset
    /// before.
    pub(crate) fn reset_all(&mut self, address: &Address) -> usize {
        if matches!(address, Address::Unix(name) if name.is_unnamed()) {
            return 0;
        }
        let hit = self.network.connections.iter();
        let hit = hit.filter(|(_, state)| !state.reset && state.addresses.contains(address));
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

    /// Whether both sides of a connection have ended; fails if it was reset. A UNIX connection is over as soon as the other
    /// end is closed.
    pub(crate) fn is_over(&self, end: End) -> io::Result<bool> {
        let connection = self.connection(end);
        if connection.reset || connection.left_unread {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        let closed = connection.is_unix() && !connection.open[1 - end.side];
        Ok(closed || connection.writing == [false; 2])
    }

    /// The channel to receive from, once it has bytes or the end of file.
    pub(crate) fn receive_from(&mut self, end: End) -> io::Result<Option<Key>> {
        let connection = self.connection(end);
        let channel = connection.channels[1 - end.side];
        if !connection.reset && !self.channel(channel).is_readable() {
            return Ok(None);
        }
        self.check_not_reset(end)?;
        if self.channel(channel).len() == 0
            && std::mem::take(&mut self.connection_mut(end).left_unread)
        {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(Some(channel))
    }

    /// Sends bytes, or the first packet; returns `None` while there is no room.
    pub(crate) fn send(&mut self, end: End, chunks: &mut Chunks) -> io::Result<Option<usize>> {
        let connection = self.connection(end);
        let (channel, packets) = (connection.channels[end.side], connection.packets);
        let answered = connection.open[1 - end.side];
        let (is_unix, reset) = (connection.is_unix(), connection.reset);
        if !reset && (!connection.writing[end.side] || is_unix && !answered) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        let (length, descriptors) = chunks.first_message().unwrap_or_default();
        let passes = !descriptors.is_empty();
        if passes && !is_unix {
            return Err(invalid("only UNIX sockets pass descriptors"));
        }
        if packets && length > PACKET_BYTES_MAX {
            return Err(invalid("the packet is too long"));
        }
        if !reset && answered {
            let state = self.channel(channel);
            let is_full = match packets {
                // One that is larger than the channel goes through it alone.
                true => state.len() > 0 && state.room() < length,
                false => state.room() == 0,
            };
            if is_full {
                return Ok(None);
            }
        }
        self.check_not_reset(end)?;
        if !answered {
            // The other end is closed: the sender notices it only afterwards.
            self.reset(end.connection);
            return Ok(Some(chunks.len()));
        }
        if passes {
            self.pass_descriptors(channel, chunks.take_descriptors());
        }
        match packets {
            true => self.write_message(channel, chunks.slices(), length),
            false => self.send_into(channel, chunks),
        }
        .map(Some)
    }

    /// Moves bytes of the first message into a channel that has room for at least one.
    pub(crate) fn send_into(&mut self, channel: Key, chunks: &Chunks) -> io::Result<usize> {
        let (length, _) = chunks.first_message().unwrap_or_default();
        let most = length.min(self.channel(channel).room());
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

    /// Closes an end that was never accepted: the other one finds its connection reset.
    pub(super) fn refuse(&mut self, end: End) {
        self.connection_mut(end).left_unread = true;
        self.close_end(end, CloseMode::Reset);
    }

    /// Closes an end. One that leaves bytes unread resets the connection, as TCP does; only those of TCP can be reset on
    /// request.
    pub(crate) fn close_end(&mut self, end: End, mode: CloseMode) {
        let incoming = self.connection(end).channels[1 - end.side];
        let unread = self.channel(incoming).len() > 0;
        let connection = self.connection_mut(end);
        if connection.is_unix() {
            connection.left_unread |= unread && connection.open == [true; 2];
        } else if mode == CloseMode::Reset || unread {
            self.reset(end.connection);
        }
        let connection = self.connection_mut(end);
        let outgoing = connection.channels[end.side];
        connection.open[end.side] = false;
        let over = connection.open == [false; 2];
        let local = connection.addresses[0].clone();
        let writing = std::mem::take(&mut connection.writing[end.side]);
        if writing {
            self.release_channel(outgoing, ChannelEnd::Writer);
        }
        self.release_channel(incoming, ChannelEnd::Reader);
        if over {
            self.network.connections.remove(end.connection);
        }
        if end.side == 0 {
            self.unbind(&local);
        }
    }
}
