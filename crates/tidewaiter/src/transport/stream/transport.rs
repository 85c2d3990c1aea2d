//! A connection, as its protocol sees it.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, IoSlice};
use std::ops::RangeBounds;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::Stream;
use super::producer::{IntoProducer, ProducerKind};
use super::state::{Ending, Event, Stage};
use super::transfer::FileTransfer;
use crate::error::{Reason, SendFileError};
use crate::os::Address;
use crate::port::{Buffer, Failure, RawDescriptor, SocketOption, Token};
use crate::process::TerminalSize;
use crate::reactor::Reactor;
use crate::transport::File;

/// A TCP connection or a pipe. Clones refer to the same one, and are equal.
///
/// No call blocks, and no call enters a protocol or a producer: their callbacks come from the loop later. Once the
/// connection is closed, calls do nothing or return [`NotConnected`](io::ErrorKind::NotConnected).
///
/// Five calls end it. They differ in what becomes of the bytes that the OS has not taken yet, and in what the peer sees:
///
/// | | those bytes | the peer sees |
/// | --- | --- | --- |
/// | [`lose_connection`](Transport::lose_connection) | are sent first | the end of the stream |
/// | [`lose_write_connection`](Transport::lose_write_connection) | are sent first | that we send no more; we still receive |
/// | [`close_connection_now`](Transport::close_connection_now) | are dropped | the end of the stream |
/// | [`abort_connection`](Transport::abort_connection) | are dropped | a reset |
/// | [`release_connection`](Transport::release_connection) | are dropped | nothing: another process has the socket too, and goes on |
#[derive(Clone)]
pub struct Transport {
    stream: Rc<Stream>,
}

/// Identifies a transport on its reactor: no other transport of that reactor ever has the same.
///
/// ```
/// use std::collections::HashMap;
/// use tidewaiter::{Transport, TransportId};
///
/// #[derive(Default)]
/// struct Names(HashMap<TransportId, String>);
///
/// impl Names {
///     fn of(&self, transport: &Transport) -> Option<&str> {
///         self.0.get(&transport.id()).map(String::as_str)
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(u64);

impl TransportId {
    pub(super) fn of(token: Token) -> TransportId {
        TransportId(token.0)
    }
}

impl Transport {
    /// Tells this transport from others of its reactor, for tables and logs.
    #[must_use]
    pub fn id(&self) -> TransportId {
        TransportId::of(self.stream.token.get())
    }

    pub(in crate::transport) fn of(stream: &Rc<Stream>) -> Transport {
        Transport {
            stream: Rc::clone(stream),
        }
    }

    pub(super) fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// Sends a copy of `data`, after everything that was written before.
    ///
    /// There is no limit: bytes stay in memory until the OS takes them. Before you write large amounts, check
    /// [`is_congested`](Transport::is_congested) or register a [`Producer`](super::Producer). To answer what you receive, call
    /// [`pause_while_congested`](Transport::pause_while_congested) once.
    ///
    /// Bytes written after [`lose_connection`](Transport::lose_connection) or
    /// [`lose_write_connection`](Transport::lose_write_connection) are dropped, unless that call still waits for a
    /// producer. So are bytes written to a pipe that we read from.
    pub fn write(&self, data: &[u8]) {
        self.stream.write_slice(data);
    }

    /// Sends `data` without copying it, after everything that was written before. Otherwise as
    /// [`write`](Transport::write). The memory is dropped by the loop once the OS has taken it.
    pub fn write_bytes(&self, data: impl Into<Bytes>) {
        let data = data.into();
        // The queue would drop an empty piece at once, and its owner's drop may call us while the queue is borrowed.
        if !data.is_empty() {
            self.stream.write(|queue| queue.push(data));
        }
    }

    /// As [`write_bytes`](Transport::write_bytes), for bytes in the port's memory.
    pub(crate) fn write_received(&self, data: Buffer) {
        self.stream.write_received(data);
    }

    /// Writes some of the bytes, which cannot be shared, and returns how many. If there are many, those that the OS takes at
    /// once are not copied, and few others are, unless the caller wants copies.
    pub(crate) fn write_lent(&self, pieces: &[IoSlice<'_>], copy: bool) -> usize {
        self.stream.write_lent(pieces, copy)
    }

    /// As [`write_bytes`](Transport::write_bytes), but offers everything to the OS at once, where the port can do that,
    /// rather than at the end of the turn: only what the OS does not take is [`queued`](Transport::queued) after that.
    /// For a program that is about to stop writing because so much is queued, or to drop what is queued. Without data,
    /// offers what is queued alone.
    pub fn write_through(&self, data: impl Into<Bytes>) {
        self.stream.write_through(data.into());
    }

    /// Sends a part of `file`, after everything that was written before and before everything that is written later:
    /// `..` is all of it, `100..` what follows the first hundred bytes, `100..200` one hundred. Calls `done`, from the
    /// loop, with the number of bytes once the OS has taken the last of them, or with what prevented that; it comes
    /// before [`connection_lost`](super::Protocol::connection_lost).
    ///
    /// The OS moves the bytes from the file to the connection where it can ([`Request::SendFile`]): on Linux to all
    /// streams, on Windows Server to TCP connections. They do not pass through the program's memory, and while the
    /// peer does not read, the file waits without holding any. Elsewhere, the reactor reads and writes 128 KiB at a
    /// time. Either way, [`queued`](Transport::queued) does not count the file, and many files may be queued at once.
    ///
    /// The file stays open until it is sent, whatever becomes of `file`; [`File::close`] ends the sending where the
    /// reactor reads. What is written to the file meanwhile may be sent or not. A file that is cut off meanwhile, or is
    /// shorter than the part, ends with [`SendFileError::FileEnded`], and the connection goes on: if the peer was
    /// promised more bytes, end it. On Linux, bytes that are not in the system's memory yet are read by the call that
    /// sends them, and the loop waits for the disk.
    ///
    /// [`FileTransfer::cancel`] ends the sending before the file's end.
    ///
    /// ```
    /// # use tidewaiter::{File, SendFileError, Transport};
    /// # fn answer(transport: &Transport, file: &File) {
    /// transport.write(b"here it is:\n");
    /// transport.send_file(file, .., |transport, sent| match sent {
    ///     Ok(_) => transport.lose_connection(),
    ///     Err(error) => transport.abort_connection(), // begin again at `error.sent()` to go on
    /// });
    /// # }
    /// ```
    ///
    /// [`Request::SendFile`]: crate::port::Request::SendFile
    pub fn send_file(
        &self,
        file: &File,
        range: impl RangeBounds<u64>,
        done: impl FnOnce(&Transport, Result<u64, SendFileError>) + 'static,
    ) -> FileTransfer {
        self.stream.send_file(file, range, done)
    }

    /// Closes the connection in order: sends the bytes that were written, waits until the registered producer, if
    /// any, is unregistered, sends the end of file, and then calls
    /// [`connection_lost`](super::Protocol::connection_lost) with [`Reason::Done`]. From this call on, nothing is
    /// delivered; bytes that arrive are dropped.
    ///
    /// The peer receives everything even if it is still sending. The OS would reset a connection that is closed
    /// with received bytes unread, and the peer would lose what it had not read yet. So after `connection_lost`,
    /// the reactor keeps the socket until the peer ends, and drops what arrives: for at most 10 s, 2 s without a
    /// byte, and 64 MiB. [`Living::lingering`](crate::Living::lingering) counts such sockets. A pipe is closed at
    /// once.
    ///
    /// The connection stays open as long as the peer does not read what was written, or the producer stays registered:
    /// to set a time limit, call [`abort_connection`](Transport::abort_connection) later. A reactor that stops waits
    /// for neither: see [`Reactor::run`]. The end of file also ends the connection for other processes that share
    /// the socket: see [`release_connection`](Transport::release_connection).
    pub fn lose_connection(&self) {
        self.stream.happened(Event::Lose);
    }

    /// As [`lose_connection`](Transport::lose_connection), but tells the producer to stop instead of waiting for it.
    pub(crate) fn lose_without_producer(&self) {
        self.stream.lose_without_producer();
    }

    /// Loses the connection for a failure that the port does not know of.
    pub(in crate::transport) fn fail(&self, failure: Failure) {
        self.stream.failed(failure);
    }

    /// Whether received bytes are delivered to the protocol, now or after a pause: the connection is open, and the
    /// program has not closed it.
    pub(crate) fn still_receives(&self) -> bool {
        self.stream.flow.borrow().state.stage() == Stage::Open
    }

    /// Ends the sending side: sends the bytes that were written, waits until the registered producer, if any, is
    /// unregistered, sends the end of file, and then calls
    /// [`write_connection_lost`](super::Protocol::write_connection_lost). Receiving goes on. Once the peer has
    /// ended its side too, the connection is closed with [`Reason::Done`].
    ///
    /// This closes a pipe that we write to, and does nothing to a pipe that we read from.
    pub fn lose_write_connection(&self) {
        self.stream.happened(Event::LoseWrite);
    }

    /// Closes the connection now, with [`Reason::Aborted`]. Bytes that the OS has not yet taken are dropped, and a
    /// producer is told to stop. On TCP, the bytes that the OS has taken and not yet sent are dropped too, and the
    /// peer sees a reset.
    pub fn abort_connection(&self) {
        self.stream.close(Ending::Reset, Reason::Aborted);
    }

    /// Closes the connection now and in order, with [`Reason::Done`]. Bytes that the OS has not yet taken are
    /// dropped ([`unsent`](Transport::unsent) tells how many), and a producer is told to stop.
    ///
    /// The peer receives the bytes that the OS has taken, even if it is still sending: see
    /// [`lose_connection`](Transport::lose_connection).
    pub fn close_connection_now(&self) {
        self.stream.close(Ending::InOrder, Reason::Done);
    }

    /// Closes our handle of the socket now, with [`Reason::Done`], and sends no end of file: the connection lives on
    /// in another process that has the socket too, because it was forked or because it was sent the socket. Bytes
    /// that the OS has not yet taken are dropped, and a producer is told to stop.
    ///
    /// If no other process has the socket, the OS ends the connection, or resets it if the peer is still sending.
    pub fn release_connection(&self) {
        self.stream.close(Ending::AtOnce, Reason::Done);
    }

    /// Stops receiving until [`resume_producing`](Transport::resume_producing). No data is delivered after this call
    /// returns; bytes that had arrived already are held. The network's flow control slows the peer down.
    ///
    /// While paused, the transport sees no end of file: `read_connection_lost` is not called before it is resumed.
    /// A reset, or an end of both directions, is reported while paused, except on Windows, where the next send or
    /// receive reports it.
    ///
    /// This is the application's pause, of which there is one: two calls need one `resume_producing`. The other reasons
    /// not to receive are apart from it: the transport receives while neither this, nor a [`Pause`](super::Pause), nor
    /// the congestion of a transport whose [producer](Transport::register_producer) it is, nor its
    /// [own congestion](Transport::pause_while_congested) prevents it.
    pub fn pause_producing(&self) {
        self.stream.pause_for_application(true);
    }

    /// Ends the application's [pause](Transport::pause_producing). Bytes held during the pause are delivered first. Does
    /// nothing unless paused by `pause_producing`.
    pub fn resume_producing(&self) {
        self.stream.pause_for_application(false);
    }

    /// From now on, receives nothing while [`is_congested`](Transport::is_congested). Use this when you answer what
    /// you receive: the answers to a peer that does not read then take no more memory than the high
    /// [water mark](Transport::set_water_marks) and one answer. Call it once, in
    /// [`connection_made`](super::Protocol::connection_made) as a rule; it lasts for the connection's life.
    ///
    /// This does not affect [`pause_producing`](Transport::pause_producing) and
    /// [`resume_producing`](Transport::resume_producing): the transport receives while it is neither paused nor
    /// congested.
    pub fn pause_while_congested(&self) {
        self.stream.happened(Event::PauseWhileCongested);
    }

    /// Registers `producer`, which writes to this transport: it is paused and resumed as the transport's queue fills
    /// and drains. It replaces a producer registered before, which is dropped without a call.
    /// [`lose_connection`](Transport::lose_connection) waits until it is unregistered. If the transport is closed,
    /// or accepts no more data, the producer is only told to stop.
    ///
    /// A transport can be a producer itself: register one with another, and the first one receives no faster than the
    /// second one sends, in a [pause of its own](super::SourcePauser). For a transport that answers itself, there is
    /// [`pause_while_congested`](Transport::pause_while_congested).
    pub fn register_producer(&self, producer: impl IntoProducer, kind: ProducerKind) {
        let producer = producer.into_producer();
        self.stream
            .register_producer(Rc::new(RefCell::new(producer)), kind);
    }

    /// Drops the registered producer, without a call to it. Call this when it has no more to write: a
    /// [`lose_connection`](Transport::lose_connection) that waited for it then proceeds.
    pub fn unregister_producer(&self) {
        self.stream.unregister_producer();
    }

    /// How many bytes were written that the OS has not taken yet; 0 once the connection is closed, when
    /// [`unsent`](Transport::unsent) tells how many were left.
    #[must_use]
    pub fn queued(&self) -> usize {
        let flow = self.stream.flow.borrow();
        if flow.state.is_open() {
            flow.queued()
        } else {
            0
        }
    }

    /// How many of all written bytes the OS never took: known in and after
    /// [`connection_lost`](super::Protocol::connection_lost), as a rule 0 before. Bytes that [`write`](Transport::write)
    /// dropped because the connection was ending or closed are not counted.
    ///
    /// The peer may not have received all bytes that the OS took: only an answer from the peer proves that.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.stream.flow.borrow().unsent()
    }

    /// Whether the queue has exceeded the high [water mark](Transport::set_water_marks) and has not yet drained to the
    /// low one.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.stream.flow.borrow().state.is_congested()
    }

    /// Whether a write would be queued without congestion, as far as is told without a look at why not.
    #[inline]
    pub(crate) fn takes_more(&self) -> bool {
        let flow = self.stream.flow.borrow();
        flow.end_state.is_none() && !flow.state.is_congested()
    }

    /// Sets the number of queued bytes above which the transport is congested and a producer is paused (`high`: 64 KiB
    /// by default), and the number at which both end (`low`: 16 KiB by default; more than `high` counts as `high`).
    /// If more than `high` is queued already, the transport is congested at once; congestion ends with a send.
    pub fn set_water_marks(&self, low: usize, high: usize) {
        self.stream.set_water_marks(low, high);
    }

    /// Whether the connection is open: from the beginning until it is closed, by a call or because it failed. It is
    /// still open after [`lose_connection`](Transport::lose_connection) while that call has bytes to send or waits
    /// for a producer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.flow.borrow().state.is_open()
    }

    /// Whether bytes that are written now are queued. If not, [`write`](Transport::write) drops them: the connection is closed or
    /// ending, can send no more, or only receives.
    #[must_use]
    pub fn takes_data(&self) -> bool {
        let flow = self.stream.flow.borrow();
        flow.state.is_open() && flow.takes_data()
    }

    /// The peer's address; `None` for a pipe.
    #[must_use]
    pub fn peer_addr(&self) -> Option<Address> {
        self.stream.link.peer.clone()
    }

    /// Our own address of a TCP connection.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the connection is closed,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a pipe.
    pub fn local_addr(&self) -> io::Result<Address> {
        self.check_open()?;
        self.stream.reactor.port().local_addr(self.stream.handle)
    }

    /// How many of the bytes that the OS has taken the peer's system has not acknowledged yet. The number decreases as
    /// the peer reads. Zero means that the peer's *system* has all of them, not that the peer has read them. An end
    /// of file that is not acknowledged yet may count as one byte.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr), and [`Unsupported`](io::ErrorKind::Unsupported) on Windows and
    /// macOS, which do not report it.
    pub fn unacknowledged(&self) -> io::Result<usize> {
        self.check_open()?;
        let port = self.stream.reactor.port();
        port.unacknowledged(self.stream.handle)
    }

    /// Sets whether the OS sends small segments at once (`TCP_NODELAY`) instead of gathering them (Nagle's
    /// algorithm). False by default, as the OS has it. Small writes of one turn of the loop leave together in either
    /// case.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr).
    pub fn set_no_delay(&self, enabled: bool) -> io::Result<()> {
        self.set_option(SocketOption::NoDelay(enabled))
    }

    /// Sets whether, and after how long, the OS probes an idle connection: never (`None`) by default. See
    /// [`SocketOption::KeepAlive`] for the units.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr).
    pub fn set_keep_alive(&self, idle: Option<Duration>) -> io::Result<()> {
        self.set_option(SocketOption::KeepAlive(idle))
    }

    /// Sets an option of a TCP connection.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tidewaiter::Transport;
    /// use tidewaiter::port::SocketOption;
    ///
    /// # fn tune(transport: &Transport) -> std::io::Result<()> {
    /// transport.set_option(SocketOption::KeepAlive(Some(Duration::from_secs(60))))?;
    /// transport.set_option(SocketOption::KeepAliveRetries(3))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr); [`Unsupported`](io::ErrorKind::Unsupported) if the OS does not have it.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.check_open()?;
        self.stream
            .reactor
            .port_mut()
            .set_option(self.stream.handle, option)
    }

    pub(super) fn check_open(&self) -> io::Result<()> {
        if self.is_open() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the connection is closed",
            ))
        }
    }

    /// The OS's number of the socket or pipe, for inspection or for options that are not offered here. The reactor
    /// still owns it: do not close it.
    ///
    /// `None` for a simulated transport, and as soon as the connection is [not open](Transport::is_open) any more.
    /// The OS does not give the number to anything else before
    /// [`connection_lost`](super::Protocol::connection_lost) has returned; do not use it after that.
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        if !self.is_open() {
            return None;
        }
        let port = self.stream.reactor.port();
        port.raw_descriptor(self.stream.handle).ok()
    }

    /// Sets the size of the terminal that this is a direction of.
    pub(crate) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.stream
            .reactor
            .port_mut()
            .resize(self.stream.handle, size)
    }

    /// The reactor that this transport lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.stream.reactor
    }
}

/// Clones are equal: they refer to the same connection.
impl PartialEq for Transport {
    fn eq(&self, other: &Transport) -> bool {
        Rc::ptr_eq(&self.stream, &other.stream)
    }
}

impl Eq for Transport {}

impl Hash for Transport {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.stream).hash(state);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({})", self.stream.link)
    }
}
