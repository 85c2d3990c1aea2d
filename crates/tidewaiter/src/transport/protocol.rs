//! The user's side of a connection.

use std::io;
use std::net::SocketAddr;

use super::{Listener, Transport};
use crate::error::{ConnectError, Reason};
use crate::reactor::Reactor;

/// What is done with a connection: the loop calls these, and never one of them from inside a call to the
/// transport.
///
/// `connection_made` comes first and once; then `data_received`, any number of times, and after the last of it
/// `read_connection_lost`, at most once; `write_connection_lost` at any point between, at most once;
/// `connection_lost` last and once. A panic in any of them loses the connection with [`Reason::Panicked`];
/// `connection_lost` is called even then.
pub trait Protocol {
    /// The connection is up: it may be written to, and data will arrive.
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes arrived: at least one, at most what the port receives at a time, cut wherever the network
    /// cut them.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// The peer will send no more; sending may go on.
    ///
    /// Unless overridden, this ends the connection: it sends what was written and closes, as
    /// [`Transport::lose_connection`] does, except that a registered producer is not waited for, but told to
    /// stop. To have the producer finish, override this, and call `lose_connection` in it.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.finish();
    }

    /// What [`Transport::lose_write_connection`] asked for is done: everything was sent, and the peer
    /// was told that no more follows.
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// The connection has ended, and why. What is written from here on goes nowhere;
    /// [`Transport::unsent`] tells how much of what was written before the OS never took. When this has
    /// returned, the socket is closed, or kept for a while for the peer's sake: see
    /// [`Transport::lose_connection`].
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let _ = (transport, reason);
    }
}

/// Makes a protocol for each connection.
///
/// Every closure from a peer's address to a protocol is one.
pub trait Factory {
    /// The protocol for a connection to or from `peer`, or `None` to close it at once.
    fn build_protocol(&mut self, peer: SocketAddr) -> Option<Box<dyn Protocol>>;

    /// A connection that was asked for could not be made.
    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        let _ = reactor;
        log::warn!("{error}");
    }

    /// A connection could not be accepted: descriptors or memory have run out, most likely. It waits in
    /// the backlog.
    ///
    /// Accepting goes on by itself after a pause, and this is called again each time that it fails.
    /// The log tells of the first time, and of the recovery.
    fn accept_failed(&mut self, listener: &Listener, error: &io::Error) {
        let _ = (listener, error);
    }

    /// The listener's socket is closed, be it by [`Listener::stop_listening`] or because the reactor
    /// stops: the address is free again. Nothing follows; the factory is dropped after this.
    fn listener_closed(&mut self, listener: &Listener) {
        let _ = listener;
    }
}

impl<F, P> Factory for F
where
    F: FnMut(SocketAddr) -> P,
    P: Protocol + 'static,
{
    fn build_protocol(&mut self, peer: SocketAddr) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self(peer)))
    }
}
