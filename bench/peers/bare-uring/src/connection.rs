//! What is known of one connection.

use std::collections::VecDeque;
use std::os::fd::RawFd;

/// What all connections of a server do.
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

/// A buffer with what was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) id: u16,
    pub(crate) len: u32,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: RawFd,
    /// What the kernel sends now.
    pub(crate) sending: Option<Filled>,
    /// What it sends after that: two sends at once could overtake each other.
    pub(crate) queue: VecDeque<Filled>,
    /// The kernel receives, until it says otherwise.
    pub(crate) receiving: bool,
    /// The peer has closed, or something failed: nothing more begins.
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

    /// Nothing of it is in the kernel's hands, and nothing is to come.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && !self.receiving && self.sending.is_none()
    }
}
