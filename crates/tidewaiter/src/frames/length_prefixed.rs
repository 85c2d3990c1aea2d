//! Frames that begin with their length.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::FRAME_LIMIT;
use super::codec::{Decoder, Encoder};
use super::error::{FrameError, check_length};

const NAME: &str = "length-prefixed frame";

/// Frames that begin with the number of their bytes, not counting the number itself: in 1 to 8 bytes, of either order.
///
/// ```
/// use tidewaiter::bytes::BytesMut;
/// use tidewaiter::frames::{Decoder, Encoder, LengthPrefixed};
///
/// let mut codec = LengthPrefixed::big_endian(4).limit(1 << 20);
/// assert_eq!(codec.frame("hello")?, "\0\0\0\x05hello");
///
/// let mut buffer = BytesMut::from("\x02\0hi\x01\0");
/// let mut codec = LengthPrefixed::little_endian(2);
/// assert_eq!(codec.decode(&mut buffer)?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(codec.decode(&mut buffer)?, None);
/// # Ok::<(), tidewaiter::frames::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    prefix: usize,
    little_endian: bool,
    limit: u64,
}

impl LengthPrefixed {
    /// Frames of up to 64 KiB, or less if `prefix_bytes` bytes cannot tell so much. The length has its most significant
    /// byte first, as is usual on networks.
    ///
    /// # Panics
    ///
    /// If `prefix_bytes` is 0 or more than 8.
    #[must_use]
    pub fn big_endian(prefix_bytes: usize) -> LengthPrefixed {
        assert!(
            (1..=8).contains(&prefix_bytes),
            "a length has 1 to 8 bytes, not {prefix_bytes}"
        );
        let codec = LengthPrefixed {
            prefix: prefix_bytes,
            little_endian: false,
            limit: 0,
        };
        codec.limit(FRAME_LIMIT)
    }

    /// As [`big_endian`](LengthPrefixed::big_endian), with the least significant byte first.
    ///
    /// # Panics
    ///
    /// As there.
    #[must_use]
    pub fn little_endian(prefix_bytes: usize) -> LengthPrefixed {
        LengthPrefixed {
            little_endian: true,
            ..LengthPrefixed::big_endian(prefix_bytes)
        }
    }

    /// Sets how many bytes a frame may have, without its length. A longer one is an error.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> LengthPrefixed {
        let expressible = u64::MAX >> (64 - 8 * self.prefix);
        self.limit = expressible.min(bytes as u64);
        self
    }

    fn length(&self, prefix: &[u8]) -> u64 {
        let add = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
        match self.little_endian {
            true => prefix.iter().rev().fold(0, add),
            false => prefix.iter().fold(0, add),
        }
    }
}

impl Decoder for LengthPrefixed {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = buffer.get(..self.prefix) else {
            return Ok(None);
        };
        let length = self.length(prefix);
        check_length(NAME, length, self.limit)?;
        let arrived = buffer.len() - self.prefix;
        if (arrived as u64) < length {
            return Ok(None);
        }
        buffer.advance(self.prefix);
        let length = usize::try_from(length).unwrap_or(arrived);
        Ok(Some(buffer.split_to(length).freeze()))
    }

    fn frame_name(&self) -> &'static str {
        NAME
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LengthPrefixed {
    type Error = FrameError;

    fn encode(&mut self, bytes: T, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let bytes = bytes.as_ref();
        let length = bytes.len() as u64;
        check_length(NAME, length, self.limit)?;
        buffer.reserve(self.prefix + bytes.len());
        match self.little_endian {
            true => buffer.put_uint_le(length, self.prefix),
            false => buffer.put_uint(length, self.prefix),
        }
        buffer.put_slice(bytes);
        Ok(())
    }
}
