//! A peer of a datagram socket, in the place of a connection.

use std::cell::RefCell;
use std::time::Duration;

use tidewaiter::{Address, DatagramTransport};

use super::super::DATAGRAM_BYTES_MAX;

/// The idle time after which a peer counts as gone, if the command line does not say.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes that wait for a COMMAND: it has not started yet, or does not read. Further datagrams are dropped.
pub(super) const WAITING_BYTES_MAX: usize = 256 << 10;

/// The peer of a session.
pub(super) struct Peer {
    transport: DatagramTransport,
    address: Address,
    forget: Box<dyn Fn()>,
    /// The bytes that arrived before COMMAND was started.
    early: RefCell<Vec<u8>>,
}

impl Peer {
    /// `forget` takes the peer off the list of those that have a session.
    pub(super) fn new(
        transport: DatagramTransport,
        address: Address,
        forget: impl Fn() + 'static,
    ) -> Peer {
        Peer {
            transport,
            address,
            forget: Box::new(forget),
            early: RefCell::default(),
        }
    }

    /// Sends what COMMAND wrote: one datagram, unless that is too much for one.
    pub(super) fn send(&self, data: &[u8]) {
        for piece in data.chunks(DATAGRAM_BYTES_MAX) {
            self.transport.send_to(piece, &self.address);
        }
    }

    /// Keeps a datagram for the COMMAND that is not started yet.
    pub(super) fn keep(&self, data: &[u8]) {
        let mut early = self.early.borrow_mut();
        if early.len() + data.len() <= WAITING_BYTES_MAX {
            early.extend_from_slice(data);
        }
    }

    pub(super) fn take_early(&self) -> Vec<u8> {
        self.early.take()
    }

    /// Lets go of the peer: its next datagram begins a new session.
    pub(super) fn forget(&self) {
        (self.forget)();
    }

    pub(super) fn local_addr(&self) -> Option<Address> {
        self.transport.local_addr().ok()
    }
}
