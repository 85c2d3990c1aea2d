//! Frames that all have one size.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{Decoder, Encoder};
use super::error::{FrameError, malformed};

const NAME: &str = "fixed-size frame";

/// Frames of one size.
///
/// ```
/// use tidewaiter::bytes::BytesMut;
/// use tidewaiter::frames::{Decoder, Encoder, FixedSize};
///
/// let mut records = FixedSize::new(3);
/// let mut buffer = BytesMut::from("abcde");
/// assert_eq!(records.decode(&mut buffer)?.as_deref(), Some(&b"abc"[..]));
/// assert_eq!(records.decode(&mut buffer)?, None);
/// let error = records.frame("four").unwrap_err();
/// assert_eq!(error.to_string(), "malformed fixed-size frame: it has 4 bytes, not 3");
/// # Ok::<(), tidewaiter::frames::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FixedSize {
    size: usize,
}

impl FixedSize {
    /// Frames of `size` bytes.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    #[must_use]
    pub fn new(size: usize) -> FixedSize {
        assert!(size > 0, "a frame has at least one byte");
        FixedSize { size }
    }
}

impl Decoder for FixedSize {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let complete = buffer.len() >= self.size;
        Ok(complete.then(|| buffer.split_to(self.size).freeze()))
    }

    fn frame_name(&self) -> &'static str {
        NAME
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for FixedSize {
    type Error = FrameError;

    fn encode(&mut self, bytes: T, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let bytes = bytes.as_ref();
        if bytes.len() != self.size {
            let (length, size) = (bytes.len(), self.size);
            return Err(malformed(
                NAME,
                format!("it has {length} bytes, not {size}"),
            ));
        }
        buffer.put_slice(bytes);
        Ok(())
    }
}
