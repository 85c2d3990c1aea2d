//! A datagram socket: opening it, and what it needs to know of itself.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::super::admission::invalid;
use super::super::calls::{Control, unsupported};
use super::super::control::{self, Object};
use super::super::datagram::{
    DatagramError, DatagramOptions, Multicast, MulticastSettings, NetworkInterface,
};
use super::super::listening::share_port;
use super::super::memory::RareQueue;
use super::super::options::PortKind;
use super::super::unix_socket::{self, SocketFile};
use super::family::Family;
use super::multicast;
use super::reported::is_reported;
use super::system;
use crate::os::Address;

/// The most errors that are taken from the kernel at a time, so that a flood of them does not starve other handles.
const ERRORS_MAX: usize = 16;

/// A datagram socket of the OS. The fields are in this order, so that the file is removed before the socket is closed.
pub(in super::super) struct DatagramSocket {
    /// The file of a UNIX socket that we have made. Boxed, because few sockets have one.
    _file: Option<Box<SocketFile>>,
    socket: Socket,
    pub(super) family: Family,
    /// Whether the program wants what packets say besides.
    pub(super) packet_info: bool,
    /// Whether the kernel queues the errors that peers and the network report. Otherwise a connected socket learns of each
    /// from the call that comes next.
    pub(super) queues_errors: bool,
    /// Errors that a send learned of, and that the receive tells.
    reported: Cell<RareQueue<DatagramError>>,
    /// The kernel cuts runs of datagrams of at most this size; 0 if it cuts none.
    pub(super) segment_max: Cell<u16>,
    /// How many messages the last receive brought.
    pub(super) received_last: Cell<u8>,
    /// The index of the interface for IPv4 groups that was set, which some kernels do not tell; 0 if none was.
    multicast_index: Cell<u32>,
}

impl DatagramSocket {
    /// Opens a socket for a port of the kind `port`.
    pub(in super::super) fn open(
        port: PortKind,
        options: &DatagramOptions,
    ) -> io::Result<DatagramSocket> {
        let address = options.address().ok_or_else(no_address)?;
        let refused = || unsupported(port, "exchange datagrams at", address);
        let family = Family::of(address).ok_or_else(refused)?;
        let protocol = (family != Family::Unix).then_some(Protocol::UDP);
        let socket = Socket::new(family.domain(), Type::DGRAM, protocol)?;
        socket.set_nonblocking(true)?;
        set_options(&socket, family, options)?;
        system::prepare(&socket, family, options.packet_info)?;
        let file = bind(&socket, options)?;
        if let Some(peer) = options.peer_address() {
            socket.connect(&control::os_address(peer)?)?;
        }
        let queues_errors = system::QUEUES_ERRORS && family != Family::Unix;
        let packet_info = options.packet_info;
        Ok(DatagramSocket {
            _file: file.map(Box::new),
            ..DatagramSocket::new(socket, family, packet_info, queues_errors)
        })
    }

    /// Takes over a socket that was made elsewhere. Leaves its options as they are.
    pub(in super::super) fn adopt(socket: Socket) -> io::Result<DatagramSocket> {
        let family = Family::of(&control::local_addr(&socket)?);
        let family = family.ok_or_else(|| invalid("the socket is of an unknown family"))?;
        socket.set_nonblocking(true)?;
        let queues_errors = system::queues_errors(&socket, family);
        Ok(DatagramSocket::new(socket, family, false, queues_errors))
    }

    fn new(
        socket: Socket,
        family: Family,
        packet_info: bool,
        queues_errors: bool,
    ) -> DatagramSocket {
        let cuts = system::SEGMENTS_MAX > 1 && family != Family::Unix;
        DatagramSocket {
            _file: None,
            socket,
            family,
            packet_info,
            queues_errors,
            reported: Cell::default(),
            segment_max: Cell::new(if cuts { u16::MAX } else { 0 }),
            received_last: Cell::new(0),
            multicast_index: Cell::new(0),
        }
    }

    pub(in super::super) fn control(&self, control: Control<'_>) -> io::Result<()> {
        match control {
            Control::SetPeer(peer) => set_peer(self, peer),
            Control::Multicast(change) => self.set_multicast(change),
            Control::ShutdownWrite | Control::HoldEnds(_) => {
                Err(invalid("the handle is not a stream socket"))
            }
            other => Object::Socket(self).control(other),
        }
    }

    fn set_multicast(&self, change: Multicast) -> io::Result<()> {
        let is_v6 = self.is_v6()?;
        change.apply(&self.socket, is_v6, &multicast::CALLS)?;
        if let Multicast::Interface(interface) = change {
            let index = match interface {
                NetworkInterface::Index(index) if !is_v6 => index,
                _ => 0,
            };
            self.multicast_index.set(index);
        }
        Ok(())
    }

    pub(in super::super) fn multicast_settings(&self) -> io::Result<MulticastSettings> {
        let mut settings = MulticastSettings::of(&self.socket, self.is_v6()?)?;
        let index = self.multicast_index.get();
        if index != 0 {
            settings.interface = NetworkInterface::Index(index);
        }
        Ok(settings)
    }

    fn is_v6(&self) -> io::Result<bool> {
        match self.family {
            Family::Unix => Err(invalid("only UDP sockets join multicast groups")),
            family => Ok(family.domain() == Domain::IPV6),
        }
    }

    /// Whether this is a UDP socket.
    pub(in super::super) fn is_udp(&self) -> bool {
        self.family != Family::Unix
    }

    /// Whether the program wants packets' other contents told.
    pub(in super::super) fn tells_packet_info(&self) -> bool {
        self.packet_info
    }

    /// Takes errors that peers and the network reported off the socket's queue, at most `ERRORS_MAX` of them. Returns
    /// whether the queue is empty then.
    pub(in super::super) fn take_errors(&self, errors: &mut RareQueue<DatagramError>) -> bool {
        // A UNIX socket would give a datagram instead.
        if !self.is_udp() {
            return true;
        }
        let mut reported = self.reported.take();
        errors.extend(std::iter::from_fn(|| reported.pop_front()));
        for _ in 0..ERRORS_MAX {
            match system::take_error(self) {
                Some(error) => errors.push_back(error),
                None => return true,
            }
        }
        false
    }

    /// Notes the error with which a receive failed. Returns whether it is one that a peer or the network reported, and
    /// whose place is the queue of errors.
    pub(in super::super) fn note_failed(
        &self,
        error: io::Error,
        errors: &mut RareQueue<DatagramError>,
    ) -> bool {
        let is_queued = self.queues_errors && is_reported(&error);
        if !is_queued {
            errors.push_back(self.of_peer("recvmsg", error));
        }
        is_queued
    }

    /// Notes an error that a send has learned of, and that concerns an earlier datagram.
    pub(super) fn note_reported(&self, error: io::Error) {
        let mut reported = self.reported.take();
        reported.push_back(self.of_peer("sendmsg", error));
        self.reported.set(reported);
    }

    /// An error that the socket learned of without a queue of errors: then it is connected.
    fn of_peer(&self, call: &'static str, error: io::Error) -> DatagramError {
        DatagramError::new(call, control::peer_addr(self).ok(), error)
    }
}

fn no_address() -> io::Error {
    invalid("a datagram socket needs a local address or a peer")
}

fn set_options(socket: &Socket, family: Family, options: &DatagramOptions) -> io::Result<()> {
    if family == Family::V6 {
        socket.set_only_v6(options.only_v6)?;
    }
    if options.reuse_address {
        socket.set_reuse_address(true)?;
    }
    if options.reuse_port {
        share_port(socket)?;
    }
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Binds the socket. Returns its file, if the address is a path.
fn bind(socket: &Socket, options: &DatagramOptions) -> io::Result<Option<SocketFile>> {
    match options.local_address() {
        Some(Address::Unix(name)) if !name.is_unnamed() => {
            unix_socket::bind(socket, name, &options.socket_file)
        }
        Some(Address::Unix(_)) | None => Ok(None),
        Some(local) => {
            socket.bind(&control::os_address(local)?)?;
            Ok(None)
        }
    }
}

/// Connects the socket to `peer`, or takes back the connection.
fn set_peer(socket: &Socket, peer: Option<&Address>) -> io::Result<()> {
    match peer {
        Some(peer) => socket.connect(&control::os_address(peer)?),
        None => disconnect(socket),
    }
}

fn disconnect(socket: &Socket) -> io::Result<()> {
    match rustix::net::connect_unspec(socket) {
        // The BSDs disconnect, and then complain about the address.
        Ok(()) | Err(Errno::AFNOSUPPORT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Debug for DatagramSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatagramSocket({:?}, {:?})", self.socket, self.family)
    }
}

impl Deref for DatagramSocket {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
