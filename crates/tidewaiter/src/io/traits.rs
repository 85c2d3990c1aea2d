//! The traits of others: `futures-io`'s, and with the feature `tokio` those of tokio.
//!
//! Their `poll_flush` does not wait: what was written is sent at the end of the turn, and no buffer of ours must fill
//! before. It fails once bytes that were written are known to be lost. Libraries such as hyper and those for TLS flush after each message, and would wait for each send. It is the
//! method [`WriteHalf::flush`] that waits until the OS has taken everything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::halves::{ReadHalf, WriteHalf};
use super::kinds::OfKind;
use super::stream::Stream;

macro_rules! reads {
    (<$($kind:ident)?> $type:ty, $half:ident) => {
        impl<$($kind)?> futures_io::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().$half().poll_read(context, into)
            }
        }

        impl<$($kind)?> futures_io::AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                let half = self.get_mut().$half();
                ready!(half.poll_current(context))?;
                Poll::Ready(Ok(half.current()))
            }

            fn consume(self: Pin<&mut Self>, count: usize) {
                self.get_mut().$half().consume(count);
            }
        }

        #[cfg(feature = "tokio")]
        impl<$($kind)?> tokio::io::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if into.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                let half = self.get_mut().$half();
                ready!(half.poll_current(context))?;
                let count = half.current().len().min(into.remaining());
                into.put_slice(&half.current()[..count]);
                half.consume(count);
                Poll::Ready(Ok(()))
            }
        }

        #[cfg(feature = "tokio")]
        impl<$($kind)?> tokio::io::AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                futures_io::AsyncBufRead::poll_fill_buf(self, context)
            }

            fn consume(self: Pin<&mut Self>, count: usize) {
                self.get_mut().$half().consume(count);
            }
        }
    };
}

macro_rules! writes {
    (<$($kind:ident)?> $type:ty, $half:ident) => {
        impl<$($kind)?> futures_io::AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let pieces = [IoSlice::new(bytes)];
                self.get_mut().$half().poll_write(context, &pieces)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().$half().poll_write(context, pieces)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                // It does not wait: see the head of this file.
                Poll::Ready(self.get_mut().$half().check_lost())
            }

            fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().$half().poll_shut_down(context)
            }
        }

        #[cfg(feature = "tokio")]
        impl<$($kind)?> tokio::io::AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write(self, context, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write_vectored(self, context, pieces)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_flush(self, context)
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_close(self, context)
            }
        }
    };
}

reads!(<> Stream, reader);
writes!(<> Stream, writer);
reads!(<K> OfKind<Stream, K>, reader);
writes!(<K> OfKind<Stream, K>, writer);
reads!(<> ReadHalf, itself);
writes!(<> WriteHalf, itself);

impl ReadHalf {
    fn itself(&mut self) -> &mut ReadHalf {
        self
    }
}

impl WriteHalf {
    fn itself(&mut self) -> &mut WriteHalf {
        self
    }
}
