//! Datagram sockets that futures use.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::lookup;
use super::shared::{End, copy_of};
use super::waiting::Waiters;
use crate::endpoint::{AddressKind, Endpoint, ToEndpoint};
use crate::error::{Error, Reason};
use crate::os::{Address, UnixAddress};
use crate::port::{
    Datagram, DatagramError, DatagramOptions, DatagramSocket as Socket, Datagrams, OwnedDatagram,
    OwnedDatagrams,
};
use crate::reactor::Reactor;
use crate::transport::{DatagramProtocol, DatagramTransport};

/// A datagram socket that futures use: UDP or, on Unix, a datagram socket of the UNIX family.
///
/// It lives on a reactor, and belongs to the reactor's thread, where several tasks may use it at once. What arrives waits
/// for the receivers in a queue: at most [`queued_datagrams`](DatagramOptions::queued_datagrams) and
/// [`queued_bytes`](DatagramOptions::queued_bytes), and what arrives together with the last of them. Further ones are
/// dropped, and [`dropped`](DatagramSocket::dropped) counts them. Dropping a future loses nothing, and dropping the socket
/// closes it.
///
/// ```
/// use tidewaiter::io::UdpSocket;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let server = UdpSocket::bind(&reactor, "127.0.0.1:0")?;
/// let address = server.local_addr()?;
/// let echo = reactor.spawn(async move {
///     let datagram = server.recv_datagram().await?; // which is not copied
///     if let Some(sender) = datagram.sender() {
///         server.send_to(&datagram, sender).await?;
///     }
///     Ok::<_, std::io::Error>(())
/// });
/// let answer = reactor.block_on(async {
///     let client = UdpSocket::bind(&reactor, "127.0.0.1:0")?;
///     client.connect(address)?;
///     client.send(b"hello").await?;
///     let mut buffer = [0; 100];
///     let count = client.recv(&mut buffer).await?;
///     Ok::<_, std::io::Error>(buffer[..count].to_vec())
/// })??;
/// assert_eq!(answer, b"hello");
/// # let _ = echo;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DatagramSocket {
    transport: DatagramTransport,
    inlet: Rc<Inlet>,
}

impl DatagramSocket {
    /// Opens a socket: bound to an address, or what [`DatagramOptions`] say.
    ///
    /// # Errors
    ///
    /// As [`Reactor::open_datagrams`].
    pub fn bind(
        reactor: &Reactor,
        options: impl Into<DatagramOptions>,
    ) -> Result<DatagramSocket, Error> {
        let open = |options, protocol| reactor.open_datagrams(options, protocol);
        DatagramSocket::bind_by(options.into(), open)
    }

    pub(super) fn bind_by(
        options: DatagramOptions,
        open: impl FnOnce(DatagramOptions, Receiving) -> Result<DatagramTransport, Error>,
    ) -> Result<DatagramSocket, Error> {
        let inlet = Rc::new(Inlet::new(&options));
        let transport = open(options, Receiving(Rc::clone(&inlet)))?;
        Ok(DatagramSocket { transport, inlet })
    }

    /// Takes over a socket that was made elsewhere, as [`Reactor::adopt_datagrams`] does.
    ///
    /// # Errors
    ///
    /// As [`Reactor::adopt_datagrams`].
    pub fn adopt(reactor: &Reactor, socket: impl Into<Socket>) -> Result<DatagramSocket, Error> {
        let options = DatagramOptions::between(None, None);
        let inlet = Rc::new(Inlet::new(&options));
        let transport = reactor.adopt_datagrams(socket, Receiving(Rc::clone(&inlet)))?;
        inlet.connected.set(transport.peer_addr().is_ok());
        Ok(DatagramSocket { transport, inlet })
    }

    /// Connects the socket to `peer`: it receives from no one else, and [`send`](DatagramSocket::send) sends there. What
    /// others sent before is still received.
    ///
    /// A name is looked up within the call, as [for listening](ToEndpoint), and the first address counts to which the OS
    /// connects the socket.
    ///
    /// # Errors
    ///
    /// The OS's error; [`NotConnected`](io::ErrorKind::NotConnected) once the socket is closed;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a text that is no address.
    pub fn connect(&self, peer: impl ToEndpoint) -> io::Result<()> {
        let reactor = self.transport.reactor();
        let mut failure = None;
        for address in reactor.resolve_now(&peer.to_endpoint(), AddressKind::Any)? {
            match self.transport.set_peer(Some(&address)) {
                Ok(()) => {
                    self.inlet.connected.set(true);
                    return Ok(());
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Waits for the next datagram, and takes it in the memory in which it arrived. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) once the reactor stops; for a connected socket, what
    /// [`take_error`](DatagramSocket::take_error) would tell, after the datagrams that have arrived. Such an error concerns
    /// one datagram; the socket goes on.
    pub async fn recv_datagram(&self) -> io::Result<OwnedDatagram> {
        poll_fn(|context| self.inlet.poll_receive(context)).await
    }

    /// Waits for the next datagram, and copies it into `into`. Returns how many bytes those were, and the sender. What does
    /// not fit is lost: the largest datagram has 65 535 bytes, and [`recv_datagram`](DatagramSocket::recv_datagram) needs no
    /// buffer.
    ///
    /// # Errors
    ///
    /// As [`recv_datagram`](DatagramSocket::recv_datagram).
    pub async fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, Address)> {
        let datagram = self.recv_datagram().await?;
        let sender = datagram.sender().cloned();
        let sender = sender.unwrap_or_else(|| UnixAddress::unnamed().into());
        Ok((copy(&datagram, into), sender))
    }

    /// As [`recv_from`](DatagramSocket::recv_from), without the sender.
    ///
    /// # Errors
    ///
    /// As [`recv_datagram`](DatagramSocket::recv_datagram).
    pub async fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(copy(&self.recv_datagram().await?, into))
    }

    /// Waits while the OS has no room for more datagrams, and sends a copy of `data` to `peer`. Dropping the future before
    /// it is ready sends nothing.
    ///
    /// A name is looked up for each datagram, on another thread, and the first address counts that the OS sends to. An
    /// [`Address`] or a [`SocketAddr`](std::net::SocketAddr) costs nothing: for many datagrams, [look the name
    /// up](super::lookup_host) once, or [`connect`](DatagramSocket::connect).
    ///
    /// Each datagram is a system call of its own. The [transport](DatagramSocket::transport) sends those of a turn together.
    ///
    /// # Errors
    ///
    /// The OS's error, for instance for a datagram that is too large; [`NotConnected`](io::ErrorKind::NotConnected) once the
    /// socket is closed; [`InvalidInput`](io::ErrorKind::InvalidInput) for a text that is no address; what
    /// [`lookup_host`](super::lookup_host) fails with.
    ///
    /// ```
    /// use tidewaiter::io::UdpSocket;
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let server = UdpSocket::bind(&reactor, "127.0.0.1:0")?;
    /// let client = UdpSocket::bind(&reactor, "127.0.0.1:0")?;
    /// let port = server.local_addr()?.port().unwrap_or_default();
    /// let received = reactor.block_on(async {
    ///     client.send_to(b"ping", format!("127.0.0.1:{port}")).await?;
    ///     let ping = server.recv_datagram().await?;
    ///     server.send_to(b"pong", client.local_addr()?).await?;
    ///     Ok::<_, std::io::Error>((ping.to_vec(), client.recv_datagram().await?.to_vec()))
    /// })??;
    /// assert_eq!(received, (b"ping".to_vec(), b"pong".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn send_to(&self, data: &[u8], peer: impl ToEndpoint) -> io::Result<()> {
        let peer = peer.to_endpoint();
        match peer.address() {
            Some(address) => self.send_datagram(data, Some(address)).await,
            None => self.send_to_any_of(data, peer).await,
        }
    }

    /// Sends to the first address that the OS sends to.
    async fn send_to_any_of(&self, data: &[u8], peer: Endpoint) -> io::Result<()> {
        let mut failure = None;
        for address in lookup::addresses(self.transport.reactor(), &peer).await? {
            match self.send_datagram(data, Some(&address)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// As [`send_to`](DatagramSocket::send_to), to the peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// As [`send_to`](DatagramSocket::send_to).
    pub async fn send(&self, data: &[u8]) -> io::Result<()> {
        self.send_datagram(data, None).await
    }

    async fn send_datagram(&self, data: &[u8], peer: Option<&Address>) -> io::Result<()> {
        let room = poll_fn(|context| match self.transport.must_wait(data.len()) {
            true => self.inlet.senders.wait(context),
            false => Poll::Ready(()),
        });
        room.await;
        self.transport.try_send(data, peer)
    }

    /// How many datagrams arrived and were dropped, because nobody received those before them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inlet.dropped.get()
    }

    /// Takes the last error that concerned a datagram: one that could not be sent or received, or that a peer or the network
    /// reported as not delivered.
    #[must_use]
    pub fn take_error(&self) -> Option<DatagramError> {
        self.inlet.error.take()
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The OS's error; [`NotConnected`](io::ErrorKind::NotConnected) once the socket is closed.
    pub fn local_addr(&self) -> io::Result<Address> {
        self.transport.local_addr()
    }

    /// The transport below: for multicast groups, runs of datagrams, and more.
    #[must_use]
    pub fn transport(&self) -> &DatagramTransport {
        &self.transport
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        self.transport.close();
    }
}

impl fmt::Debug for DatagramSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatagramSocket")
            .field(&self.transport)
            .finish()
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is closed")
}

fn copy(datagram: &[u8], into: &mut [u8]) -> usize {
    let count = datagram.len().min(into.len());
    into[..count].copy_from_slice(&datagram[..count]);
    count
}

/// What the socket's protocol tells its futures.
struct Inlet {
    queue: RefCell<Queue>,
    datagrams_max: usize,
    bytes_max: usize,
    dropped: Cell<u64>,
    /// Whether errors belong to the one peer of the socket.
    connected: Cell<bool>,
    error: RefCell<Option<DatagramError>>,
    end: RefCell<Option<End>>,
    receivers: Waiters,
    senders: Waiters,
}

/// The datagrams that were not received yet.
#[derive(Default)]
struct Queue {
    /// The rest of those that arrived together.
    current: Option<OwnedDatagrams>,
    later: VecDeque<Datagrams>,
    datagrams: usize,
    bytes: usize,
}

impl Queue {
    fn take(&mut self) -> Option<OwnedDatagram> {
        loop {
            if let Some(next) = self.current.as_mut().and_then(Iterator::next) {
                self.datagrams -= 1;
                self.bytes -= next.len();
                return Some(next);
            }
            self.current = Some(self.later.pop_front()?.into_iter());
        }
    }
}

impl Inlet {
    fn new(options: &DatagramOptions) -> Inlet {
        Inlet {
            queue: RefCell::default(),
            datagrams_max: options.queued_datagrams,
            bytes_max: options.queued_bytes,
            dropped: Cell::new(0),
            connected: Cell::new(options.peer.is_some()),
            error: RefCell::default(),
            end: RefCell::default(),
            receivers: Waiters::default(),
            senders: Waiters::default(),
        }
    }

    fn poll_receive(&self, context: &Context<'_>) -> Poll<io::Result<OwnedDatagram>> {
        let next = self.queue.borrow_mut().take();
        if let Some(next) = next {
            return Poll::Ready(Ok(next));
        }
        if self.connected.get()
            && let Some(error) = self.error.take()
        {
            return Poll::Ready(Err(error.source));
        }
        match &*self.end.borrow() {
            Some(end) => Poll::Ready(Err(end.error().unwrap_or_else(closed))),
            None => self.receivers.wait(context),
        }
    }

    fn arrived(&self, datagrams: Datagrams) {
        let (count, bytes) = (datagrams.len(), datagrams.bytes());
        let mut queue = self.queue.borrow_mut();
        if queue.datagrams >= self.datagrams_max || queue.bytes >= self.bytes_max {
            drop(queue);
            self.dropped.set(self.dropped.get() + count as u64);
            return;
        }
        queue.datagrams += count;
        queue.bytes += bytes;
        queue.later.push_back(datagrams);
        drop(queue);
        self.receivers.wake();
    }

    fn ended(&self, reason: &Reason) {
        self.end.replace(Some(End::of(reason)));
        self.receivers.wake();
        self.senders.wake();
    }
}

/// The socket's protocol.
pub(super) struct Receiving(Rc<Inlet>);

impl DatagramProtocol for Receiving {
    fn datagrams_received(
        &mut self,
        _: &DatagramTransport,
        datagrams: Datagrams,
    ) -> Option<Datagrams> {
        self.0.arrived(datagrams);
        None
    }

    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

    fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
        log::debug!("{transport:?}: {error}");
        let (peer, source) = (error.peer.clone(), copy_of(&error.source));
        let error = DatagramError::new(error.call, peer, source);
        self.0.error.replace(Some(error));
        self.0.receivers.wake();
    }

    fn write_resumed(&mut self, _: &DatagramTransport) {
        self.0.senders.wake();
    }

    fn stopped(&mut self, _: &DatagramTransport, reason: Reason) {
        self.0.ended(&reason);
    }
}

impl Drop for Receiving {
    /// Ends the socket of a reactor that is dropped before it has stopped.
    fn drop(&mut self) {
        if self.0.end.borrow().is_none() {
            self.0.ended(&Reason::Stopped);
        }
    }
}
