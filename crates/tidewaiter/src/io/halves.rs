//! The two directions of a stream.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::received::{Chunk, Current};
use super::shared::Shared;
use crate::transport::Transport;

/// A writer waits once more than this is queued to be sent: as much as one receive of a surge brings, so that what is passed on
/// leaves in one send...
const HIGH_WATER: usize = 256 * 1024;
/// ...and until no more than this is.
const LOW_WATER: usize = 64 * 1024;
/// [`WriteHalf::write_all_buf`] writes at most so many bytes before it looks again whether the queue is full.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// It copies fewer bytes than this, and takes more from the buffer without a copy if the buffer can do that.
const COPIED_BELOW: usize = 2048;

/// The half of a [`Stream`](super::Stream) that reads.
///
/// Once both halves are dropped, the connection is closed in order.
///
/// ```
/// use tidewaiter::io::ReadHalf;
///
/// /// Counts the bytes until the peer ends.
/// async fn count(mut reader: ReadHalf) -> std::io::Result<usize> {
///     let mut total = 0;
///     loop {
///         let bytes = reader.fill_buf().await?.len();
///         if bytes == 0 {
///             return Ok(total);
///         }
///         reader.consume(bytes);
///         total += bytes;
///     }
/// }
/// ```
pub struct ReadHalf {
    transport: Transport,
    shared: Rc<Shared>,
    current: Current,
}

impl ReadHalf {
    pub(super) fn new(transport: &Transport, shared: Rc<Shared>) -> ReadHalf {
        ReadHalf {
            transport: transport.clone(),
            shared,
            current: Current::default(),
        }
    }

    /// Waits until there are bytes, moves some of them to `into`, at least one, and returns how many: 0 at the end of the
    /// stream, and if `into` is empty. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The reason for which the connection was lost, once all that arrived before was read.
    pub fn read(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(|context| self.poll_read(context, into))
    }

    /// Fills `into`.
    ///
    /// # Errors
    ///
    /// As [`read`](ReadHalf::read), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the stream ends before. Then,
    /// and if the future is dropped, the bytes that were moved to `into` before are in no other place.
    pub async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.read(&mut into[done..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Adds everything until the end of the stream to `into`, and returns how many bytes that was. What was added stays
    /// in `into` if the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`read`](ReadHalf::read).
    pub async fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let bytes = self.fill_buf().await?;
            let count = bytes.len();
            if count == 0 {
                return Ok(total);
            }
            into.extend_from_slice(bytes);
            total += count;
            self.consume(count);
        }
    }

    /// Waits until there are bytes, and takes some of them without copying them: none at the end of the stream. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`read`](ReadHalf::read).
    pub fn read_chunk(&mut self) -> impl Future<Output = io::Result<Chunk>> {
        poll_fn(|context| {
            ready!(self.poll_current(context))?;
            Poll::Ready(Ok(self.take_current()))
        })
    }

    /// Waits until there are bytes, and shows some of them without copying: none at the end of the stream. They stay in
    /// the stream until [`consume`](ReadHalf::consume).
    ///
    /// # Errors
    ///
    /// As [`read`](ReadHalf::read).
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|context| self.poll_current(context)).await?;
        Ok(self.current.bytes())
    }

    /// Marks bytes that [`fill_buf`](ReadHalf::fill_buf) has shown as read: at most all that it has shown.
    pub fn consume(&mut self, count: usize) {
        if let Some(memory) = self.current.consume(count) {
            self.transport.reactor().keep_piece(memory);
        }
    }

    /// The transport below.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Waits until there are bytes in `current`. It stays empty at the end of the stream.
    #[inline]
    pub(super) fn poll_current(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        match self.current.is_empty() {
            true => self.shared.poll_piece(&mut self.current, context),
            false => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn current(&self) -> &[u8] {
        self.current.bytes()
    }

    pub(super) fn take_current(&mut self) -> Chunk {
        self.current.take()
    }

    pub(super) fn poll_read(
        &mut self,
        context: &Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_current(context))?;
        let left = self.current.bytes();
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        if self.shared.drop_half() {
            self.transport.lose_connection();
        }
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(&self.transport).finish()
    }
}

/// The half of a [`Stream`](super::Stream) that writes.
///
/// Dropping it ends the sending side, once what was written is sent: the peer reads to the end. Once both halves are
/// dropped, the connection is closed in order.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::io::{Stream, WriteHalf};
///
/// /// Reads and writes independently of each other.
/// async fn talk(reactor: &Reactor, stream: Stream) -> std::io::Result<()> {
///     let (mut reader, writer) = stream.split();
///     reactor.spawn(greet(writer));
///     let mut all = Vec::new();
///     reader.read_to_end(&mut all).await?;
///     Ok(())
/// }
///
/// async fn greet(mut writer: WriteHalf) -> std::io::Result<()> {
///     writer.write_all(b"hello").await?;
///     writer.shutdown().await
/// }
/// ```
pub struct WriteHalf {
    transport: Transport,
    shared: Rc<Shared>,
}

impl WriteHalf {
    pub(super) fn new(transport: &Transport, shared: Rc<Shared>) -> WriteHalf {
        transport.set_water_marks(LOW_WATER, HIGH_WATER);
        WriteHalf {
            transport: transport.clone(),
            shared,
        }
    }

    /// Waits while much is queued to be sent ([`Transport::is_congested`]), and then writes all bytes. Much is more than
    /// 256 KiB, until 64 KiB are left; [`Transport::set_water_marks`] sets other limits.
    ///
    /// They are copied, and sent at the end of the turn, together with what else is written to the stream in it. That
    /// they were sent, [`flush`](WriteHalf::flush) tells. Dropping the future before it is ready writes nothing. For many
    /// bytes, [`write_all_buf`](WriteHalf::write_all_buf) takes less memory.
    ///
    /// # Errors
    ///
    /// The reason for which the connection was lost; [`BrokenPipe`](io::ErrorKind::BrokenPipe) after a
    /// [`shutdown`](WriteHalf::shutdown) or an end in order. What was written before may be lost as well.
    pub fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        poll_fn(|context| {
            ready!(self.poll_writable(context))?;
            self.transport.write(bytes);
            Poll::Ready(Ok(()))
        })
    }

    /// As [`write_all`](WriteHalf::write_all), without a copy.
    ///
    /// # Errors
    ///
    /// As [`write_all`](WriteHalf::write_all).
    pub async fn write_bytes(&mut self, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.writable().await?;
        self.transport.write_bytes(bytes);
        Ok(())
    }

    /// Writes bytes that were received, without a copy as a rule: to send them back, or on. If the future is dropped before
    /// it is ready, the chunk is dropped, too: where that may happen, [`write_all`](WriteHalf::write_all) them.
    ///
    /// # Errors
    ///
    /// As [`write_all`](WriteHalf::write_all).
    pub fn write_chunk(&mut self, chunk: Chunk) -> impl Future<Output = io::Result<()>> {
        let mut chunk = Some(chunk);
        poll_fn(move |context| {
            ready!(self.poll_writable(context))?;
            if let Some(chunk) = chunk.take() {
                chunk.write_to(&self.transport);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Writes all of `bytes` piece by piece, and waits before each piece while much is queued: so that many bytes take
    /// little memory. Each piece is taken from `bytes` as it is written. If the future is dropped, or fails, `bytes` has
    /// what was not written, and writing goes on from there.
    ///
    /// [`Bytes`] are not copied.
    ///
    /// # Errors
    ///
    /// As [`write_all`](WriteHalf::write_all).
    pub async fn write_all_buf(&mut self, bytes: &mut impl Buf) -> io::Result<()> {
        while bytes.has_remaining() {
            self.writable().await?;
            let chunk = bytes.chunk();
            let count = chunk.len().min(WRITE_BYTES_MAX);
            if count < COPIED_BELOW {
                self.transport.write(&chunk[..count]);
                bytes.advance(count);
            } else {
                self.transport.write_bytes(bytes.copy_to_bytes(count));
            }
        }
        Ok(())
    }

    /// Waits until the OS has taken all that was written. Nothing needs to be flushed in order to be sent; the flush of the
    /// traits of `futures-io` and tokio is ready at once, and fails only if bytes are known to be lost.
    ///
    /// # Errors
    ///
    /// The reason for which the connection was lost, or can send no more, if the OS has not taken all that was written.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Sends what was written, then ends our sending side, and waits for that: the peer reads to the end. Reading goes
    /// on. A pipe that cannot be half-closed is closed: see [`Transport::lose_write_connection`].
    ///
    /// # Errors
    ///
    /// The reason for which the connection was lost, or can send no more; [`BrokenPipe`](io::ErrorKind::BrokenPipe) if it
    /// was closed without sending everything.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_shut_down(context)).await
    }

    /// The transport below.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    async fn writable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_writable(context)).await
    }

    #[inline]
    pub(super) fn poll_writable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_writable(&self.transport, context)
    }

    /// Writes some of the pieces: all, unless they are many.
    pub(super) fn poll_write(
        &mut self,
        context: &Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let turn = self.transport.reactor().counters().turns.get();
        let copy = self.shared.lent.get().is_spent(turn);
        let written = self.transport.write_lent(pieces, copy);
        self.shared
            .lent
            .set(self.shared.lent.get().with(turn, written));
        Poll::Ready(Ok(written))
    }

    pub(super) fn poll_flush(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_flushed(&self.transport, context)
    }

    pub(super) fn check_lost(&self) -> io::Result<()> {
        self.shared.check_lost(&self.transport)
    }

    pub(super) fn poll_shut_down(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_shut_down(&self.transport, context)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if self.shared.drop_half() {
            self.transport.lose_connection();
        } else {
            self.transport.lose_write_connection();
        }
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(&self.transport).finish()
    }
}
