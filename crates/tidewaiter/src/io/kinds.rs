//! Streams, listeners and datagram sockets by the names of what is below them.

use super::{DatagramSocket, Listener, Stream};

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
pub type TcpStream = Stream;

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
pub type TcpListener = Listener;

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
pub type UnixStream = Stream;

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
pub type UnixListener = Listener;

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
pub type NamedPipeStream = Stream;

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
pub type NamedPipeListener = Listener;

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
pub type UdpSocket = DatagramSocket;

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
pub type UnixDatagram = DatagramSocket;
