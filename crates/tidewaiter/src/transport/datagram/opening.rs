//! The ways to open a datagram socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{DatagramProtocol, DatagramSocket as Socket, DatagramTransport, Flow, Limit};
use crate::error::Error;
use crate::os::{Address, UnixAddress};
use crate::port::{DatagramOptions, DatagramSocket, Handle, Token};
use crate::reactor::{Live, Reactor};
use crate::transport::close_unawaited;

impl Reactor {
    /// Opens a UDP socket that receives from everyone. To receive IPv4 on an IPv6 address too, see
    /// [`DatagramOptions::only_v6`].
    ///
    /// Receiving begins with the next turn of the loop, after [`DatagramProtocol::started`].
    ///
    /// # Errors
    ///
    /// [`Error::Datagrams`] with the address and the OS's reason; [`Error::Stopped`].
    pub fn listen_udp(
        &self,
        options: impl Into<DatagramOptions>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        let options = options.into();
        check_all(&options, Address::check_is_ip)?;
        self.open_datagrams(options, protocol)
    }

    /// Opens a UDP socket that is connected to `peer`: it receives from no one else, and sends there. Otherwise as
    /// [`listen_udp`](Reactor::listen_udp). No packet is sent by this.
    ///
    /// # Errors
    ///
    /// As [`listen_udp`](Reactor::listen_udp).
    pub fn connect_udp(
        &self,
        peer: SocketAddr,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_datagrams(DatagramOptions::connected(peer), protocol)
    }

    /// Unix. Opens a datagram socket of the UNIX family at an address. Otherwise as
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
        let options = options.into();
        check_all(&options, Address::check_is_unix)?;
        self.open_datagrams(options, protocol)
    }

    /// Unix. Opens a datagram socket of the UNIX family that is connected to `peer`. It has no name, so that the peer
    /// cannot answer: for that, see [`open_datagrams`](Reactor::open_datagrams).
    ///
    /// # Errors
    ///
    /// As [`listen_unix_datagrams`](Reactor::listen_unix_datagrams).
    pub fn connect_unix_datagrams(
        &self,
        peer: UnixAddress,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        self.open_datagrams(DatagramOptions::connected(peer), protocol)
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
        self.check_open()?;
        let opened = self.port_mut().open_datagrams(&options);
        let handle = opened.map_err(|source| failed(&options, source))?;
        self.begin_datagrams(handle, options, protocol)
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
        self.begin_datagrams(handle, DatagramOptions::between(None, None), protocol)
    }

    fn begin_datagrams(
        &self,
        handle: Handle,
        options: DatagramOptions,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramTransport, Error> {
        let local = self.port().local_addr(handle).ok();
        let limit = Cell::new(Limit::of(&options));
        let socket = Rc::new(Socket {
            reactor: self.clone(),
            handle,
            address: local.or(options.peer),
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

/// Refuses options with an address that `check` refuses.
fn check_all(
    options: &DatagramOptions,
    check: fn(&Address) -> io::Result<()>,
) -> Result<(), Error> {
    let mut addresses = options.local.iter().chain(&options.peer);
    let checked = addresses.try_for_each(check);
    checked.map_err(|source| failed(options, source))
}

fn failed(options: &DatagramOptions, source: io::Error) -> Error {
    Error::Datagrams {
        address: options.address().cloned(),
        source,
    }
}
