//! The ways to connect.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::Factory;
use super::{ConnectOptions, Connector, Inner};
use crate::endpoint::{AddressKind, ToEndpoint};
use crate::error::ConnectError;
use crate::port::{Socket, Token};
use crate::reactor::{Live, Reactor};

impl Reactor {
    /// Connects to a server: to a host and port, or to an address of any kind that the [port](crate::port) supports, also
    /// as a text such as `example.org:80`: see [`ToEndpoint`](crate::endpoint::ToEndpoint).
    ///
    /// From the loop, either [`Factory::build_protocol`] is called once for the new connection, or
    /// [`Factory::connection_failed`] with the reason. Neither is called if the reactor is dropped first or has
    /// stopped already. A plain closure as factory has the default of `connection_failed`, which writes the failure to the
    /// log: call [`Connector::on_failure`] to react to it.
    ///
    /// The OS, or the builder's [`resolver`](crate::ReactorBuilder::resolver), looks a name up, on a thread of its
    /// own: at most 16 at a time, without using up the [workers](crate::ReactorBuilder::workers). Others wait, up
    /// to 16 384 of them; one more fails with [`ConnectError::Resolve`]. A lookup whose connection was cancelled
    /// or timed out makes way for the others.
    ///
    /// The addresses are tried as RFC 8305 ("happy eyeballs") says: alternating between IPv6 and IPv4, each
    /// attempt beginning when the one before has failed or has not answered
    /// [for a while](ConnectOptions::attempt_delay). The first address to answer wins.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// use tidewaiter::{ConnectOptions, Protocol, Reactor, Reason, Transport};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"hello");
    ///         transport.lose_connection();
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    ///     fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
    ///         assert!(reason.is_done());
    ///         transport.reactor().stop();
    ///     }
    /// }
    ///
    /// # let server = TcpListener::bind("127.0.0.1:0")?;
    /// # let port = server.local_addr()?.port();
    /// let reactor = Reactor::new()?;
    /// reactor.connect(ConnectOptions::new("127.0.0.1", port), |_peer| Greeter);
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(
        &self,
        options: impl Into<ConnectOptions>,
        factory: impl Factory + 'static,
    ) -> Connector {
        self.connect_to(options.into(), AddressKind::Any, None, Box::new(factory))
    }

    /// Connects to a TCP server: [`connect`](Reactor::connect) to hosts and IP addresses only. An address of another
    /// kind fails with [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    pub fn connect_tcp(
        &self,
        options: impl Into<ConnectOptions>,
        factory: impl Factory + 'static,
    ) -> Connector {
        self.connect_to(options.into(), AddressKind::Ip, None, Box::new(factory))
    }

    /// Connects to a UNIX socket: [`connect`](Reactor::connect) to addresses of UNIX sockets only. Other targets fail
    /// with [`InvalidInput`](std::io::ErrorKind::InvalidInput). While the server's backlog is full, this tries again, until the
    /// [timeout](ConnectOptions::timeout).
    pub fn connect_unix(
        &self,
        options: impl Into<ConnectOptions>,
        factory: impl Factory + 'static,
    ) -> Connector {
        self.connect_to(options.into(), AddressKind::Unix, None, Box::new(factory))
    }

    /// Connects to a named pipe: [`connect`](Reactor::connect) to names of pipes only. Other targets fail with
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    ///
    /// While all instances of the pipe have clients, connecting waits for a free one. A pipe without a server fails with
    /// [`NotFound`](std::io::ErrorKind::NotFound). See [`ConnectOptions::pipe`].
    pub fn connect_pipe(
        &self,
        options: impl Into<ConnectOptions>,
        factory: impl Factory + 'static,
    ) -> Connector {
        self.connect_to(options.into(), AddressKind::Pipe, None, Box::new(factory))
    }

    /// As [`connect_tcp`](Reactor::connect_tcp), with a stream socket that was made, and perhaps bound,
    /// elsewhere. The socket belongs to the reactor from here on.
    ///
    /// A name stands for the first of its addresses that is of the socket's family; on Windows, for the first one unless the
    /// socket is bound.
    ///
    /// If the socket is unusable, [`Factory::connection_failed`] is called, as for any other failure. There is no time
    /// limit but the OS's own: see [`Connector::cancel`].
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// use tidewaiter::{Protocol, Reactor, Transport};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"hello");
    ///         transport.lose_connection();
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    ///     fn connection_lost(&mut self, transport: &Transport, _: tidewaiter::Reason) {
    ///         transport.reactor().stop();
    ///     }
    /// }
    ///
    /// # let server = TcpListener::bind("127.0.0.1:0")?;
    /// # let peer = server.local_addr()?;
    /// let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    /// socket.set_recv_buffer_size(1 << 16)?;
    /// let reactor = Reactor::new()?;
    /// reactor.connect_tcp_with(std::net::TcpStream::from(socket), peer, |_peer| Greeter);
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_tcp_with(
        &self,
        socket: impl Into<Socket>,
        peer: impl ToEndpoint,
        factory: impl Factory + 'static,
    ) -> Connector {
        let options = ConnectOptions::to(peer).timeout(None);
        let socket = Some(socket.into());
        self.connect_to(options, AddressKind::Any, socket, Box::new(factory))
    }

    fn connect_to(
        &self,
        options: ConnectOptions,
        kind: AddressKind,
        socket: Option<Socket>,
        factory: Box<dyn Factory>,
    ) -> Connector {
        let inner = Rc::new(Inner {
            reactor: self.clone(),
            options,
            local: RefCell::default(),
            kind,
            socket: RefCell::new(socket),
            token: Cell::new(Token::default()),
            factory: RefCell::new(Some(factory)),
            on_failure: RefCell::new(None),
            lookup: Cell::new(None),
            race: RefCell::new(None),
            attempts: RefCell::new(Vec::new()),
            next_attempt: RefCell::new(None),
            limit: RefCell::new(None),
            settled: Cell::new(false),
            unregistered: Cell::new(false),
        });
        match self.register(Rc::clone(&inner) as Rc<dyn Live>) {
            Ok(token) => {
                inner.token.set(token);
                inner.begin();
            }
            Err(_) => {
                inner.unregistered.set(true);
                let failed = Rc::clone(&inner);
                self.soon(move |_| failed.fail(ConnectError::Stopped));
            }
        }
        Connector { inner }
    }
}
