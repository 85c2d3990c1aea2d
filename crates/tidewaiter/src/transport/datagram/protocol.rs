//! The user's trait for a datagram socket.

use super::transport::DatagramTransport;
use crate::error::Reason;
use crate::port::{Datagram, DatagramError, Datagrams};

/// A program's side of a datagram socket. The loop calls these methods.
///
/// If one of these calls panics, the panic is logged, and the socket is closed.
pub trait DatagramProtocol {
    /// The socket is open and about to receive.
    fn started(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }

    /// Datagrams have arrived together. Returns those that [`datagram_received`](DatagramProtocol::datagram_received) is to
    /// get one by one: by default all of them. A protocol that keeps datagrams in the memory in which they arrived overrides
    /// this, and returns `None`.
    fn datagrams_received(
        &mut self,
        transport: &DatagramTransport,
        datagrams: Datagrams,
    ) -> Option<Datagrams> {
        let _ = transport;
        Some(datagrams)
    }

    /// A datagram has arrived. It is whole: one that was too large is an [error](DatagramProtocol::error_received).
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>);

    /// Something went wrong with one datagram: it could not be sent or received, or a peer or the network reported that it
    /// was not delivered. The socket goes on. The default logs it for debugging.
    fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
        log::debug!("{transport:?}: {error}");
    }

    /// So many datagrams were dropped, because the [queue](crate::port::DatagramOptions::queued_datagrams) of those that
    /// the OS has not taken was full, or because the socket was closed. The default logs it.
    fn datagrams_dropped(&mut self, transport: &DatagramTransport, count: usize) {
        log::warn!("{transport:?}: {count} datagrams were dropped");
    }

    /// The OS takes no more for now, and the queue is half full: stop sending until
    /// [`write_resumed`](DatagramProtocol::write_resumed).
    fn write_paused(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }

    /// The OS has taken the queue after a [`write_paused`](DatagramProtocol::write_paused).
    fn write_resumed(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }

    /// The socket is closed, and its address is free again. This is the last call; the protocol is dropped after it.
    fn stopped(&mut self, transport: &DatagramTransport, reason: Reason) {
        let _ = (transport, reason);
    }
}
