//! The state of one connection.

use std::collections::VecDeque;
use std::os::fd::RawFd;

/// The behaviour of all connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Echo,
    Sink,
    Source,
    Both,
}

impl Role {
    pub(crate) fn sends_pieces(self) -> bool {
        matches!(self, Role::Source | Role::Both)
    }
}

/// A buffer with received data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) id: u16,
    pub(crate) len: u32,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: RawFd,
    /// The buffer that the kernel is sending.
    pub(crate) sending: Option<Filled>,
    /// Buffers to send after that. Only one send is in flight, because two could overtake each other.
    pub(crate) queue: VecDeque<Filled>,
    /// The multishot receive is still active.
    pub(crate) receiving: bool,
    /// The peer has closed, or an operation has failed: start no further operation.
    pub(crate) ended: bool,
}

impl Connection {
    pub(crate) fn new(socket: RawFd) -> Connection {
        Connection {
            socket,
            sending: None,
            queue: VecDeque::new(),
            receiving: true,
            ended: false,
        }
    }

    /// Whether the connection has ended and has no operation in flight.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && !self.receiving && self.sending.is_none()
    }
}
