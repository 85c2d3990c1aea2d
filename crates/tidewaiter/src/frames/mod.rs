//! Frames: bytes cut into lines, netstrings, length-prefixed messages or what a codec of your own makes of them. The
//! [guide](crate::guide::frames) has a chapter.
//!
//! A codec is a [`Decoder`], an [`Encoder`] or both. [`Frames`] and [`ChildFrames`] put one before a callback protocol;
//! for tasks, [`FramedRead`], [`FramedWrite`] and [`Framed`] put one on anything that is
//! [`AsyncRead`](futures_io::AsyncRead) and [`AsyncWrite`](futures_io::AsyncWrite).
//!
//! ```
//! use tidewaiter::frames::{Decoder, Encoder, Netstrings};
//! use tidewaiter::bytes::BytesMut;
//!
//! let mut codec = Netstrings::new().limit(1000);
//! let mut buffer = BytesMut::from("5:hello,99");
//! assert_eq!(codec.decode(&mut buffer)?.as_deref(), Some(&b"hello"[..]));
//! assert_eq!(codec.decode(&mut buffer)?, None); // the rest has not arrived yet
//! assert_eq!(codec.frame("bye")?, "3:bye,");
//! buffer.extend_from_slice(b"99:");
//! let error = codec.decode(&mut buffer).unwrap_err();
//! assert_eq!(error.to_string(), "netstring too long: 9999 bytes, the limit is 1000");
//! # Ok::<(), tidewaiter::frames::FrameError>(())
//! ```

mod child;
mod codec;
mod decoding;
mod error;
mod fixed_size;
mod framed;
mod length_prefixed;
mod lines;
mod netstrings;
mod protocol;
mod reading;
mod sink;
#[cfg(test)]
mod tests;
mod writing;

pub use child::{ChildFrameProtocol, ChildFrames};
pub use codec::{Decoder, Encoder};
pub use error::FrameError;
pub use fixed_size::FixedSize;
pub use framed::Framed;
pub use length_prefixed::LengthPrefixed;
pub use lines::{Line, LineEnd, Lines};
pub use netstrings::Netstrings;
pub use protocol::{FrameProtocol, Frames};
pub use reading::FramedRead;
pub use writing::FramedWrite;

/// How many bytes a frame may have unless set.
const FRAME_LIMIT: usize = 64 << 10;
