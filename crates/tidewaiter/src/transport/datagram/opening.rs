//! The ways to open a datagram socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::{DatagramProtocol, DatagramSocket as Socket, DatagramTransport, Flow, Limit};
use crate::endpoint::{AddressKind, Endpoint, ToEndpoint};
use crate::error::Error;
use crate::os::Address;
use crate::port::{DatagramOptions, DatagramSocket, Handle, Token};
use crate::reactor::{Live, Reactor};
use crate::transport::close_unawaited;

impl Reactor {
    /// Opens a UDP socket that receives from everyone: `listen_udp("localhost:5353", …)`. To receive IPv4 on an IPv6 address
    /// too, see [`DatagramOptions::only_v6`].
    ///
    /// Receiving begins with the next turn of the loop, after [`DatagramProtocol::started`].
    ///
    /// # Errors
    ///
    /// [`Error::Datagrams`] with the address and the OS's reason; [`Error::Endpoint`] for a text that cannot be read or a
    /// name without an address; [`Error::Stopped`].
    pub fn listen_udp(
        &self,
        options: impl Into<DatagramOptions>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_of_kind(options.into(), AddressKind::Ip, protocol)
    }

    /// Opens a UDP socket that is connected to `peer`: it receives from no one else, and sends there. Otherwise as
    /// [`listen_udp`](Reactor::listen_udp). No packet is sent by this.
    ///
    /// A name is looked up within the call, as [for listening](ToEndpoint). The first of its addresses to which the OS
    /// connects the socket is the peer. Nobody answers at that time, so that the others are never tried, unlike with
    /// [`connect_tcp`](Reactor::connect_tcp): where `localhost` stands for `::1` and `127.0.0.1` and the server is at
    /// `127.0.0.1` alone, give the address.
    ///
    /// # Errors
    ///
    /// As [`listen_udp`](Reactor::listen_udp).
    ///
    /// ```
    /// use tidewaiter::port::Datagram;
    /// use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};
    ///
    /// struct Client;
    ///
    /// impl DatagramProtocol for Client {
    ///     fn started(&mut self, transport: &DatagramTransport) {
    ///         transport.send(b"hello");
    ///     }
    ///
    ///     fn datagram_received(&mut self, transport: &DatagramTransport, answer: &Datagram<'_>) {
    ///         println!("{} bytes came back", answer.len());
    ///         transport.close();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let client = reactor.connect_udp("localhost:5353", Client)?;
    /// assert_eq!(client.peer_addr()?.port(), Some(5353));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_udp(
        &self,
        peer: impl ToEndpoint,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_of_kind(DatagramOptions::connected(peer), AddressKind::Ip, protocol)
    }

    /// Unix. Opens a datagram socket of the UNIX family at an address or a path. Otherwise as
    /// [`listen_udp`](Reactor::listen_udp).
    ///
    /// # Errors
    ///
    /// As [`listen_udp`](Reactor::listen_udp), and with [`Unsupported`](std::io::ErrorKind::Unsupported) on Windows.
    pub fn listen_unix_datagrams(
        &self,
        options: impl Into<DatagramOptions>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_of_kind(options.into(), AddressKind::Unix, protocol)
    }

    /// Unix. Opens a datagram socket of the UNIX family that is connected to `peer`. It has no name, so that the peer
    /// cannot answer: for that, see [`open_datagrams`](Reactor::open_datagrams).
    ///
    /// # Errors
    ///
    /// As [`listen_unix_datagrams`](Reactor::listen_unix_datagrams).
    pub fn connect_unix_datagrams(
        &self,
        peer: impl ToEndpoint,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_of_kind(
            DatagramOptions::connected(peer),
            AddressKind::Unix,
            protocol,
        )
    }

    /// Opens a datagram socket of any kind that the [port](crate::port) supports.
    ///
    /// # Errors
    ///
    /// As [`listen_udp`](Reactor::listen_udp).
    pub fn open_datagrams(
        &self,
        options: DatagramOptions,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_of_kind(options, AddressKind::Any, protocol)
    }

    fn open_of_kind(
        &self,
        mut options: DatagramOptions,
        kind: AddressKind,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.check_open()?;
        let locals = self.addresses(options.local.as_ref(), kind)?;
        let peers = self.addresses(options.peer.as_ref(), kind)?;
        let mut failure = None;
        for local in &locals {
            for peer in &peers {
                options.local = local.clone().map(Endpoint::from);
                options.peer = peer.clone().map(Endpoint::from);
                match self.open_handle(&options, kind) {
                    Ok(handle) => return self.begin_datagrams(handle, &options, protocol),
                    Err(source) => {
                        failure.get_or_insert_with(|| failed(&options, source));
                    }
                }
            }
        }
        Err(failure.expect("there is an address or none on each side"))
    }

    /// Takes over a datagram socket that was made elsewhere: a UDP socket, or on Unix a datagram socket of the UNIX
    /// family, bound or connected. Its options stay as they are, but it no longer blocks, which every process
    /// that shares it notices. Otherwise as [`open_datagrams`](Reactor::open_datagrams) with the default options.
    ///
    /// # Errors
    ///
    /// [`Error::Adopt`] with the OS's reason; [`Error::Stopped`]. The socket is closed then.
    ///
    /// ```
    /// # use tidewaiter::port::Datagram;
    /// # use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
    ///         if let Some(sender) = datagram.sender() {
    ///             transport.send_to(datagram, sender);
    ///         }
    ///     }
    /// }
    ///
    /// # let reactor = Reactor::new()?;
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let transport = reactor.adopt_datagrams(socket, Echo)?;
    /// assert_eq!(transport.local_addr()?, address.into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_datagrams(
        &self,
        socket: impl Into<DatagramSocket>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.check_open()?;
        // `into` is the program's code and may call the reactor, so run it before we borrow the port.
        let socket: DatagramSocket = socket.into();
        let adopted = self.port_mut().adopt(socket);
        let handle = adopted.map_err(|source| Error::Adopt { peer: None, source })?;
        self.begin_datagrams(handle, &DatagramOptions::between(None, None), protocol)
    }

    fn open_handle(&self, options: &DatagramOptions, kind: AddressKind) -> io::Result<Handle> {
        let mut addresses = options
            .local_address()
            .into_iter()
            .chain(options.peer_address());
        addresses.try_for_each(|address| kind.check(address))?;
        self.port_mut().open_datagrams(options)
    }

    /// The addresses that an endpoint stands for, or `None` alone if there is no endpoint. Looks names up.
    fn addresses(
        &self,
        endpoint: Option<&Endpoint>,
        kind: AddressKind,
    ) -> Result<Vec<Option<Address>>, Error> {
        let Some(endpoint) = endpoint else {
            return Ok(vec![None]);
        };
        let found = self.resolve_now(endpoint, kind)?;
        Ok(found.into_iter().map(Some).collect())
    }

    fn begin_datagrams(
        &self,
        handle: Handle,
        options: &DatagramOptions,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        let local = self.port().local_addr(handle).ok();
        let limit = Cell::new(Limit::of(options));
        let socket = Rc::new(Socket {
            reactor: self.clone(),
            handle,
            address: local.or_else(|| options.peer_address().cloned()),
            token: Cell::new(Token::default()),
            protocol: RefCell::new(Some(Box::new(protocol))),
            flow: RefCell::new(Flow::default()),
            paused: Cell::new(false),
            held: RefCell::default(),
            limit,
        });
        match self.register(Rc::clone(&socket) as Rc<dyn Live>) {
            Ok(token) => socket.token.set(token),
            Err(error) => {
                close_unawaited(self, handle);
                self.drop_guarded("the drop of a datagram protocol", socket);
                return Err(error);
            }
        }
        let begun = Rc::clone(&socket);
        self.soon(move |_| begun.begin());
        Ok(DatagramTransport::of(&socket))
    }
}

fn failed(options: &DatagramOptions, source: io::Error) -> Error {
    Error::Datagrams {
        address: options.address().cloned(),
        source,
    }
}
