//! A connection, as its protocol sees it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::producer::{Producer, ProducerKind};
use super::stream::{Ending, Stream, StreamKind};
use crate::error::Reason;
use crate::port::{RawDescriptor, SocketOption};
use crate::reactor::Reactor;

/// A TCP connection or a pipe. Clones are the same one.
///
/// Nothing here blocks, and nothing here calls back: what a call sets off comes from the loop later.
/// Once the connection is closed, calls do nothing.
#[derive(Clone)]
pub struct Transport {
    stream: Rc<Stream>,
}

impl Transport {
    pub(super) fn of(stream: &Rc<Stream>) -> Transport {
        Transport {
            stream: Rc::clone(stream),
        }
    }

    /// Sends a copy of `data`, after all that was written before.
    ///
    /// Any amount is taken, and kept until the peer takes it: before you write much, check
    /// [`is_congested`](Transport::is_congested) or register a [`Producer`]; to answer what was received, call
    /// [`pause_while_congested`](Transport::pause_while_congested) once. What is written after
    /// [`lose_connection`](Transport::lose_connection) or
    /// [`lose_write_connection`](Transport::lose_write_connection) is dropped, unless these still wait for a
    /// producer.
    pub fn write(&self, data: &[u8]) {
        self.stream.write_slice(data);
    }

    /// Sends `data` without copying it, after all that was written before. Otherwise as
    /// [`write`](Transport::write).
    pub fn write_bytes(&self, data: impl Into<Bytes>) {
        let data = data.into();
        self.stream.write(|queue| queue.push(data));
    }

    /// Closes the connection in order: sends what was written, waits for the registered producer, if
    /// any, to be unregistered, then tells the peer that no more follows, and the protocol, with
    /// [`Reason::Done`], that the connection is lost. Nothing more is delivered.
    ///
    /// A peer that is still sending receives all of that nevertheless. Systems reset a connection that is closed
    /// before the peer has ended, and the peer then loses what it has not read. So the socket is kept for a
    /// while, and what arrives is dropped, until the peer ends: for 2 s without a byte, 10 s in all, and 64 MiB
    /// at most. [`Living::lingering`](crate::Living::lingering) counts such sockets. A pipe is closed at once.
    ///
    /// A peer that does not read keeps the connection open: see
    /// [`abort_connection`](Transport::abort_connection). So does a producer that stays registered. A reactor
    /// that stops waits for neither: see [`Reactor::run`]. A process that shares the socket has no connection any
    /// more either: see [`release_connection`](Transport::release_connection).
    pub fn lose_connection(&self) {
        self.stream.lose();
    }

    /// As [`lose_connection`](Transport::lose_connection), but does not wait for the producer: that one
    /// is told to stop.
    pub(super) fn finish(&self) {
        self.stream.finish();
    }

    /// Ends the sending side: sends what was written, waits for the registered producer, if any, to be
    /// unregistered, then tells the peer that no more follows. Receiving goes on. A pipe is closed by
    /// this.
    pub fn lose_write_connection(&self) {
        self.stream.lose_write();
    }

    /// Closes the connection now: what was written and not yet sent is dropped, and a TCP peer sees a
    /// reset. The reason is [`Reason::Aborted`].
    pub fn abort_connection(&self) {
        self.stream.close(Ending::Reset, Reason::Aborted);
    }

    /// Closes the connection now and in order: what was written and the OS has not yet taken is dropped
    /// ([`unsent`](Transport::unsent) tells how much), and the producer, if any, is told to stop. The reason is
    /// [`Reason::Done`]. For a protocol that has nothing more to say to this peer, whatever was still to be sent.
    ///
    /// The peer receives what the OS has taken, even if it is still sending: see
    /// [`lose_connection`](Transport::lose_connection).
    pub fn close_connection(&self) {
        self.stream.close(Ending::InOrder, Reason::Done);
    }

    /// Closes our handle of the connection now, and leaves the connection as it is: for a socket that another
    /// process has, too, which was forked, or to which it was sent. What was written and the OS has not yet taken
    /// is dropped, and the producer, if any, is told to stop. The reason is [`Reason::Done`].
    ///
    /// If nobody else has the socket, the OS ends the connection, or resets it if the peer is still sending.
    pub fn release_connection(&self) {
        self.stream.close(Ending::AtOnce, Reason::Done);
    }

    /// Receives no more until [`resume_producing`](Transport::resume_producing): no data is delivered
    /// after this call returns. The peer is slowed down by the network's own flow control.
    ///
    /// Nor is its end of file told meanwhile. A reset is, except on Windows.
    pub fn pause_producing(&self) {
        self.stream.pause();
    }

    /// Receives again, first what had arrived already.
    pub fn resume_producing(&self) {
        self.stream.resume();
    }

    /// From now on, receives nothing as long as [`is_congested`](Transport::is_congested): so what is written in
    /// answer to what is received takes no more memory than the [water mark](Transport::set_water_marks) and one
    /// answer. To be called once, as a rule in
    /// [`connection_made`](super::Protocol::connection_made).
    ///
    /// This is a pause of its own: [`pause_producing`](Transport::pause_producing) and
    /// [`resume_producing`](Transport::resume_producing) neither end it nor are ended by it.
    pub fn pause_while_congested(&self) {
        self.stream.pause_while_congested();
    }

    /// Has `producer` paused and resumed as this transport's queue fills and drains, in place of the
    /// producer registered before. [`lose_connection`](Transport::lose_connection) waits until it is
    /// unregistered.
    ///
    /// A transport is a producer itself: registering one with another makes the first one receive no
    /// faster than the second one sends. For a transport that answers itself, there is
    /// [`pause_while_congested`](Transport::pause_while_congested).
    pub fn register_producer(&self, producer: impl Producer + 'static, kind: ProducerKind) {
        self.stream
            .register_producer(Rc::new(RefCell::new(producer)), kind);
    }

    /// Forgets the producer: it has no more to write.
    pub fn unregister_producer(&self) {
        self.stream.unregister_producer();
    }

    /// How many bytes were written and not yet taken by the OS; 0 once the connection is closed:
    /// [`unsent`](Transport::unsent) tells what was left.
    #[must_use]
    pub fn queued(&self) -> usize {
        let state = self.stream.state.borrow();
        if state.is_open() { state.queued() } else { 0 }
    }

    /// How many bytes were written, in all, that the OS never took: known in and after
    /// [`connection_lost`](super::Protocol::connection_lost), and 0 before. What was written after
    /// [`lose_connection`](Transport::lose_connection), [`lose_write_connection`](Transport::lose_write_connection)
    /// or `connection_lost` is not counted.
    ///
    /// That the OS took bytes does not mean that the peer has received them: only an answer of the peer says so.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.stream.state.borrow().unsent()
    }

    /// Whether more than the high water mark is queued, or was and has not yet drained to the low one.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.stream.is_congested()
    }

    /// Sets how many queued bytes pause a producer (`high`: 64 KiB unless set), and how many are left
    /// when it is resumed (`low`, at most `high`: 16 KiB unless set).
    pub fn set_water_marks(&self, low: usize, high: usize) {
        let mut state = self.stream.state.borrow_mut();
        state.low_water = low.min(high);
        state.high_water = high;
    }

    /// Whether the connection is neither closed nor about to be.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.state.borrow().is_open()
    }

    /// The peer's address; `None` for a pipe.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.stream.kind {
            StreamKind::Tcp(peer) => Some(peer),
            StreamKind::PipeReader | StreamKind::PipeWriter => None,
        }
    }

    /// Our own address.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the connection is closed,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a pipe.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.check_open()?;
        self.stream.reactor.port().local_addr(self.stream.handle)
    }

    /// How many of the bytes that the OS has taken the peer's system has not acknowledged yet. It goes down as the
    /// peer reads; that it is 0 means that the peer's *system* has all. An end of the sending side that is on
    /// its way may count as one byte.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr), and [`Unsupported`](io::ErrorKind::Unsupported) on Windows and
    /// macOS, which do not tell.
    pub fn unacknowledged(&self) -> io::Result<usize> {
        self.check_open()?;
        let port = self.stream.reactor.port();
        port.unacknowledged(self.stream.handle)
    }

    /// Whether small segments are sent at once (`TCP_NODELAY`) instead of being gathered by the OS, which is the
    /// default: what is written in one turn of the loop leaves together in any case.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr).
    pub fn set_no_delay(&self, enabled: bool) -> io::Result<()> {
        self.set_option(SocketOption::NoDelay(enabled))
    }

    /// Whether, and after how long, an idle connection is probed.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr).
    pub fn set_keep_alive(&self, idle: Option<Duration>) -> io::Result<()> {
        self.set_option(SocketOption::KeepAlive(idle))
    }

    fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.check_open()?;
        self.stream
            .reactor
            .port_mut()
            .set_option(self.stream.handle, option)
    }

    fn check_open(&self) -> io::Result<()> {
        if self.is_open() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    }

    /// The OS's number of the socket or pipe, to look at it, or to set options that are not known here.
    /// It stays the reactor's: whoever closes it breaks this connection, and perhaps the next one.
    ///
    /// `None` for what is simulated, and as soon as the connection is being closed, be it by a call or
    /// because it failed. The number stays this connection's until
    /// [`connection_lost`](super::Protocol::connection_lost) has returned; after that the OS may give it to
    /// something else.
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        if !self.is_open() {
            return None;
        }
        let port = self.stream.reactor.port();
        port.raw_descriptor(self.stream.handle).ok()
    }

    /// The reactor that this transport lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.stream.reactor
    }
}

/// Two names of the same connection are equal.
impl PartialEq for Transport {
    fn eq(&self, other: &Transport) -> bool {
        Rc::ptr_eq(&self.stream, &other.stream)
    }
}

impl Eq for Transport {}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream.kind {
            StreamKind::Tcp(peer) => write!(f, "Transport({peer})"),
            StreamKind::PipeReader => f.write_str("Transport(pipe reader)"),
            StreamKind::PipeWriter => f.write_str("Transport(pipe writer)"),
        }
    }
}
