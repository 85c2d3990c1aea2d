//! Streams, listeners and datagram sockets of one kind, which refuse addresses of other kinds.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::{DatagramSocket, Duplex, Listener, ReadHalf, Stream, WriteHalf};
use crate::error::{ConnectError, Error};
use crate::os::Address;
use crate::port::{DatagramOptions, DatagramSocket as Socket, ListenOptions};
use crate::reactor::Reactor;
use crate::transport::ConnectOptions;

/// A [`Stream`], a [`Listener`] or a [`DatagramSocket`] whose addresses are of one kind: a [`TcpStream`], for instance. It has the
/// calls of the general type, refuses addresses of other kinds, and becomes the general type by [`into`](Into::into).
///
/// ```
/// use tidewaiter::io::{OfKind, Stream, TcpListener};
///
/// /// Serves a client, whatever it came by.
/// async fn serve(mut stream: Stream) -> std::io::Result<()> {
///     stream.write_all(b"hello").await
/// }
///
/// async fn serve_kind<K>(stream: OfKind<Stream, K>) -> std::io::Result<()> {
///     serve(stream.into()).await
/// }
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let listener = TcpListener::bind(&reactor, "127.0.0.1:0")?;
/// let error = TcpListener::bind(&reactor, tidewaiter::PipeName::local("name")?).unwrap_err();
/// assert!(error.to_string().contains("name"), "{error}");
/// # drop(listener);
/// # let _ = serve_kind::<()>;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OfKind<T, K> {
    general: T,
    kind: PhantomData<fn() -> K>,
}

/// IP addresses, and names that have some.
#[derive(Debug)]
pub enum Ip {}

/// Addresses of UNIX sockets.
#[derive(Debug)]
pub enum Unix {}

/// Names of named pipes.
#[derive(Debug)]
pub enum Pipe {}

/// A [`Stream`] over TCP.
///
/// It connects to an address, or to a name: then it tries the name's addresses in parallel, each a little after the one
/// before, until one answers ("happy eyeballs", RFC 8305).
///
/// ```no_run
/// use tidewaiter::io::TcpStream;
///
/// # async fn fetch(reactor: &tidewaiter::Reactor) -> std::io::Result<Vec<u8>> {
/// let mut stream = TcpStream::connect(reactor, ("example.org", 80)).await?;
/// stream.transport().set_no_delay(true)?;
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n").await?;
/// let mut page = Vec::new();
/// stream.read_to_end(&mut page).await?;
/// # Ok(page)
/// # }
/// ```
pub type TcpStream = OfKind<Stream, Ip>;

/// A [`Listener`] for TCP connections.
///
/// ```
/// use tidewaiter::io::TcpListener;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut listener = TcpListener::bind(&reactor, "127.0.0.1:0")?;
/// println!("listening on {}", listener.local_addr());
/// let handle = reactor.clone();
/// reactor.spawn(async move {
///     while let Ok((stream, peer)) = listener.accept().await {
///         println!("a connection from {peer}");
///         handle.spawn(async move { drop(stream) });
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type TcpListener = OfKind<Listener, Ip>;

/// A [`Stream`] over a UNIX socket (Unix).
///
/// ```
/// # #[cfg(unix)] {
/// use tidewaiter::UnixAddress;
/// use tidewaiter::io::{UnixListener, UnixStream};
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let path = std::env::temp_dir().join(format!("tasks-{}.sock", std::process::id()));
/// let address = UnixAddress::from_pathname(&path)?;
/// let mut listener = UnixListener::bind(&reactor, address.clone())?;
/// let greeting = reactor.block_on(async {
///     let mut client = UnixStream::connect(&reactor, address).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     server.write_all(b"hello").await?;
///     let mut greeting = [0; 5];
///     client.read_exact(&mut greeting).await?;
///     Ok::<_, std::io::Error>(greeting)
/// })??;
/// assert_eq!(&greeting, b"hello");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type UnixStream = OfKind<Stream, Unix>;

/// A [`Listener`] on a UNIX socket (Unix): see [`UnixStream`]. The socket's file is removed with the listener, as
/// [`SocketFileOptions`](crate::port::SocketFileOptions) says.
///
/// ```
/// # #[cfg(unix)] {
/// use tidewaiter::UnixAddress;
/// use tidewaiter::io::UnixListener;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let path = std::env::temp_dir().join(format!("only-mine-{}.sock", std::process::id()));
/// let listener = UnixListener::bind(&reactor, UnixAddress::from_pathname(&path)?)?;
/// assert!(path.exists());
/// # drop(listener);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type UnixListener = OfKind<Listener, Unix>;

/// A [`Stream`] over a [named pipe](crate::guide::named_pipes) of Windows: the client's end, or what the server
/// accepted.
///
/// ```
/// use tidewaiter::PipeName;
/// use tidewaiter::io::{NamedPipeListener, NamedPipeStream};
///
/// let reactor = tidewaiter::Reactor::new()?;
/// # if cfg!(windows) {
/// let name = PipeName::local(format!("tasks-{}", std::process::id()))?;
/// let mut listener = NamedPipeListener::bind(&reactor, name.clone())?;
/// let greeting = reactor.block_on(async {
///     let mut client = NamedPipeStream::connect(&reactor, name).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     server.write_all(b"hello").await?;
///     let mut greeting = [0; 5];
///     client.read_exact(&mut greeting).await?;
///     Ok::<_, std::io::Error>(greeting)
/// })??;
/// assert_eq!(&greeting, b"hello");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "NamedPipeClient")]
pub type NamedPipeStream = OfKind<Stream, Pipe>;

/// A [`Listener`] on a [named pipe](crate::guide::named_pipes) of Windows: see [`NamedPipeStream`]. It keeps instances of
/// the pipe ready for the clients that come next, so that none is refused.
///
/// ```
/// use tidewaiter::PipeName;
/// use tidewaiter::io::NamedPipeListener;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// # if cfg!(windows) {
/// let name = PipeName::local(format!("serves-{}", std::process::id()))?;
/// let listener = NamedPipeListener::bind(&reactor, name.clone())?;
/// assert_eq!(listener.local_addr(), name.into());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "NamedPipeServer")]
pub type NamedPipeListener = OfKind<Listener, Pipe>;

/// A [`DatagramSocket`] for UDP.
///
/// ```
/// use tidewaiter::io::UdpSocket;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let socket = UdpSocket::bind(&reactor, "127.0.0.1:0")?;
/// reactor.spawn(async move {
///     while let Ok(datagram) = socket.recv_datagram().await {
///         println!("{} bytes from {:?}", datagram.len(), datagram.sender());
///         println!("{} datagrams were dropped so far", socket.dropped());
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type UdpSocket = OfKind<DatagramSocket, Ip>;

/// A [`DatagramSocket`] of the UNIX family (Unix).
///
/// ```
/// # #[cfg(unix)] {
/// use tidewaiter::io::UnixDatagram;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let path = std::env::temp_dir().join(format!("log-{}.sock", std::process::id()));
/// let socket = UnixDatagram::bind(&reactor, &path)?;
/// let message = reactor.block_on(async {
///     std::os::unix::net::UnixDatagram::unbound()?.send_to(b"message", &path)?;
///     socket.recv_datagram().await
/// })??;
/// assert_eq!(&*message, b"message");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type UnixDatagram = OfKind<DatagramSocket, Unix>;

impl TcpStream {
    /// As [`Stream::connect`], to IP addresses and hosts alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub async fn connect(
        reactor: &Reactor,
        options: impl Into<ConnectOptions>,
    ) -> Result<TcpStream, ConnectError> {
        let options = options.into();
        let connect = |factory| reactor.connect_tcp(options, factory);
        Stream::connect_by(reactor, connect).await.map(OfKind::new)
    }
}

impl UnixStream {
    /// As [`Stream::connect`], to UNIX sockets alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub async fn connect(
        reactor: &Reactor,
        options: impl Into<ConnectOptions>,
    ) -> Result<UnixStream, ConnectError> {
        let options = options.into();
        let connect = |factory| reactor.connect_unix(options, factory);
        Stream::connect_by(reactor, connect).await.map(OfKind::new)
    }
}

impl NamedPipeStream {
    /// As [`Stream::connect`], to named pipes alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub async fn connect(
        reactor: &Reactor,
        options: impl Into<ConnectOptions>,
    ) -> Result<NamedPipeStream, ConnectError> {
        let options = options.into();
        let connect = |factory| reactor.connect_pipe(options, factory);
        Stream::connect_by(reactor, connect).await.map(OfKind::new)
    }
}

impl TcpListener {
    /// As [`Listener::bind`], at IP addresses and hosts alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<ListenOptions>,
    ) -> Result<TcpListener, Error> {
        Listener::bind_by(|factory| reactor.listen_tcp(options, factory)).map(OfKind::new)
    }
}

impl UnixListener {
    /// As [`Listener::bind`], at UNIX sockets alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<ListenOptions>,
    ) -> Result<UnixListener, Error> {
        Listener::bind_by(|factory| reactor.listen_unix(options, factory)).map(OfKind::new)
    }
}

impl NamedPipeListener {
    /// As [`Listener::bind`], at named pipes alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<ListenOptions>,
    ) -> Result<NamedPipeListener, Error> {
        Listener::bind_by(|factory| reactor.listen_pipe(options, factory)).map(OfKind::new)
    }
}

impl UdpSocket {
    /// As [`DatagramSocket::bind`], at IP addresses and hosts alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<DatagramOptions>,
    ) -> Result<UdpSocket, Error> {
        let open = |options, protocol| reactor.listen_udp(options, protocol);
        DatagramSocket::bind_by(options.into(), open).map(OfKind::new)
    }
}

impl UnixDatagram {
    /// As [`DatagramSocket::bind`], at UNIX sockets alone.
    ///
    /// # Errors
    ///
    /// As there, and [`InvalidInput`](io::ErrorKind::InvalidInput) for an address of another kind.
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<DatagramOptions>,
    ) -> Result<UnixDatagram, Error> {
        let open = |options, protocol| reactor.listen_unix_datagrams(options, protocol);
        DatagramSocket::bind_by(options.into(), open).map(OfKind::new)
    }
}

impl<K> OfKind<Stream, K> {
    /// As [`Stream::split`].
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        self.general.split()
    }
}

impl<K> OfKind<Listener, K> {
    /// As [`Listener::accept`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn accept(&mut self) -> io::Result<(OfKind<Stream, K>, Address)> {
        let (stream, peer) = self.general.accept().await?;
        Ok((OfKind::new(stream), peer))
    }
}

impl<K> OfKind<DatagramSocket, K> {
    /// As [`DatagramSocket::adopt`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn adopt(reactor: &Reactor, socket: impl Into<Socket>) -> Result<Self, Error> {
        DatagramSocket::adopt(reactor, socket).map(OfKind::new)
    }
}

impl<T, K> OfKind<T, K> {
    fn new(general: T) -> OfKind<T, K> {
        let kind = PhantomData;
        OfKind { general, kind }
    }
}

impl<T, K> Deref for OfKind<T, K> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.general
    }
}

impl<T, K> DerefMut for OfKind<T, K> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.general
    }
}

impl<K> From<OfKind<Stream, K>> for Stream {
    fn from(stream: OfKind<Stream, K>) -> Stream {
        stream.general
    }
}

impl<K> From<OfKind<Listener, K>> for Listener {
    fn from(listener: OfKind<Listener, K>) -> Listener {
        listener.general
    }
}

impl<K> From<OfKind<DatagramSocket, K>> for DatagramSocket {
    fn from(socket: OfKind<DatagramSocket, K>) -> DatagramSocket {
        socket.general
    }
}

impl<T: Duplex, K> Duplex for OfKind<T, K> {
    fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        self.general.halves()
    }
}

impl<T: fmt::Debug, K> fmt::Debug for OfKind<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.general.fmt(f)
    }
}
