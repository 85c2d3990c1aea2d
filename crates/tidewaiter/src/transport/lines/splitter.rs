//! Where lines end.

use std::fmt;

/// How long a line may be unless set.
pub(super) const LINE_LIMIT: usize = 64 << 10;

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line<'a> {
    /// Its bytes, without the line feed at its end and without a carriage return before that.
    pub bytes: &'a [u8],
    /// How it ends.
    pub end: LineEnd,
}

/// How a [`Line`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineEnd {
    /// By a line feed.
    Newline,
    /// By the end of all bytes, without a line feed: this is the last line, and may be a part of one.
    EndOfData,
    /// It is longer than the limit: these are its first bytes, as many as the limit allows. The rest is dropped, and
    /// the next line is told next.
    TooLong,
}

/// Splits bytes, which come in pieces cut anywhere, into lines.
///
/// A line ends with a line feed, or with a carriage return and a line feed. It is copied only if it comes in several
/// pieces. No more than the limit and one byte is kept.
///
/// This is the part that [`Lines`](crate::Lines) and [`ChildLines`](crate::ChildLines) have in common, for protocols that
/// need it in another place.
///
/// ```
/// use tidewaiter::{LineEnd, LineSplitter};
///
/// let mut lines = Vec::new();
/// let mut splitter = LineSplitter::new(8);
/// for piece in ["one\r", "\ntw", "o\nmuch too", " long\nlast"] {
///     splitter.feed(piece.as_bytes(), |line| lines.push((line.bytes.to_vec(), line.end)));
/// }
/// splitter.finish(|line| lines.push((line.bytes.to_vec(), line.end)));
/// let expected = [
///     (b"one".to_vec(), LineEnd::Newline),
///     (b"two".to_vec(), LineEnd::Newline),
///     (b"much too".to_vec(), LineEnd::TooLong),
///     (b"last".to_vec(), LineEnd::EndOfData),
/// ];
/// assert_eq!(lines, expected);
/// ```
pub struct LineSplitter {
    limit: usize,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Whether the rest of a line that is too long is being dropped.
    dropping: bool,
}

impl LineSplitter {
    /// Splits into lines of up to `limit` bytes each, without their ends.
    #[must_use]
    pub fn new(limit: usize) -> LineSplitter {
        LineSplitter {
            limit,
            begun: Vec::new(),
            dropping: false,
        }
    }

    /// Takes the next piece, and calls `tell` with each line that ends in it, or that turns out to be too long.
    pub fn feed(&mut self, data: &[u8], mut tell: impl FnMut(Line<'_>)) {
        let mut rest = data;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (part, next) = rest.split_at(at);
            rest = &next[1..];
            self.end_line(part, &mut tell);
        }
        self.begin_line(rest, &mut tell);
    }

    /// No more bytes will come: calls `tell` with the last line, if that has no end.
    pub fn finish(&mut self, tell: impl FnOnce(Line<'_>)) {
        self.dropping = false;
        let begun = std::mem::take(&mut self.begun);
        if begun.is_empty() {
            return;
        }
        // A carriage return that no line feed follows is a byte of the line.
        tell(self.line(&begun, LineEnd::EndOfData));
    }

    /// Handles a part with which a line ends.
    fn end_line(&mut self, part: &[u8], tell: &mut impl FnMut(Line<'_>)) {
        if std::mem::take(&mut self.dropping) {
            return;
        }
        if self.begun.is_empty() {
            tell(self.line(without_return(part), LineEnd::Newline));
            return;
        }
        let mut whole = std::mem::take(&mut self.begun);
        let room = self.limit.saturating_add(2).saturating_sub(whole.len());
        whole.extend_from_slice(&part[..part.len().min(room)]);
        let bytes = match part.len() > room {
            true => &whole[..],
            false => without_return(&whole),
        };
        tell(self.line(bytes, LineEnd::Newline));
    }

    /// Handles a part of a line whose end has not come yet.
    fn begin_line(&mut self, part: &[u8], tell: &mut impl FnMut(Line<'_>)) {
        if self.dropping || part.is_empty() {
            return;
        }
        // One more byte than the limit may be the carriage return of the line's end.
        let length = self.begun.len() + part.len();
        let last = part[part.len() - 1];
        if length > self.limit && !(length - 1 == self.limit && last == b'\r') {
            let room = self.limit.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            let begun = std::mem::take(&mut self.begun);
            tell(self.line(&begun[..self.limit], LineEnd::TooLong));
            self.dropping = true;
            return;
        }
        self.begun.extend_from_slice(part);
    }

    /// A line of these bytes, cut if it is too long.
    fn line<'a>(&self, bytes: &'a [u8], end: LineEnd) -> Line<'a> {
        match bytes.get(..self.limit) {
            Some(first) if bytes.len() > self.limit => Line {
                bytes: first,
                end: LineEnd::TooLong,
            },
            _ => Line { bytes, end },
        }
    }
}

impl Default for LineSplitter {
    /// Splits into lines of up to 64 KiB.
    fn default() -> LineSplitter {
        LineSplitter::new(LINE_LIMIT)
    }
}

impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineSplitter({} bytes kept)", self.begun.len())
    }
}

fn without_return(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::{LineEnd, LineSplitter};
    use proptest::prelude::*;

    type Told = Vec<(Vec<u8>, LineEnd)>;

    /// The lines of all bytes, which come in pieces of these lengths and then in one piece.
    fn split(limit: usize, data: &[u8], lengths: &[usize]) -> Told {
        let mut told = Vec::new();
        let mut splitter = LineSplitter::new(limit);
        let mut rest = data;
        for &length in lengths {
            let (piece, next) = rest.split_at(length.min(rest.len()));
            splitter.feed(piece, |line| told.push((line.bytes.to_vec(), line.end)));
            assert!(splitter.begun.len() <= limit.saturating_add(1));
            rest = next;
        }
        splitter.feed(rest, |line| told.push((line.bytes.to_vec(), line.end)));
        splitter.finish(|line| told.push((line.bytes.to_vec(), line.end)));
        told
    }

    /// What should be told, found in another way.
    fn expected(limit: usize, data: &[u8]) -> Told {
        let mut parts: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
        let last = parts.pop().filter(|last| !last.is_empty());
        let ended = parts.into_iter().map(|part| {
            let line = part.strip_suffix(b"\r").unwrap_or(part);
            (line, LineEnd::Newline)
        });
        let unended = last.map(|part| (part, LineEnd::EndOfData));
        let cut = |(line, end): (&[u8], LineEnd)| match line.len() > limit {
            true => (line[..limit].to_vec(), LineEnd::TooLong),
            false => (line.to_vec(), end),
        };
        ended.chain(unended).map(cut).collect()
    }

    proptest! {
        /// Goal: the lines do not depend on where the pieces are cut.
        #[test]
        fn lines_are_the_same_wherever_the_bytes_are_cut(
            data in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..60),
            lengths in prop::collection::vec(0_usize..9, 0..20),
            limit in 0_usize..7,
        ) {
            prop_assert_eq!(split(limit, &data, &lengths), expected(limit, &data));
            prop_assert_eq!(split(usize::MAX, &data, &lengths), expected(usize::MAX, &data));
        }
    }
}
