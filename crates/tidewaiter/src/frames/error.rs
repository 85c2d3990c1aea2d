//! Why bytes are no frame.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::error::ConnectError;

/// Why there is no frame. Codecs of your own may use it too.
///
/// ```
/// use tidewaiter::bytes::BytesMut;
/// use tidewaiter::frames::{Decoder, FrameError, LengthPrefixed};
///
/// let mut codec = LengthPrefixed::big_endian(2).limit(100);
/// let error = codec.decode(&mut BytesMut::from(&[1, 0][..])).unwrap_err();
/// assert!(matches!(error, FrameError::TooLong { length: 256, limit: 100, .. }));
/// assert_eq!(
///     std::io::Error::from(error).to_string(),
///     "length-prefixed frame too long: 256 bytes, the limit is 100"
/// );
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than allowed.
    TooLong {
        /// What it is: a line, for example.
        frame: &'static str,
        /// Its bytes, or those that have arrived if it does not begin with their number.
        length: u64,
        /// The number that is allowed.
        limit: u64,
    },
    /// It does not look as it must.
    Malformed {
        /// What it should be.
        frame: &'static str,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// No more bytes will arrive, and those of the last frame are not complete.
    Ended {
        /// What it is.
        frame: &'static str,
        /// How many of its bytes arrived.
        received: usize,
    },
    /// The stream could not be read or written.
    Io(io::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong {
                frame,
                length,
                limit,
            } => write!(f, "{frame} too long: {length} bytes, the limit is {limit}"),
            FrameError::Malformed { frame, problem } => write!(f, "malformed {frame}: {problem}"),
            FrameError::Ended { frame, received } => write!(
                f,
                "the stream ended within a {frame}, after {received} of its bytes"
            ),
            FrameError::Io(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // `Display` shows the source itself.
            FrameError::Io(source) => source.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(source: io::Error) -> FrameError {
        FrameError::Io(source)
    }
}

impl From<ConnectError> for FrameError {
    fn from(error: ConnectError) -> FrameError {
        FrameError::Io(error.into())
    }
}

impl From<FrameError> for io::Error {
    /// Bytes that are no frame are [`InvalidData`](io::ErrorKind::InvalidData), an end within a frame is
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). The error is the inner one.
    fn from(error: FrameError) -> io::Error {
        let kind = match error {
            FrameError::Io(source) => return source,
            FrameError::Ended { .. } => io::ErrorKind::UnexpectedEof,
            FrameError::TooLong { .. } | FrameError::Malformed { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// Refuses a frame that is longer than allowed.
pub(super) fn check_length(frame: &'static str, length: u64, limit: u64) -> Result<(), FrameError> {
    if length > limit {
        return Err(FrameError::TooLong {
            frame,
            length,
            limit,
        });
    }
    Ok(())
}

/// A frame that does not look as it must.
pub(super) fn malformed(frame: &'static str, problem: impl Into<Cow<'static, str>>) -> FrameError {
    let problem = problem.into();
    FrameError::Malformed { frame, problem }
}
