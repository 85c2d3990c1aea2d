//! The ways to open a listener.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::super::{Factory, close_unawaited};
use super::{Destination, Inner, Listener};
use crate::endpoint::{AddressKind, ToEndpoint};
use crate::error::Error;
use crate::os::Address;
use crate::port::{Handle, ListenOptions, ListeningSocket, PortKind, Socket, SocketOption, Token};
use crate::reactor::{Live, Reactor};

impl Reactor {
    /// Listens for connections at an address of any kind that the [port](crate::port) supports. Each connection gets a
    /// protocol from `factory`.
    ///
    /// Accepting begins with the next turn. When descriptors or memory run out, connections wait in the backlog,
    /// and the reactor tries again after 50 ms, then after twice as long each time, up to 1 s. The log says once
    /// that accepting failed, and once that it works again; see also
    /// [`Factory::accept_failed`].
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] with the address and the OS's reason, which is [`Unsupported`](io::ErrorKind::Unsupported) for
    /// an address of a kind that the port does not listen on; [`Error::Endpoint`] for a text that is no address, and a name
    /// that has none; [`Error::Stopped`].
    pub fn listen(
        &self,
        options: impl Into<ListenOptions>,
        factory: impl Factory + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::Factory(Box::new(factory));
        self.listen_to(options.into(), to, false, AddressKind::Any)
    }

    /// Listens for TCP connections: [`listen`](Reactor::listen) for hosts and IP addresses only, such as `localhost:8080`:
    /// see [`ToEndpoint`].
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen); [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn listen_tcp(
        &self,
        options: impl Into<ListenOptions>,
        factory: impl Factory + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::Factory(Box::new(factory));
        self.listen_to(options.into(), to, false, AddressKind::Ip)
    }

    /// Listens on a UNIX socket: [`listen`](Reactor::listen) for addresses of UNIX sockets only.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen); [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use tidewaiter::{Protocol, Transport};
    /// # struct Silent;
    /// # impl Protocol for Silent {
    /// #     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// # }
    /// use tidewaiter::{Reactor, UnixAddress};
    ///
    /// # let folder = std::env::temp_dir();
    /// let path = folder.join(format!("app-{}.sock", std::process::id()));
    /// let reactor = Reactor::new()?;
    /// let listener = reactor.listen_unix(UnixAddress::from_pathname(&path)?, |_peer| Silent)?;
    /// assert_eq!(listener.local_addr(), UnixAddress::from_pathname(&path)?.into());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_unix(
        &self,
        options: impl Into<ListenOptions>,
        factory: impl Factory + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::Factory(Box::new(factory));
        self.listen_to(options.into(), to, false, AddressKind::Unix)
    }

    /// Makes a named pipe and accepts its clients: [`listen`](Reactor::listen) for names of pipes only. Only Windows and
    /// simulations have them.
    ///
    /// [`ListenOptions::pipe`] has the list of users that may connect, by default the one that this process runs as,
    /// administrators and the system, and says whether the pipe carries bytes or messages. A name has one server: another one, and whatever else
    /// has made the pipe before, is [`AddrInUse`](io::ErrorKind::AddrInUse). The name is free again once the listener and
    /// all its connections are closed.
    ///
    /// A connection over a named pipe differs from one over TCP in these ways:
    ///
    /// - Neither side can end its sending alone: [`lose_write_connection`](crate::Transport::lose_write_connection) closes
    ///   the connection.
    /// - What was sent before the close still reaches a peer that reads on.
    ///   [`abort_connection`](crate::Transport::abort_connection) drops it if this side is the server; for the client, it is
    ///   the same as a close.
    /// - The peer's address is the name of the pipe, on both sides.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen); [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind, a pipe
    /// of another machine, and options that have no meaning.
    pub fn listen_pipe(
        &self,
        options: impl Into<ListenOptions>,
        factory: impl Factory + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::Factory(Box::new(factory));
        self.listen_to(options.into(), to, false, AddressKind::Pipe)
    }

    /// Listens for connections and passes each accepted socket, with the peer's address, to `take`, for a
    /// reactor on any thread to [adopt](Reactor::adopt_stream). Otherwise as [`listen`](Reactor::listen), but
    /// no callback reports that the listener is closed.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen).
    pub fn listen_handing_over(
        &self,
        options: impl Into<ListenOptions>,
        take: impl FnMut(Socket, Address) + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::HandOver(Box::new(take));
        self.listen_to(options.into(), to, false, AddressKind::Any)
    }

    /// Listens for connections and passes each accepted socket, with the peer's address, to `take`, for another
    /// program: the socket is in blocking mode, no byte was received from it, and on Windows it is not made for
    /// overlapped I/O. So no reactor can adopt it there. Otherwise as
    /// [`listen_handing_over`](Reactor::listen_handing_over).
    ///
    /// A child that has the socket as its standard input and output can ask for its peer's address. It gets a copy, as
    /// [`Stdio::Descriptor`](crate::process::Stdio::Descriptor) says. The connection ends once all copies are closed, so
    /// close this one by dropping it:
    ///
    /// ```
    /// use tidewaiter::port::Socket;
    /// use tidewaiter::process::{Command, ExitStatus, Stdio};
    /// use tidewaiter::{Address, Process, ProcessProtocol, Reactor};
    ///
    /// struct Date;
    ///
    /// impl ProcessProtocol for Date {
    ///     fn process_ended(&mut self, process: &Process, _: ExitStatus) {
    ///         process.reactor().stop();
    ///     }
    /// }
    ///
    /// fn tell_date(reactor: &Reactor, socket: Socket) -> Result<(), Box<dyn std::error::Error>> {
    ///     let number = socket.raw_descriptor().ok_or("no simulation has programs")?;
    ///     let connection = Stdio::Descriptor(number);
    ///     let command = Command::new("date").stdin(connection.clone()).stdout(connection);
    ///     reactor.spawn_process(&command, Date)?;
    ///     Ok(())
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let starter = reactor.clone();
    /// let take = move |socket: Socket, peer: Address| {
    ///     if let Err(error) = tell_date(&starter, socket) {
    ///         println!("{peer}: {error}");
    /// #       starter.stop();
    ///     }
    /// };
    /// let address: std::net::SocketAddr = "127.0.0.1:0".parse()?;
    /// let listener = reactor.listen_for_programs(address, take)?;
    /// # let peer = listener.local_addr().socket_addr().ok_or("no address")?;
    /// # let mut client = std::net::TcpStream::connect(peer)?;
    /// reactor.run()?;
    /// # if cfg!(unix) {
    /// # assert!(std::io::read_to_string(&mut client)?.contains(':'));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// On Windows, the child can use its standard handles as files (`ReadFile`) and as sockets (`recv`), but an operation
    /// waits while another one is under way on the same connection: a program that reads in one thread and writes in
    /// another may have to wait with its writing until something was read.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen); [`Unsupported`](io::ErrorKind::Unsupported) in simulations.
    pub fn listen_for_programs(
        &self,
        options: impl Into<ListenOptions>,
        take: impl FnMut(Socket, Address) + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::programs(take);
        self.listen_to(options.into(), to, true, AddressKind::Any)
    }

    /// Listens with a stream socket that listens already, such as one that a service manager
    /// [passed on](crate::port::activated). Each connection gets a protocol from `factory`.
    ///
    /// The socket belongs to the reactor from here on, even if this call fails. It is switched to non-blocking
    /// mode, which every process that shares it notices.
    ///
    /// # Errors
    ///
    /// [`Error::ListenOn`] with the OS's reason, or with [`InvalidInput`](io::ErrorKind::InvalidInput) for a socket that
    /// does not listen; [`Error::Stopped`]. The socket is closed then.
    ///
    /// ```
    /// # use tidewaiter::{Protocol, Reactor, Transport};
    /// # struct Silent;
    /// # impl Protocol for Silent {
    /// #     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// # }
    /// # let reactor = Reactor::new()?;
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let listener = reactor.listen_on(socket, |_peer| Silent)?;
    /// assert_eq!(listener.local_addr(), address.into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_on(
        &self,
        socket: impl Into<ListeningSocket>,
        factory: impl Factory + 'static,
    ) -> Result<Listener, Error> {
        let to = Destination::Factory(Box::new(factory));
        self.take_over(socket.into(), to)
    }

    /// Listens as [`listen_on`](Reactor::listen_on), and passes each accepted socket to `take`, for another program, as
    /// [`listen_for_programs`](Reactor::listen_for_programs) does.
    ///
    /// # Errors
    ///
    /// As [`listen_on`](Reactor::listen_on).
    pub fn listen_on_for_programs(
        &self,
        socket: impl Into<ListeningSocket>,
        take: impl FnMut(Socket, Address) + 'static,
    ) -> Result<Listener, Error> {
        let mut socket = socket.into();
        socket.for_programs = true;
        self.take_over(socket, Destination::programs(take))
    }

    fn take_over(&self, socket: ListeningSocket, to: Destination) -> Result<Listener, Error> {
        self.check_open()?;
        let one_at_a_time = socket.one_at_a_time;
        let adopted = self.port_mut().adopt(socket);
        let handle = adopted.map_err(Error::ListenOn)?;
        self.listen_with(handle, to, one_at_a_time, Vec::new(), Error::ListenOn)
    }

    fn listen_to(
        &self,
        mut options: ListenOptions,
        to: Destination,
        for_programs: bool,
        kind: AddressKind,
    ) -> Result<Listener, Error> {
        self.check_open()?;
        options.for_programs = for_programs;
        let (address, handle) = self.open_first(&mut options, kind)?;
        let failed = |source| Error::Listen { address, source };
        let one_at_a_time = options.one_at_a_time;
        let passed_on = self.port_info().kind != PortKind::Iocp;
        let mut connection_options = options.socket_options;
        connection_options.retain(|_| !passed_on);
        self.listen_with(handle, to, one_at_a_time, connection_options, failed)
    }

    /// Opens a listening socket at the first address of the endpoint at which the OS allows it.
    fn open_first(
        &self,
        options: &mut ListenOptions,
        kind: AddressKind,
    ) -> Result<(Address, Handle), Error> {
        let mut failure = None;
        for address in self.resolve_now(&options.endpoint, kind)? {
            options.endpoint = address.clone().to_endpoint();
            let opened = kind.check(&address);
            match opened.and_then(|()| self.port_mut().listen(options)) {
                Ok(handle) => return Ok((address, handle)),
                Err(source) => {
                    failure.get_or_insert(Error::Listen { address, source });
                }
            }
        }
        Err(failure.expect("there is an address at least"))
    }

    fn listen_with(
        &self,
        handle: Handle,
        to: Destination,
        one_at_a_time: bool,
        connection_options: Vec<SocketOption>,
        failed: impl FnOnce(io::Error) -> Error,
    ) -> Result<Listener, Error> {
        let address = self.port().local_addr(handle);
        let address = address.map_err(|source| {
            close_unawaited(self, handle);
            failed(source)
        })?;
        let inner = Rc::new(Inner {
            reactor: self.clone(),
            handle,
            address,
            token: Cell::new(Token::default()),
            destination: RefCell::new(to),
            one_at_a_time,
            connection_options,
            accepting: Cell::new(None),
            paused: Cell::new(false),
            closing: Cell::new(false),
            retry: RefCell::default(),
        });
        inner
            .token
            .set(self.register(Rc::clone(&inner) as Rc<dyn Live>)?);
        log::debug!("{}: listening", inner.address);
        inner.accept_more();
        Ok(Listener { inner })
    }
}

impl Destination {
    /// Passes the sockets to `take` in blocking mode, as ordinary programs expect them.
    fn programs(mut take: impl FnMut(Socket, Address) + 'static) -> Destination {
        let hand_over = move |socket: Socket, peer| match socket.set_nonblocking(false) {
            Ok(()) => take(socket, peer),
            Err(error) => log::error!("a connection from {peer} cannot block: {error}"),
        };
        Destination::HandOver(Box::new(hand_over))
    }
}
