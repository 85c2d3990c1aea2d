//! Netstrings.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::FRAME_LIMIT;
use super::codec::{Decoder, Encoder};
use super::error::{FrameError, check_length, malformed};

const NAME: &str = "netstring";
/// No length has more digits.
const DIGITS_MAX: usize = 20;

/// Netstrings: the number of bytes in decimal, a colon, the bytes and a comma, as in `5:hello,`.
///
/// ```
/// use tidewaiter::bytes::BytesMut;
/// use tidewaiter::frames::{Decoder, Encoder, Netstrings};
///
/// let mut netstrings = Netstrings::new();
/// let mut buffer = BytesMut::from("0:,3:abc,x");
/// assert_eq!(netstrings.decode(&mut buffer)?.as_deref(), Some(&b""[..]));
/// assert_eq!(netstrings.decode(&mut buffer)?.as_deref(), Some(&b"abc"[..]));
/// let error = netstrings.decode(&mut buffer).unwrap_err();
/// assert_eq!(error.to_string(), "malformed netstring: no digit but 'x' begins it");
/// assert_eq!(netstrings.frame("hello")?, "5:hello,");
/// # Ok::<(), tidewaiter::frames::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Netstrings {
    limit: usize,
}

impl Netstrings {
    /// Netstrings of up to 64 KiB. A longer one is an error.
    #[must_use]
    pub fn new() -> Netstrings {
        Netstrings { limit: FRAME_LIMIT }
    }

    /// Sets how many bytes a netstring may have, without its length, colon and comma.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Netstrings {
        self.limit = bytes;
        self
    }
}

impl Default for Netstrings {
    fn default() -> Netstrings {
        Netstrings::new()
    }
}

impl Decoder for Netstrings {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(head) = parse_head(buffer)? else {
            return Ok(None);
        };
        check_length(NAME, head.length, self.limit as u64)?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let arrived = buffer.len() - head.size;
        if arrived <= length {
            return Ok(None);
        }
        let end = buffer[head.size + length];
        if end != b',' {
            let end = end.escape_ascii();
            let problem = format!("no comma but '{end}' follows its {length} bytes");
            return Err(malformed(NAME, problem));
        }
        buffer.advance(head.size);
        let frame = buffer.split_to(length).freeze();
        buffer.advance(1);
        Ok(Some(frame))
    }

    fn frame_name(&self) -> &'static str {
        NAME
    }
}

/// The length of a netstring.
struct Head {
    length: u64,
    /// How many bytes the length and the colon take.
    size: usize,
}

/// Reads the length and the colon; `None` if they are not there yet.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, FrameError> {
    let mut length = 0_u64;
    for (at, &byte) in bytes.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte - b'0'),
            b':' if at > 0 => {
                let size = at + 1;
                return Ok(Some(Head { length, size }));
            }
            _ => {
                let byte = byte.escape_ascii();
                let problem = match at {
                    0 => format!("no digit but '{byte}' begins it"),
                    _ => format!("no colon but '{byte}' follows its length"),
                };
                return Err(malformed(NAME, problem));
            }
        };
        if at == DIGITS_MAX || (at == 1 && length == 0) {
            let problem = match at {
                1 => "its length begins with a zero",
                _ => "its length has more than 20 digits",
            };
            return Err(malformed(NAME, problem));
        }
        length = length.saturating_mul(10).saturating_add(digit);
    }
    Ok(None)
}

impl<T: AsRef<[u8]>> Encoder<T> for Netstrings {
    type Error = FrameError;

    fn encode(&mut self, bytes: T, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let bytes = bytes.as_ref();
        check_length(NAME, bytes.len() as u64, self.limit as u64)?;
        let length = bytes.len().to_string();
        buffer.reserve(length.len() + bytes.len() + 2);
        buffer.put_slice(length.as_bytes());
        buffer.put_u8(b':');
        buffer.put_slice(bytes);
        buffer.put_u8(b',');
        Ok(())
    }
}
