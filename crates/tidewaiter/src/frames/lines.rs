//! Lines.

use std::io::BufRead;
use std::ops::Deref;

use bytes::{BufMut, Bytes, BytesMut};

use super::FRAME_LIMIT;
use super::codec::{Decoder, Encoder};
use super::error::{FrameError, check_length, malformed};

const NAME: &str = "line";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Its bytes, without the line feed at its end and without a carriage return before that.
    pub bytes: Bytes,
    /// How it ends.
    pub end: LineEnd,
}

impl Line {
    /// The line as text.
    ///
    /// # Errors
    ///
    /// [`FrameError::Malformed`] if it is not UTF-8.
    ///
    /// ```
    /// # use tidewaiter::bytes::BytesMut;
    /// # use tidewaiter::frames::{Decoder, Lines};
    /// let mut buffer = BytesMut::from(&b"caf\xc3\xa9\r\ncaf\xe9\n"[..]);
    /// let mut lines = Lines::new();
    /// assert_eq!(lines.decode(&mut buffer)?.unwrap().to_str()?, "café");
    /// assert!(lines.decode(&mut buffer)?.unwrap().to_str().is_err());
    /// # Ok::<(), tidewaiter::frames::FrameError>(())
    /// ```
    pub fn to_str(&self) -> Result<&str, FrameError> {
        std::str::from_utf8(&self.bytes).map_err(|error| malformed(NAME, error.to_string()))
    }
}

/// The line's bytes.
impl Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How a [`Line`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineEnd {
    /// By a line feed.
    Newline,
    /// By the end of all bytes, without a line feed: this is the last line, and may be a part of one.
    EndOfData,
    /// It is longer than the limit, and was [cut](Lines::cut_long): these are its first bytes, as many as the limit
    /// allows. The rest is dropped, and the next line is told next.
    TooLong,
}

/// Lines, which end with a line feed, or with a carriage return and a line feed.
///
/// ```
/// use tidewaiter::bytes::BytesMut;
/// use tidewaiter::frames::{Decoder, Encoder, LineEnd, Lines};
///
/// let mut buffer = BytesMut::from("one\r\nmuch too long\nlast");
/// let mut lines = Lines::new().limit(8).cut_long();
/// let mut told = Vec::new();
/// while let Some(line) = lines.decode_eof(&mut buffer)? {
///     told.push((line.to_str()?.to_owned(), line.end));
/// }
/// let expected = [("one", LineEnd::Newline), ("much too", LineEnd::TooLong), ("last", LineEnd::EndOfData)];
/// assert_eq!(told, expected.map(|(line, end)| (line.to_owned(), end)));
///
/// assert_eq!(lines.frame("an answer".get(..8).unwrap())?, "an answe\n");
/// assert!(lines.frame("two\nlines").is_err());
/// # Ok::<(), tidewaiter::frames::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    cuts: bool,
    ends_with_return: bool,
    /// How many of the buffer's bytes are known to have no line feed.
    searched: usize,
    /// Whether the rest of a line that was cut is being dropped.
    dropping: bool,
}

impl Lines {
    /// Lines of up to 64 KiB. A longer one is an error.
    #[must_use]
    pub fn new() -> Lines {
        Lines {
            limit: FRAME_LIMIT,
            cuts: false,
            ends_with_return: false,
            searched: 0,
            dropping: false,
        }
    }

    /// Sets how many bytes a line may have, without its end.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Lines {
        self.limit = bytes;
        self
    }

    /// Tells the beginning of a line that is too long, as [`LineEnd::TooLong`], drops its rest, and goes on, rather than
    /// failing.
    #[must_use]
    pub fn cut_long(mut self) -> Lines {
        self.cuts = true;
        self
    }

    /// Ends the lines that are sent with a carriage return and a line feed.
    ///
    /// ```
    /// # use tidewaiter::frames::{Encoder, Lines};
    /// assert_eq!(Lines::new().end_with_return().frame("250 OK")?, "250 OK\r\n");
    /// # Ok::<(), tidewaiter::frames::FrameError>(())
    /// ```
    #[must_use]
    pub fn end_with_return(mut self) -> Lines {
        self.ends_with_return = true;
        self
    }

    /// Handles a line that has no end yet.
    fn unended(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, FrameError> {
        let length = buffer.len();
        if self.dropping {
            buffer.clear();
        } else if length > self.limit && !(length - 1 == self.limit && buffer.ends_with(b"\r")) {
            // One more byte than the limit may be the carriage return of the line's end.
            let line = self.line(buffer.split(), LineEnd::EndOfData)?;
            self.dropping = true;
            self.searched = 0;
            return Ok(Some(line));
        }
        self.searched = buffer.len();
        Ok(None)
    }

    /// A line of these bytes, cut if it is too long.
    fn line(&self, mut bytes: BytesMut, mut end: LineEnd) -> Result<Line, FrameError> {
        if bytes.len() > self.limit {
            if !self.cuts {
                check_length(NAME, bytes.len() as u64, self.limit as u64)?;
            }
            bytes.truncate(self.limit);
            end = LineEnd::TooLong;
        }
        let bytes = bytes.freeze();
        Ok(Line { bytes, end })
    }
}

impl Default for Lines {
    fn default() -> Lines {
        Lines::new()
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, FrameError> {
        loop {
            let searched = self.searched.min(buffer.len());
            let Some(found) = find_newline(&buffer[searched..]) else {
                return self.unended(buffer);
            };
            self.searched = 0;
            let mut line = buffer.split_to(searched + found + 1);
            if std::mem::take(&mut self.dropping) {
                continue;
            }
            line.truncate(searched + found);
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            return self.line(line, LineEnd::Newline).map(Some);
        }
    }

    /// The last line needs no end. A carriage return that no line feed follows is a byte of the line.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, FrameError> {
        let line = self.decode(buffer)?;
        if line.is_some() || buffer.is_empty() {
            return Ok(line);
        }
        self.searched = 0;
        self.line(buffer.split(), LineEnd::EndOfData).map(Some)
    }

    fn frame_name(&self) -> &'static str {
        NAME
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for Lines {
    type Error = FrameError;

    /// Refuses a line that is longer than the limit, or has a line feed inside.
    fn encode(&mut self, line: T, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let line = line.as_ref();
        check_length(NAME, line.len() as u64, self.limit as u64)?;
        if let Some(at) = find_newline(line) {
            return Err(malformed(NAME, format!("a line feed after {at} bytes")));
        }
        // The reader drops one carriage return.
        let with_return = self.ends_with_return || line.ends_with(b"\r");
        let end: &[u8] = if with_return { b"\r\n" } else { b"\n" };
        buffer.reserve(line.len() + end.len());
        buffer.put_slice(line);
        buffer.put_slice(end);
        Ok(())
    }
}

/// Where the first line feed is. `skip_until` searches many bytes at a time.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let end = rest.skip_until(b'\n').unwrap_or(0);
    let found = bytes[..end].ends_with(b"\n");
    found.then(|| end - 1)
}
