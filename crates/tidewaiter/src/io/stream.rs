//! A connection or pipe that is read and written by futures.

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::halves::{ReadHalf, WriteHalf};
use super::received::Chunk;
use super::shared::{Inlet, Shared};
use super::waiting::{Giver, value};
use crate::error::ConnectError;
use crate::os::Address;
use crate::reactor::Reactor;
use crate::transport::{ConnectOptions, Connector, Factory, Protocol, Transport};

/// A connection that futures read and write: over TCP, a UNIX socket or a named pipe.
///
/// It lives on a reactor, and belongs to the reactor's thread. What arrives is held for the reader, up to 64 KiB; then
/// the stream receives no more until half of it was read. Dropping a future of the stream's loses nothing: received bytes
/// stay with the stream, and bytes are written either all or, if the future is dropped before it is ready, not at all.
///
/// Dropping the stream closes the connection in order, once what was written is sent: see
/// [`Transport::lose_connection`]. When the reactor stops, reads and writes fail with
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted).
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::io::{Listener, Stream};
///
/// let reactor = Reactor::new()?;
/// let mut listener = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let address = listener.local_addr();
/// reactor.spawn(async move {
///     let (mut stream, _peer) = listener.accept().await?;
///     let mut word = [0; 5];
///     stream.read_exact(&mut word).await?;
///     stream.write_all(&word).await
/// });
/// let echoed = reactor.block_on(async {
///     let mut stream = Stream::connect(&reactor, address).await?;
///     stream.write_all(b"hello").await?;
///     let mut all = Vec::new();
///     stream.read_to_end(&mut all).await?;
///     Ok::<_, Box<dyn std::error::Error>>(all)
/// })??;
/// assert_eq!(echoed, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stream {
    reader: ReadHalf,
    writer: WriteHalf,
}

impl Stream {
    pub(super) fn new(transport: &Transport, shared: Rc<Shared>) -> Stream {
        Stream {
            reader: ReadHalf::new(transport, Rc::clone(&shared)),
            writer: WriteHalf::new(transport, shared),
        }
    }

    /// Connects to a server, as [`Reactor::connect`] does. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// The reason why no connection was made.
    pub async fn connect(
        reactor: &Reactor,
        options: impl Into<ConnectOptions>,
    ) -> Result<Stream, ConnectError> {
        let options = options.into();
        Stream::connect_by(reactor, |factory| reactor.connect(options, factory)).await
    }

    pub(super) async fn connect_by(
        reactor: &Reactor,
        connect: impl FnOnce(Connecting) -> Connector,
    ) -> Result<Stream, ConnectError> {
        if reactor.check_open().is_err() {
            return Err(ConnectError::Stopped);
        }
        let (giver, result) = value();
        let attempt = Attempt(connect(Connecting(Some(giver))));
        let result = result.take().await;
        drop(attempt);
        result.unwrap_or(Err(ConnectError::Stopped))
    }

    /// As [`ReadHalf::read`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.reader.read(into)
    }

    /// As [`ReadHalf::read_exact`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_exact(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<()>> {
        self.reader.read_exact(into)
    }

    /// As [`ReadHalf::read_to_end`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_to_end(&mut self, into: &mut Vec<u8>) -> impl Future<Output = io::Result<usize>> {
        self.reader.read_to_end(into)
    }

    /// As [`ReadHalf::read_chunk`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_chunk(&mut self) -> impl Future<Output = io::Result<Chunk>> {
        self.reader.read_chunk()
    }

    /// As [`ReadHalf::fill_buf`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn fill_buf(&mut self) -> impl Future<Output = io::Result<&[u8]>> {
        self.reader.fill_buf()
    }

    /// As [`ReadHalf::consume`].
    pub fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }

    /// As [`WriteHalf::write_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        self.writer.write_all(bytes)
    }

    /// As [`WriteHalf::write_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_bytes(&mut self, bytes: impl Into<Bytes>) -> impl Future<Output = io::Result<()>> {
        self.writer.write_bytes(bytes)
    }

    /// As [`WriteHalf::write_chunk`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_chunk(&mut self, chunk: Chunk) -> impl Future<Output = io::Result<()>> {
        self.writer.write_chunk(chunk)
    }

    /// As [`WriteHalf::write_all_buf`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::bytes::Bytes;
    /// use tidewaiter::io::{Listener, Stream};
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let listener = Listener::bind(&reactor, "127.0.0.1:0")?; // which accepts nothing
    /// let left = reactor.block_on(async {
    ///     let mut stream = Stream::connect(&reactor, listener.local_addr()).await?;
    ///     let mut bytes = Bytes::from(vec![0; 64 << 20]);
    ///     let writing = stream.write_all_buf(&mut bytes);
    ///     let late = reactor.timeout(Duration::from_millis(10), writing).await;
    ///     assert!(late.is_err());
    ///     Ok::<_, std::io::Error>(bytes.len())
    /// })??;
    /// assert!(left > 0 && left < 64 << 20, "some went out, and the rest is still there");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_all_buf(&mut self, bytes: &mut impl Buf) -> impl Future<Output = io::Result<()>> {
        self.writer.write_all_buf(bytes)
    }

    /// As [`WriteHalf::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        self.writer.flush()
    }

    /// As [`WriteHalf::shutdown`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> {
        self.writer.shutdown()
    }

    /// Splits the stream into its two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// The transport below, for addresses, socket options and more. Its calls that close or pause it work, and the
    /// stream's futures tell of the consequences.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        self.reader.transport()
    }

    /// The peer's address; `None` for a pipe.
    #[must_use]
    pub fn peer_addr(&self) -> Option<Address> {
        self.transport().peer_addr()
    }

    pub(super) fn both(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        (&mut self.reader, &mut self.writer)
    }

    pub(super) fn reader(&mut self) -> &mut ReadHalf {
        &mut self.reader
    }

    pub(super) fn writer(&mut self) -> &mut WriteHalf {
        &mut self.writer
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(self.transport()).finish()
    }
}

/// The factory of one connection.
pub(super) struct Connecting(Option<Giver<Result<Stream, ConnectError>>>);

impl Factory for Connecting {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let giver = self.0.take()?;
        Some(Box::new(Inlet::new(move |transport, shared| {
            giver.give(Ok(Stream::new(transport, shared)));
        })))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        if let Some(giver) = self.0.take() {
            giver.give(Err(error));
        }
    }
}

/// An attempt to connect, which dropping gives up.
struct Attempt(Connector);

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.0.is_connecting() {
            self.0.cancel();
        }
    }
}
