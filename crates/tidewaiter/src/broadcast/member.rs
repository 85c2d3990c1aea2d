//! A connection that gets the messages of a broadcast.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use super::Broadcast;
use crate::transport::Transport;

/// What a broadcast knows of a member.
pub(super) struct Connection {
    pub(super) transport: Transport,
    dropped: Cell<u64>,
}

impl Connection {
    pub(super) fn new(transport: &Transport) -> Connection {
        Connection {
            transport: transport.clone(),
            dropped: Cell::new(0),
        }
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

/// A connection that gets the messages of a [`Broadcast`], until this is dropped. Keep it in the protocol, or in the task
/// that reads the connection.
#[must_use = "a member that is dropped gets no messages"]
pub struct Member {
    broadcast: Broadcast,
    number: u64,
    connection: Rc<Connection>,
}

impl Member {
    pub(super) fn new(broadcast: &Broadcast, number: u64, connection: Rc<Connection>) -> Member {
        Member {
            broadcast: broadcast.clone(),
            number,
            connection,
        }
    }

    /// As [`Broadcast::send`], to all members but this one.
    pub fn send_to_others(&self, message: impl Into<Bytes>) {
        self.broadcast
            .send_except(Some(self.number), &message.into());
    }

    /// How many messages it [missed](super::SlowMembers::MissMessages) because it was slow.
    ///
    /// ```
    /// use tidewaiter::Member;
    ///
    /// /// Tells a member, when it asks, what it missed.
    /// fn missed(member: &Member) -> String {
    ///     format!("you missed {} messages\n", member.dropped())
    /// }
    /// ```
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.connection.dropped.get()
    }

    /// The connection.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.connection.transport
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.broadcast.remove(self.number);
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("transport", &self.connection.transport)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
