//! The traits through which a program handles connections.

use std::io;

use super::super::Listener;
use super::transport::Transport;
use crate::error::{ConnectError, Reason};
use crate::os::Address;
use crate::reactor::Reactor;

/// The program's side of a connection. The loop calls these methods; no call to a transport does.
///
/// `connection_made` comes first and once, `connection_lost` last and once. In between, `data_received` comes any
/// number of times, followed by `read_connection_lost` at most once. `write_connection_lost` comes at any time in
/// between, at most once: even before `data_received`.
///
/// If one of them panics, the connection is lost with [`Reason::Panicked`]; `connection_lost` is called even then.
/// If the reactor is dropped before it has stopped, no more calls follow.
pub trait Protocol {
    /// The connection is open: it can be written to, and data can arrive.
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes arrived: at least one, at most what [the port](crate::port::PortOptions) receives at a time. They may be
    /// cut anywhere: one `write` of the peer may arrive in several calls, and several in one.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// The peer has ended its sending side: no more data will arrive. Sending may go on.
    ///
    /// The default closes the connection in order, as [`Transport::lose_connection`] does, but tells a registered
    /// producer to stop instead of waiting for it. To go on sending, override this, and when you have sent everything,
    /// call `lose_connection`, which lets the producer finish, or [`Transport::lose_write_connection`].
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.finish();
    }

    /// Our sending side has ended, as [`Transport::lose_write_connection`] asked for: the OS has taken all bytes and
    /// the end of file.
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// The connection has ended, for this reason. Bytes written from here on are dropped; [`Transport::unsent`]
    /// returns how many of the bytes written before were never passed to the OS. After this call, the protocol is
    /// dropped. The socket is closed, at once or after it has lingered for the peer's sake: see
    /// [`Transport::lose_connection`].
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let _ = (transport, reason);
    }
}

/// Makes a protocol for each connection. The loop calls these methods.
///
/// A closure that takes the peer's address and returns a protocol is a factory, with the defaults of the other
/// methods: it is not told when connecting or accepting fails.
///
/// If one of these calls panics, the panic is logged, and the connection it was for is closed.
pub trait Factory {
    /// Makes the protocol for a connection to or from `peer`; `None` closes the connection at once.
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>>;

    /// A connection could not be made, for this reason: see [`Reactor::connect_tcp`]. The default logs a warning.
    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        let _ = reactor;
        log::warn!("{error}");
    }

    /// A connection could not be accepted, most likely because descriptors or memory have run out. It waits in the
    /// backlog.
    ///
    /// The listener [tries again](Reactor::listen_tcp) after a pause, and this is called each time that it fails. The
    /// log tells of the first failure and of the recovery.
    fn accept_failed(&mut self, listener: &Listener, error: &io::Error) {
        let _ = (listener, error);
    }

    /// The listener's socket is closed, by [`Listener::stop_listening`] or because the reactor stops. Its address is
    /// free again. This is the last call; the factory is dropped after it.
    fn listener_closed(&mut self, listener: &Listener) {
        let _ = listener;
    }
}

impl<F, P> Factory for F
where
    F: FnMut(Address) -> P,
    P: Protocol + 'static,
{
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self(peer)))
    }
}
