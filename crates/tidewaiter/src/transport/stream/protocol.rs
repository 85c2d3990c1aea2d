//! The trait through which a program handles a connection.

use std::any::Any;

use super::timeout::ConnectionTimeout;
use super::transport::Transport;
use crate::error::Reason;
use crate::port::PassedDescriptors;

/// The program's side of a connection. The loop calls these methods; no call to a transport does.
///
/// `connection_made` comes first and once, `connection_lost` last and once. In between, `data_received` comes any
/// number of times, followed by `read_connection_lost` at most once. `write_connection_lost` comes at any time in
/// between, at most once: even before `data_received`.
///
/// If one of them panics, the connection is lost with [`Reason::Panicked`]; `connection_lost` is called even then.
/// If the reactor is dropped before it has stopped, no more calls follow.
pub trait Protocol: Any {
    /// The connection is open: it can be written to, and data can arrive.
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes arrived: at least one, at most what [the port](crate::port::PortOptions) receives at a time. They may be
    /// cut anywhere: one `write` of the peer may arrive in several calls, and several in one. Only
    /// [sequenced packets](crate::ConnectOptions::sequenced_packets) arrive as they were sent.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// Descriptors arrived over a UNIX socket, after [`Transport::take_descriptors`]. The byte with which the peer sent them
    /// is in the next `data_received`, maybe behind others.
    ///
    /// The default closes them.
    fn descriptors_received(&mut self, transport: &Transport, passed: PassedDescriptors) {
        let _ = transport;
        drop(passed);
    }

    /// The peer has ended its sending side: no more data will arrive. Sending may go on.
    ///
    /// The default closes the connection in order, as [`Transport::lose_connection`] does, but tells a registered
    /// producer to stop instead of waiting for it. To go on sending, override this, and when you have sent everything,
    /// call `lose_connection`, which lets the producer finish, or [`Transport::lose_write_connection`].
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_without_producer();
    }

    /// Our sending side has ended, as [`Transport::lose_write_connection`] asked for: the OS has taken all bytes and
    /// the end of file.
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// More bytes are queued than the high [water mark](Transport::set_water_marks): write no more for now. Writing on is
    /// allowed, and takes memory.
    fn write_paused(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// After [`write_paused`](Protocol::write_paused): no more bytes are queued than the low water mark. Write on.
    fn write_resumed(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// A timeout that was set with [`Transport::set_idle_timeout`] or [`Transport::set_read_timeout`] has passed. If the
    /// connection is still open after this, the time begins anew.
    ///
    /// The default ends the connection with [`Reason::TimedOut`]: in order or, if bytes are still to be sent, which the
    /// peer does not take, by a reset.
    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        transport.lose_to(timeout);
    }

    /// The connection has ended, for this reason. Bytes written from here on are dropped; [`Transport::unsent`]
    /// returns how many of the bytes written before were never passed to the OS. After this call, the protocol is
    /// dropped. The socket is closed, at once or after it has lingered for the peer's sake: see
    /// [`Transport::lose_connection`].
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let _ = (transport, reason);
    }
}

/// A boxed protocol is one: for factories that make protocols of several types.
impl Protocol for Box<dyn Protocol> {
    fn connection_made(&mut self, transport: &Transport) {
        (**self).connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        (**self).data_received(transport, data);
    }

    fn descriptors_received(&mut self, transport: &Transport, passed: PassedDescriptors) {
        (**self).descriptors_received(transport, passed);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        (**self).read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        (**self).write_connection_lost(transport);
    }

    fn write_paused(&mut self, transport: &Transport) {
        (**self).write_paused(transport);
    }

    fn write_resumed(&mut self, transport: &Transport) {
        (**self).write_resumed(transport);
    }

    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        (**self).timed_out(transport, timeout);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        (**self).connection_lost(transport, reason);
    }
}
