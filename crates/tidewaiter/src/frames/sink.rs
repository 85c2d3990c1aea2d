//! The trait of `futures-sink`.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::AsyncWrite;
use futures_sink::Sink;

use super::codec::Encoder;
use super::error::FrameError;
use super::framed::Framed;
use super::writing::FramedWrite;

/// Implements `Sink` for a type that has a writer, a codec and a [`Writing`].
macro_rules! sink {
    ($type:ident) => {
        impl<W: AsyncWrite + Unpin, C: Encoder<Item> + Unpin, Item> Sink<Item> for $type<W, C> {
            type Error = C::Error;

            fn poll_ready(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Result<(), C::Error>> {
                let (writer, _, writing) = self.get_mut().writing_parts();
                let ready = writing.poll_ready(writer, context);
                ready.map_err(|source| FrameError::Io(source).into())
            }

            fn start_send(self: Pin<&mut Self>, item: Item) -> Result<(), C::Error> {
                let (_, codec, writing) = self.get_mut().writing_parts();
                writing.encode(codec, item)
            }

            fn poll_flush(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Result<(), C::Error>> {
                let (writer, _, writing) = self.get_mut().writing_parts();
                let flushed = writing.poll_flush(writer, context);
                flushed.map_err(|source| FrameError::Io(source).into())
            }

            fn poll_close(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Result<(), C::Error>> {
                let (writer, _, writing) = self.get_mut().writing_parts();
                let closed = writing.poll_close(writer, context);
                closed.map_err(|source| FrameError::Io(source).into())
            }
        }
    };
}

sink!(FramedWrite);
sink!(Framed);
