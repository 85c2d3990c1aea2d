//! How a datagram socket is opened.

use std::io;

use super::super::options::SocketFileOptions;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::os::Address;

/// Which datagram socket to open, and how: a UDP socket, or on Unix a datagram socket of the UNIX family.
///
/// The fields are public, the struct is not exhaustive: take one of the constructors and change fields, or call the methods of
/// the same names.
///
/// A [`Port`](super::super::Port) takes addresses alone. A reactor also reads texts and looks names up, as [`ToEndpoint`] says
/// for listening, and takes the first address with which the OS opens the socket; of a peer's name, too.
///
/// ```
/// use tidewaiter::port::DatagramOptions;
///
/// let options = DatagramOptions::bound("0.0.0.0:5353").reuse_address(true);
/// assert!(options.reuse_address);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatagramOptions {
    /// The address that the socket is bound to. With port 0, the OS chooses a port. `None`: the OS chooses everything
    /// when the socket first sends; a UNIX socket stays without a name, so that nobody can answer it.
    pub local: Option<Endpoint>,
    /// The peer that the socket is connected to: it receives from no one else, and a datagram without a destination
    /// goes there. `None`: it receives from everyone.
    pub peer: Option<Endpoint>,
    /// Whether other sockets may bind the same address if they set this too (`SO_REUSEADDR`): false by default. Several
    /// programs that receive from one multicast group need it.
    pub reuse_address: bool,
    /// Whether the kernel spreads the datagrams over all sockets that are bound to the address and set this (Linux):
    /// false by default. On other systems, opening fails with [`Unsupported`](std::io::ErrorKind::Unsupported).
    pub reuse_port: bool,
    /// Whether a socket on an IPv6 address refuses IPv4: true by default. If false, IPv4 peers have addresses such as
    /// `::ffff:192.0.2.1`. Without effect on other addresses.
    pub only_v6: bool,
    /// Whether the socket may send to broadcast addresses (`SO_BROADCAST`): false by default.
    pub broadcast: bool,
    /// Whether each received datagram comes with its [`PacketInfo`](super::PacketInfo): false by default.
    pub packet_info: bool,
    /// The size of the OS's receive buffer (`SO_RCVBUF`), which the OS may cap; `None`, the default, leaves it alone.
    pub receive_buffer: Option<usize>,
    /// The size of the OS's send buffer (`SO_SNDBUF`), which the OS may cap; `None`, the default, leaves it alone.
    pub send_buffer: Option<usize>,
    /// How the file of a UNIX socket is made and removed. Without effect on other addresses, but a mode or an owner is
    /// refused for them.
    pub socket_file: SocketFileOptions,
    /// A reactor queues at most this many datagrams that the OS has not taken: 1024 by default, at least 1. Further ones
    /// are dropped, which
    /// [`datagrams_dropped`](crate::DatagramProtocol::datagrams_dropped) reports.
    pub queued_datagrams: usize,
    /// A reactor queues at most this many bytes that the OS has not taken, or a single datagram: 1 MiB by default.
    pub queued_bytes: usize,
}

impl DatagramOptions {
    /// A socket that is bound to `local`, with the defaults for everything else.
    #[must_use]
    pub fn bound(local: impl ToEndpoint) -> DatagramOptions {
        DatagramOptions::between(Some(local.to_endpoint()), None)
    }

    /// A socket that is connected to `peer`, with the defaults for everything else.
    #[must_use]
    pub fn connected(peer: impl ToEndpoint) -> DatagramOptions {
        DatagramOptions::between(None, Some(peer.to_endpoint()))
    }

    /// Binds the socket, which is connected to a peer, to [`local`](DatagramOptions#structfield.local) before.
    ///
    /// ```
    /// use tidewaiter::io::UdpSocket;
    /// use tidewaiter::port::DatagramOptions;
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let options = DatagramOptions::connected("127.0.0.1:5353").local("127.0.0.1:0");
    /// let socket = UdpSocket::bind(&reactor, options)?;
    /// assert_ne!(socket.local_addr()?.port(), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn local(mut self, local: impl ToEndpoint) -> DatagramOptions {
        self.local = Some(local.to_endpoint());
        self
    }

    /// Sets [`reuse_address`](DatagramOptions#structfield.reuse_address).
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> DatagramOptions {
        self.reuse_address = reuse;
        self
    }

    /// Sets [`reuse_port`](DatagramOptions#structfield.reuse_port).
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> DatagramOptions {
        self.reuse_port = reuse;
        self
    }

    /// Sets [`only_v6`](DatagramOptions#structfield.only_v6).
    #[must_use]
    pub fn only_v6(mut self, only_v6: bool) -> DatagramOptions {
        self.only_v6 = only_v6;
        self
    }

    /// Sets [`broadcast`](DatagramOptions#structfield.broadcast).
    #[must_use]
    pub fn broadcast(mut self, broadcast: bool) -> DatagramOptions {
        self.broadcast = broadcast;
        self
    }

    /// Sets [`packet_info`](DatagramOptions#structfield.packet_info).
    #[must_use]
    pub fn packet_info(mut self, packet_info: bool) -> DatagramOptions {
        self.packet_info = packet_info;
        self
    }

    /// Sets [`receive_buffer`](DatagramOptions#structfield.receive_buffer).
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> DatagramOptions {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sets [`send_buffer`](DatagramOptions#structfield.send_buffer).
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> DatagramOptions {
        self.send_buffer = Some(bytes);
        self
    }

    /// Sets the [mode](SocketFileOptions::mode) of a UNIX socket's file.
    #[must_use]
    pub fn socket_mode(mut self, mode: u32) -> DatagramOptions {
        self.socket_file.mode = Some(mode);
        self
    }

    /// Sets [`queued_datagrams`](DatagramOptions#structfield.queued_datagrams).
    #[must_use]
    pub fn queued_datagrams(mut self, datagrams: usize) -> DatagramOptions {
        self.queued_datagrams = datagrams;
        self
    }

    /// Sets [`queued_bytes`](DatagramOptions#structfield.queued_bytes).
    #[must_use]
    pub fn queued_bytes(mut self, bytes: usize) -> DatagramOptions {
        self.queued_bytes = bytes;
        self
    }

    pub(crate) fn between(local: Option<Endpoint>, peer: Option<Endpoint>) -> DatagramOptions {
        DatagramOptions {
            local,
            peer,
            reuse_address: false,
            reuse_port: false,
            only_v6: true,
            broadcast: false,
            packet_info: false,
            receive_buffer: None,
            send_buffer: None,
            socket_file: SocketFileOptions::default(),
            queued_datagrams: 1024,
            queued_bytes: 1 << 20,
        }
    }

    /// Refuses options that no port supports.
    pub(in super::super) fn check(&self) -> io::Result<()> {
        for endpoint in self.local.iter().chain(&self.peer) {
            endpoint.expect_address()?;
        }
        let local = self.local_address();
        local.map_or(Ok(()), |local| self.socket_file.check(local))
    }

    /// The local address, if it is one.
    pub(crate) fn local_address(&self) -> Option<&Address> {
        self.local.as_ref().and_then(Endpoint::address)
    }

    /// The peer's address, if it is one.
    pub(crate) fn peer_address(&self) -> Option<&Address> {
        self.peer.as_ref().and_then(Endpoint::address)
    }

    /// The address that names the socket in messages, and that decides its family.
    pub(crate) fn address(&self) -> Option<&Address> {
        self.local_address().or(self.peer_address())
    }
}

/// Binds to the endpoint.
impl<E: ToEndpoint> From<E> for DatagramOptions {
    fn from(local: E) -> DatagramOptions {
        DatagramOptions::bound(local)
    }
}
