//! Frames that a task reads and writes on one stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};

use super::codec::{Decoder, Encoder};
use super::reading::Reading;
use super::writing::Writing;

/// Frames out of and into a stream: [`FramedRead`](super::FramedRead) and [`FramedWrite`](super::FramedWrite) in one, for
/// a task that asks and then waits for the answer. For two tasks, [split](crate::io::Stream::split) the stream, and put a
/// codec on each half.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::frames::{FrameError, Framed, LengthPrefixed};
/// use tidewaiter::io::{Listener, Stream};
///
/// let reactor = Reactor::new()?;
/// let mut listener = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let address = listener.local_addr();
/// reactor.spawn(async move {
///     let (stream, _peer) = listener.accept().await?;
///     let mut server = Framed::new(stream, LengthPrefixed::big_endian(2));
///     while let Some(frame) = server.next().await {
///         server.send(frame?.to_ascii_uppercase()).await?;
///     }
///     Ok::<_, FrameError>(())
/// });
/// let answer = reactor.block_on(async {
///     let stream = Stream::connect(&reactor, address).await?;
///     let mut client = Framed::new(stream, LengthPrefixed::big_endian(2));
///     client.send("hello").await?;
///     client.next().await.transpose().map_err(Box::<dyn std::error::Error>::from)
/// })??;
/// assert_eq!(answer.as_deref(), Some(&b"HELLO"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Framed<T, C> {
    stream: T,
    reading: Reading<C>,
    writing: Writing,
}

impl<T, C> Framed<T, C> {
    /// Puts a codec on a stream.
    pub fn new(stream: T, codec: C) -> Framed<T, C> {
        Framed {
            stream,
            reading: Reading::new(codec),
            writing: Writing::default(),
        }
    }

    /// The stream. What is read from it by hand is missing in the frames, and what is written to it by hand may go out
    /// within one, unless a [`send`](Framed::send) was ready before.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// The stream, the codec, and the bytes that were read and that no frame has. Frames that the stream has not taken
    /// are lost: there are none if the last [`send`](Framed::send) was ready.
    pub fn into_parts(self) -> (T, C, BytesMut) {
        let (codec, unread) = self.reading.into_parts();
        (self.stream, codec, unread)
    }

    pub(super) fn writing_parts(&mut self) -> (&mut T, &mut C, &mut Writing) {
        (&mut self.stream, self.reading.codec(), &mut self.writing)
    }
}

impl<T: AsyncRead + Unpin, C: Decoder> Framed<T, C> {
    /// As [`FramedRead::next`](super::FramedRead::next).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn next(&mut self) -> Option<Result<C::Item, C::Error>> {
        poll_fn(|context| self.reading.poll_next(&mut self.stream, context)).await
    }
}

impl<T: AsyncWrite + Unpin, C> Framed<T, C> {
    /// As [`FramedWrite::send`](super::FramedWrite::send).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send<Item>(&mut self, item: Item) -> Result<(), C::Error>
    where
        C: Encoder<Item>,
    {
        let (stream, codec, writing) = self.writing_parts();
        writing.send(stream, codec, item).await
    }

    /// As [`FramedWrite::flush`](super::FramedWrite::flush).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.writing.poll_flush(&mut self.stream, context)).await
    }

    /// As [`FramedWrite::close`](super::FramedWrite::close). Reading goes on.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| self.writing.poll_close(&mut self.stream, context)).await
    }
}

impl<T: AsyncRead + Unpin, C: Decoder + Unpin> Stream for Framed<T, C> {
    type Item = Result<C::Item, C::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.reading.poll_next(&mut this.stream, context)
    }
}
