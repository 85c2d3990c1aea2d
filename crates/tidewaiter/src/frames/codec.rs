//! What a codec is.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::error::FrameError;

/// Takes frames out of received bytes. It has the shape of tokio-util's trait of the same name.
///
/// ```
/// use tidewaiter::bytes::{Buf, BytesMut};
/// use tidewaiter::frames::{Decoder, FrameError};
///
/// /// Numbers of four bytes.
/// struct Numbers;
///
/// impl Decoder for Numbers {
///     type Item = u32;
///     type Error = FrameError;
///
///     fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<u32>, FrameError> {
///         Ok((buffer.len() >= 4).then(|| buffer.get_u32()))
///     }
/// }
///
/// let mut buffer = BytesMut::from(&[0, 0, 1, 0, 7][..]);
/// assert_eq!(Numbers.decode(&mut buffer)?, Some(256));
/// assert_eq!(Numbers.decode(&mut buffer)?, None);
/// let error = Numbers.decode_eof(&mut buffer).unwrap_err();
/// assert_eq!(error.to_string(), "the stream ended within a frame, after 1 of its bytes");
/// # Ok::<(), FrameError>(())
/// ```
pub trait Decoder {
    /// A frame.
    type Item;

    /// Why bytes are no frame. [`FrameError`] and [`io::Error`](std::io::Error) are such errors.
    type Error: From<FrameError> + fmt::Display;

    /// Takes the next frame from the beginning of `buffer`, or returns `None` if more bytes must arrive before.
    ///
    /// The bytes of a frame must leave `buffer` with it, by [`split_to`](BytesMut::split_to) or
    /// [`advance`](bytes::Buf::advance); all others must stay. Check the length of a frame as soon as it is known:
    /// nothing else limits how much is kept.
    ///
    /// # Errors
    ///
    /// The bytes are no frame. The decoder is not called again.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error>;

    /// As [`decode`](Decoder::decode) once no more bytes will arrive: called until it returns `None`. By default, bytes
    /// that are left then are an error.
    ///
    /// # Errors
    ///
    /// As there, and [`FrameError::Ended`].
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        let frame = self.decode(buffer)?;
        if frame.is_none() && !buffer.is_empty() {
            let (frame, received) = (self.frame_name(), buffer.len());
            return Err(FrameError::Ended { frame, received }.into());
        }
        Ok(frame)
    }

    /// What errors call a frame.
    fn frame_name(&self) -> &'static str {
        "frame"
    }
}

/// Makes bytes of frames. It has the shape of tokio-util's trait of the same name.
///
/// ```
/// use tidewaiter::bytes::{BufMut, BytesMut};
/// use tidewaiter::frames::{Encoder, FrameError};
///
/// /// Numbers of four bytes.
/// struct Numbers;
///
/// impl Encoder<u32> for Numbers {
///     type Error = FrameError;
///
///     fn encode(&mut self, number: u32, buffer: &mut BytesMut) -> Result<(), FrameError> {
///         buffer.put_u32(number);
///         Ok(())
///     }
/// }
///
/// assert_eq!(Numbers.frame(256)?, [0, 0, 1, 0][..]);
/// # Ok::<(), FrameError>(())
/// ```
pub trait Encoder<Item> {
    /// Why something cannot be sent as a frame.
    type Error: From<FrameError> + fmt::Display;

    /// Adds the bytes of a frame to `buffer`.
    ///
    /// # Errors
    ///
    /// It cannot be sent: it is too long, for example. What was added then is not sent.
    fn encode(&mut self, item: Item, buffer: &mut BytesMut) -> Result<(), Self::Error>;

    /// The bytes of one frame, for [`Transport::write_bytes`](crate::Transport::write_bytes) or a
    /// [`Broadcast`](crate::Broadcast).
    ///
    /// # Errors
    ///
    /// As [`encode`](Encoder::encode).
    fn frame(&mut self, item: Item) -> Result<Bytes, Self::Error> {
        let mut buffer = BytesMut::new();
        self.encode(item, &mut buffer)?;
        Ok(buffer.freeze())
    }
}
