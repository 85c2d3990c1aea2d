//! Frames that tasks read.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_core::Stream;
use futures_io::AsyncRead;

use super::codec::Decoder;
use super::decoding::Decoding;
use super::error::FrameError;

/// A reader gets so many bytes at a time...
const READ: usize = 1 << 10;
/// ...and this many while it filled what it got.
const READ_MUCH: usize = 16 << 10;

/// A codec, and how far the reading of its frames has come.
pub(super) struct Reading<C> {
    decoding: Decoding<C>,
    much: bool,
    ended: bool,
}

impl<C> Reading<C> {
    pub(super) fn new(codec: C) -> Reading<C> {
        Reading {
            decoding: Decoding::new(codec),
            much: false,
            ended: false,
        }
    }

    pub(super) fn codec(&mut self) -> &mut C {
        &mut self.decoding.codec
    }

    pub(super) fn into_parts(self) -> (C, BytesMut) {
        (self.decoding.codec, self.decoding.buffer)
    }
}

impl<C: Decoder> Reading<C> {
    /// Waits for the next frame; `None` at the end of the stream and after an error.
    pub(super) fn poll_next(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<C::Item, C::Error>>> {
        loop {
            let next = match self.ended {
                true => self.decoding.next_at_end(),
                false => self.decoding.next(),
            };
            if let Some(result) = next {
                self.ended |= result.is_err();
                return Poll::Ready(Some(result));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let count = match self.much {
                true => self.poll_read::<READ_MUCH>(reader, context),
                false => self.poll_read::<READ>(reader, context),
            };
            match ready!(count) {
                Ok(count) => self.ended = count == 0,
                Err(source) => {
                    self.ended = true;
                    self.decoding.fail();
                    return Poll::Ready(Some(Err(FrameError::Io(source).into())));
                }
            }
        }
    }

    /// Reads up to `SIZE` bytes, and returns how many. No memory waits for them.
    fn poll_read<const SIZE: usize>(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut bytes = [0; SIZE];
        let count = ready!(Pin::new(reader).poll_read(context, &mut bytes))?;
        self.decoding.add(&bytes[..count]);
        self.much = count == SIZE;
        Poll::Ready(Ok(count))
    }
}

impl<C: fmt::Debug> fmt::Debug for Reading<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decoding.fmt(f)
    }
}

/// Frames out of a reader: of the [`ReadHalf`](crate::io::ReadHalf) of a stream, for example, or of any other
/// [`AsyncRead`]. It is a [`Stream`] of the crate `futures-core`.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::frames::{FrameError, FramedRead, Lines};
/// use tidewaiter::io::{Listener, Stream};
///
/// let reactor = Reactor::new()?;
/// let mut listener = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let address = listener.local_addr();
/// let client = reactor.clone();
/// reactor.spawn(async move {
///     let mut stream = Stream::connect(&client, address).await?;
///     stream.write_all(b"one\ntwo\n").await
/// });
/// let words = reactor.block_on(async {
///     let (stream, _peer) = listener.accept().await?;
///     let mut lines = FramedRead::new(stream, Lines::new());
///     let mut words = Vec::new();
///     while let Some(line) = lines.next().await {
///         words.push(line?.to_str()?.to_owned());
///     }
///     Ok::<_, FrameError>(words)
/// })??;
/// assert_eq!(words, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FramedRead<R, C> {
    reader: R,
    reading: Reading<C>,
}

impl<R, C> FramedRead<R, C> {
    /// Puts a codec on a reader.
    pub fn new(reader: R, codec: C) -> FramedRead<R, C> {
        FramedRead {
            reader,
            reading: Reading::new(codec),
        }
    }

    /// The reader. What is read from it by hand is missing in the frames.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The reader, the codec, and the bytes that were read and that no frame has: for a stream that goes on in another
    /// way.
    ///
    /// ```
    /// use tidewaiter::frames::{FrameError, FramedRead, Lines};
    /// use tidewaiter::io::Stream;
    ///
    /// /// Reads a line with the number of the bytes that follow, and those bytes.
    /// async fn body(stream: Stream) -> Result<Vec<u8>, FrameError> {
    ///     let mut lines = FramedRead::new(stream, Lines::new().limit(20));
    ///     let length = match lines.next().await {
    ///         Some(line) => line?.to_str()?.parse().unwrap_or(0),
    ///         None => 0,
    ///     };
    ///     let (mut stream, _, unread) = lines.into_parts();
    ///     let mut body = unread.to_vec();
    ///     while body.len() < length {
    ///         let bytes = stream.fill_buf().await?;
    ///         let count = bytes.len();
    ///         body.extend_from_slice(bytes);
    ///         stream.consume(count);
    ///         if count == 0 {
    ///             break;
    ///         }
    ///     }
    ///     Ok(body)
    /// }
    /// ```
    pub fn into_parts(self) -> (R, C, BytesMut) {
        let (codec, unread) = self.reading.into_parts();
        (self.reader, codec, unread)
    }
}

impl<R: AsyncRead + Unpin, C: Decoder> FramedRead<R, C> {
    /// Waits for the next frame: `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Bytes that are no frame, or the reader's error. It is the last item: `None` follows.
    pub async fn next(&mut self) -> Option<Result<C::Item, C::Error>> {
        poll_fn(|context| self.reading.poll_next(&mut self.reader, context)).await
    }
}

impl<R: AsyncRead + Unpin, C: Decoder + Unpin> Stream for FramedRead<R, C> {
    type Item = Result<C::Item, C::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.reading.poll_next(&mut this.reader, context)
    }
}
