//! Frames that tasks write.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_io::AsyncWrite;

use super::codec::Encoder;
use super::error::FrameError;

/// At this many bytes that the writer has not taken, another frame waits.
const WAITING_MAX: usize = 8 << 10;

/// The bytes of frames that the writer has not taken yet.
#[derive(Default)]
pub(super) struct Writing {
    buffer: BytesMut,
}

impl Writing {
    /// Waits until there is room for a frame.
    pub(super) fn poll_ready(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.len() < WAITING_MAX {
            return Poll::Ready(Ok(()));
        }
        self.poll_written(writer, context)
    }

    /// Adds a frame, or nothing if it cannot be sent.
    pub(super) fn encode<Item, C: Encoder<Item>>(
        &mut self,
        codec: &mut C,
        item: Item,
    ) -> Result<(), C::Error> {
        let before = self.buffer.len();
        let result = codec.encode(item, &mut self.buffer);
        if result.is_err() {
            self.buffer.truncate(before);
        }
        result
    }

    /// Waits until the writer has taken all bytes.
    pub(super) fn poll_written(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let count = ready!(Pin::new(&mut *writer).poll_write(context, &self.buffer))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(count);
        }
        // An idle writer keeps no memory.
        self.buffer = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_flush(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_written(writer, context))?;
        Pin::new(writer).poll_flush(context)
    }

    pub(super) fn poll_close(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_written(writer, context))?;
        Pin::new(writer).poll_close(context)
    }

    /// Waits until there is room, adds a frame, and waits until the writer has taken it.
    pub(super) async fn send<Item, C: Encoder<Item>>(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        codec: &mut C,
        item: Item,
    ) -> Result<(), C::Error> {
        let ready = poll_fn(|context| self.poll_ready(writer, context)).await;
        ready.map_err(FrameError::Io)?;
        self.encode(codec, item)?;
        let written = poll_fn(|context| self.poll_written(writer, context)).await;
        Ok(written.map_err(FrameError::Io)?)
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to write", self.buffer.len())
    }
}

/// Frames into a writer: into the [`WriteHalf`](crate::io::WriteHalf) of a stream, for example, or into any other
/// [`AsyncWrite`]. It is a [`Sink`](futures_sink::Sink) of the crate `futures-sink`.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::frames::{FrameError, FramedWrite, Netstrings};
/// use tidewaiter::io::{Listener, Stream};
///
/// let reactor = Reactor::new()?;
/// let mut listener = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let address = listener.local_addr();
/// let client = reactor.clone();
/// reactor.spawn(async move {
///     let stream = Stream::connect(&client, address).await?;
///     let mut netstrings = FramedWrite::new(stream, Netstrings::new());
///     netstrings.send("one").await?;
///     netstrings.send("two").await
/// });
/// let all = reactor.block_on(async {
///     let (mut stream, _peer) = listener.accept().await?;
///     let mut all = Vec::new();
///     stream.read_to_end(&mut all).await?;
///     Ok::<_, std::io::Error>(all)
/// })??;
/// assert_eq!(all, b"3:one,3:two,");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FramedWrite<W, C> {
    writer: W,
    codec: C,
    writing: Writing,
}

impl<W, C> FramedWrite<W, C> {
    /// Puts a codec on a writer.
    pub fn new(writer: W, codec: C) -> FramedWrite<W, C> {
        FramedWrite {
            writer,
            codec,
            writing: Writing::default(),
        }
    }

    /// The writer. What is written to it by hand may go out within a frame, unless a [`send`](FramedWrite::send) was
    /// ready before.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// The writer, the codec, and the bytes of frames that the writer has not taken: none if the last
    /// [`send`](FramedWrite::send) was ready.
    pub fn into_parts(self) -> (W, C, BytesMut) {
        (self.writer, self.codec, self.writing.buffer)
    }
}

impl<W: AsyncWrite + Unpin, C> FramedWrite<W, C> {
    /// Writes a frame, and waits until the writer has taken it: a [`WriteHalf`](crate::io::WriteHalf) does so unless
    /// much is queued to be sent. For a writer that keeps what it takes, such as a `BufWriter`, call
    /// [`flush`](FramedWrite::flush) afterwards. The `send` of a [`Sink`](futures_sink::Sink) includes that.
    ///
    /// If the future is dropped before it is ready, the frame is written not at all, or whole, with the next call of
    /// this writer.
    ///
    /// # Errors
    ///
    /// The frame cannot be sent, and nothing was written: it is too long, for example. Or the writer's error.
    pub async fn send<Item>(&mut self, item: Item) -> Result<(), C::Error>
    where
        C: Encoder<Item>,
    {
        self.writing
            .send(&mut self.writer, &mut self.codec, item)
            .await
    }

    /// Waits until the writer has passed all frames on: a [`WriteHalf`](crate::io::WriteHalf) to the OS.
    ///
    /// # Errors
    ///
    /// The writer's error.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.writing.poll_flush(&mut self.writer, context)).await
    }

    /// Writes all frames, and closes the writer: the peer reads to the end.
    ///
    /// # Errors
    ///
    /// The writer's error.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| self.writing.poll_close(&mut self.writer, context)).await
    }
}

impl<W, C> FramedWrite<W, C> {
    pub(super) fn writing_parts(&mut self) -> (&mut W, &mut C, &mut Writing) {
        (&mut self.writer, &mut self.codec, &mut self.writing)
    }
}
