//! Streams as hyper reads and writes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};

/// Lets hyper read and write a [`Stream`](tidewaiter::io::Stream), or another stream with the traits of `futures-io`, such
/// as one that encrypts.
///
/// ```
/// use hyper::client::conn::http1;
/// use tidewaiter::io::Stream;
/// use tidewaiter_hyper::Io;
///
/// # async fn connect(reactor: &tidewaiter::Reactor) -> Result<(), Box<dyn std::error::Error>> {
/// let stream = Stream::connect(reactor, ("example.org", 80)).await?;
/// let (mut requests, connection) = http1::handshake(Io::new(stream)).await?;
/// reactor.spawn(connection);
/// # let _ = requests.send_request(hyper::Request::new(String::new())).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Io<S>(S);

impl<S> Io<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Io<S> {
        Io(stream)
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// The stream, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.0
    }

    /// Takes the stream back. After an upgrade, bytes that hyper has read already are in its `Parts::read_buf`.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: AsyncBufRead + Unpin> Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(&mut self.0);
        let bytes = ready!(stream.as_mut().poll_fill_buf(context))?;
        let count = bytes.len().min(into.remaining());
        into.put_slice(&bytes[..count]);
        stream.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }

    /// A [`Stream`](tidewaiter::io::Stream) gathers pieces, so hyper need not copy heads and bodies together before.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }
}
