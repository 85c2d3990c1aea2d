//! A datagram socket, as its protocol sees it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::{DatagramSocket, Limit};
use crate::error::Reason;
use crate::os::Address;
use crate::port::{Multicast, MulticastSettings, NetworkInterface, RawDescriptor};
use crate::reactor::Reactor;

/// A datagram socket on a reactor. Clones refer to the same one; dropping them does not close it.
///
/// No call blocks, and no call enters the protocol: its callbacks come from the loop later. Once the socket is closed,
/// calls do nothing or return [`NotConnected`](io::ErrorKind::NotConnected).
///
/// The datagrams of one turn of the loop go to the OS together. A datagram may be lost, duplicated or overtaken on its
/// way, except between UNIX sockets.
#[derive(Clone)]
pub struct DatagramTransport {
    socket: Rc<DatagramSocket>,
}

impl DatagramTransport {
    pub(super) fn of(socket: &Rc<DatagramSocket>) -> DatagramTransport {
        DatagramTransport {
            socket: Rc::clone(socket),
        }
    }

    /// Sends a copy of `data` to the peer that the socket is connected to, as one datagram.
    ///
    /// Without a connected peer, or for an error of the OS, the loop calls
    /// [`error_received`](super::DatagramProtocol::error_received).
    pub fn send(&self, data: &[u8]) {
        self.socket
            .push(1, data.len(), |queue| queue.push(data, None));
    }

    /// Sends a copy of `data` to `peer`, as one datagram.
    ///
    /// This and the calls below take addresses and no texts: a name would have to be looked up, and none of them waits.
    /// [`io::DatagramSocket::send_to`](crate::io::DatagramSocket::send_to) does.
    pub fn send_to(&self, data: &[u8], peer: &Address) {
        self.socket
            .push(1, data.len(), |queue| queue.push(data, Some(peer)));
    }

    /// Offers `data`, as one datagram to `peer` or, if that is `None`, to the peer that the socket is connected to, to the OS
    /// at once, after those that are queued, and tells what came of it. What the OS has no room for is queued, as by
    /// [`send_to`](DatagramTransport::send_to), and so is everything behind it.
    ///
    /// This takes a system call for each datagram, where `send_to` needs one for several.
    ///
    /// # Errors
    ///
    /// The OS's error, for instance for a datagram that is too large or a peer that cannot be reached;
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the socket is closed.
    pub fn try_send(&self, data: &[u8], peer: Option<&Address>) -> io::Result<()> {
        self.check_open()?;
        self.socket.send_at_once(data, peer)
    }

    /// Sends `data` as one datagram without copying it, to `peer` or, if that is `None`, to the peer that the socket is
    /// connected to. The memory is dropped by the loop once the OS has taken it.
    pub fn send_bytes(&self, data: impl Into<Bytes>, peer: Option<&Address>) {
        let data = data.into();
        self.socket
            .push(1, data.len(), |queue| queue.push_bytes(data, peer));
    }

    /// Sends `data` as datagrams of `segment` bytes each, but for the last one, which may be smaller. Otherwise as
    /// [`send_bytes`](DatagramTransport::send_bytes). Linux cuts them in the kernel, which takes much less time than sending
    /// them one by one. It does so as well for datagrams of one size that were sent one after the other to one peer.
    ///
    /// # Panics
    ///
    /// When `segment` is 0, or `data` is empty.
    pub fn send_run(&self, data: impl Into<Bytes>, segment: usize, peer: Option<&Address>) {
        let data = data.into();
        let count = data.len().div_ceil(segment.max(1));
        self.socket.push(count, data.len(), |queue| {
            queue.push_run(data, segment, peer);
        });
    }

    /// Connects the socket to `peer`, or takes back the connection (`None`). A connected socket receives from its peer
    /// alone; datagrams of others that arrived before are still received.
    ///
    /// # Errors
    ///
    /// The OS's error; [`NotConnected`](io::ErrorKind::NotConnected) once the socket is closed.
    pub fn set_peer(&self, peer: Option<&Address>) -> io::Result<()> {
        self.check_open()?;
        self.reactor().port_mut().set_peer(self.socket.handle, peer)
    }

    /// Receives what is sent to a multicast group.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](DatagramTransport::set_peer).
    pub fn join_multicast(&self, group: IpAddr, interface: NetworkInterface) -> io::Result<()> {
        self.set_multicast(Multicast::Join {
            group,
            source: None,
            interface,
        })
    }

    /// Undoes [`join_multicast`](DatagramTransport::join_multicast).
    ///
    /// # Errors
    ///
    /// As [`set_peer`](DatagramTransport::set_peer).
    pub fn leave_multicast(&self, group: IpAddr, interface: NetworkInterface) -> io::Result<()> {
        self.set_multicast(Multicast::Leave {
            group,
            source: None,
            interface,
        })
    }

    /// Changes what the socket receives from or sends to multicast groups: also for groups of one source, the number of
    /// hops, and the interface.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](DatagramTransport::set_peer).
    pub fn set_multicast(&self, change: Multicast) -> io::Result<()> {
        self.check_open()?;
        let mut port = self.reactor().port_mut();
        port.set_multicast(self.socket.handle, change)
    }

    /// How the socket sends to multicast groups: as [`set_multicast`](DatagramTransport::set_multicast) has set it.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](DatagramTransport::set_peer).
    pub fn multicast_settings(&self) -> io::Result<MulticastSettings> {
        self.check_open()?;
        let port = self.reactor().port();
        port.multicast_settings(self.socket.handle)
    }

    /// Receives nothing more for now: no datagram is delivered after this call. The OS keeps those that arrive, until its
    /// buffer is full.
    pub fn pause_receiving(&self) {
        self.socket.pause();
    }

    /// Receives again.
    pub fn resume_receiving(&self) {
        self.socket.resume();
    }

    /// Takes the limit off the [queue](crate::port::DatagramOptions::queued_datagrams) of what the OS has not taken. Nothing
    /// is dropped from here on, and [`write_paused`](super::DatagramProtocol::write_paused) comes as soon as the OS has no
    /// room. For programs that have a limit of their own.
    pub fn queue_without_limit(&self) {
        self.socket.limit.set(Limit::NONE);
    }

    /// Offers what is queued to the OS now. The loop does that by itself at the end of its callbacks.
    pub fn flush(&self) {
        self.socket.offer_queue();
    }

    /// The number of bytes that the OS has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.socket.queued_bytes()
    }

    /// The number of datagrams that the OS has not taken yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.socket.queued()
    }

    /// Whether one more datagram of so many bytes has to wait: until
    /// [`write_resumed`](super::DatagramProtocol::write_resumed).
    pub(crate) fn must_wait(&self, bytes: usize) -> bool {
        self.socket.must_wait(bytes)
    }

    /// Closes the socket. What was sent before goes to the OS if it takes it at once, and is dropped otherwise. The loop
    /// then calls [`stopped`](super::DatagramProtocol::stopped) with [`Reason::Done`]. Does nothing the second time.
    pub fn close(&self) {
        self.socket.close(Reason::Done);
    }

    /// Whether the socket is open: until [`close`](DatagramTransport::close), or until the reactor stops.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](DatagramTransport::set_peer).
    pub fn local_addr(&self) -> io::Result<Address> {
        self.check_open()?;
        self.reactor().port().local_addr(self.socket.handle)
    }

    /// The peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) without one and once the socket is closed; the OS's error.
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.check_open()?;
        self.reactor().port().peer_addr(self.socket.handle)
    }

    /// The OS's number of the socket, for options that are not offered here. The reactor still owns it: do not close it.
    /// `None` for a simulated one, and once the socket is closed.
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        self.check_open().ok()?;
        self.reactor()
            .port()
            .raw_descriptor(self.socket.handle)
            .ok()
    }

    /// The reactor that the socket lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.socket.reactor
    }

    fn check_open(&self) -> io::Result<()> {
        if self.is_open() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the socket is closed",
        ))
    }
}

/// Clones are equal: they refer to the same socket.
impl PartialEq for DatagramTransport {
    fn eq(&self, other: &DatagramTransport) -> bool {
        Rc::ptr_eq(&self.socket, &other.socket)
    }
}

impl Eq for DatagramTransport {}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket.address {
            Some(address) => write!(f, "DatagramTransport({address})"),
            None => f.write_str("DatagramTransport"),
        }
    }
}
