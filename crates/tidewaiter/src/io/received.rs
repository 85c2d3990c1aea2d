//! Bytes that were received and not read yet.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::port::Buffer;
use crate::transport::{SHARE_MIN, Transport};

/// A copied piece of at least this many bytes is written without another copy.
const MOVED_MIN: usize = 4096;

/// A piece of what was received.
pub(super) enum Piece {
    Copied(Vec<u8>),
    Kept(Buffer),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Copied(bytes) => bytes,
            Piece::Kept(buffer) => buffer,
        }
    }
}

/// Bytes that were received and that the reader has not taken yet, in order.
#[derive(Default)]
pub(super) struct Received {
    /// Empty only if `more` is. Apart from it, because a reader that keeps up never has more than one.
    first: Option<Piece>,
    more: VecDeque<Piece>,
    len: usize,
}

impl Received {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds bytes. `keep` returns the memory in which they arrived, if it can be kept: where they are many, because the memory of
    /// few is never shared. `copy` copies them to memory of their own.
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        keep: impl FnOnce() -> Option<Buffer>,
        copy: impl FnOnce() -> Vec<u8>,
    ) {
        self.len += bytes.len();
        let kept = match bytes.len() {
            SHARE_MIN.. => keep(),
            _ => None,
        };
        match (kept, &self.first) {
            (None, None) => self.first = Some(Piece::Copied(copy())),
            (Some(buffer), None) => self.first = Some(Piece::Kept(buffer)),
            (Some(buffer), Some(_)) => self.more.push_back(Piece::Kept(buffer)),
            (None, Some(_)) => self.extend(bytes),
        }
    }

    #[inline(never)]
    fn extend(&mut self, bytes: &[u8]) {
        match self.more.back_mut().or(self.first.as_mut()) {
            Some(Piece::Copied(last)) => last.extend_from_slice(bytes),
            _ => self.more.push_back(Piece::Copied(bytes.to_vec())),
        }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let piece = self.first.take()?;
        self.first = self.more.pop_front();
        self.len -= piece.bytes().len();
        Some(piece)
    }
}

/// The piece that is being read.
#[derive(Default)]
pub(super) struct Current {
    piece: Option<Piece>,
    /// How much of it was read.
    start: usize,
}

impl Current {
    pub(super) fn is_empty(&self) -> bool {
        self.piece.is_none()
    }

    /// Begins the next piece. The one before must be read to its end.
    pub(super) fn set(&mut self, piece: Piece) {
        self.piece = Some(piece);
        self.start = 0;
    }

    /// The bytes that are left of it.
    pub(super) fn bytes(&self) -> &[u8] {
        let all = self.piece.as_ref().map_or(&[][..], Piece::bytes);
        &all[self.start..]
    }

    /// Marks bytes as read: at most all that are left. Returns memory that they were copied to and that is of no use any more.
    pub(super) fn consume(&mut self, count: usize) -> Option<Vec<u8>> {
        let left = self.bytes().len();
        if count < left {
            self.start += count;
            return None;
        }
        match std::mem::take(self).piece {
            Some(Piece::Copied(memory)) => Some(memory),
            _ => None,
        }
    }

    /// Takes the bytes that are left of it.
    pub(super) fn take(&mut self) -> Chunk {
        let current = std::mem::take(self);
        Chunk {
            piece: current.piece.unwrap_or(Piece::Copied(Vec::new())),
            start: current.start,
        }
    }
}

/// Bytes that were received, in the memory in which they arrived: see [`Stream::read_chunk`](super::Stream::read_chunk).
///
/// A port has a limited number of receive buffers. While a program keeps many chunks, the port receives into newly
/// allocated memory.
///
/// ```
/// # use tidewaiter::io::Stream;
/// # async fn copy(from: &mut Stream, to: &mut Stream) -> std::io::Result<()> {
/// loop {
///     let chunk = from.read_chunk().await?;
///     if chunk.is_empty() {
///         return to.shutdown().await;
///     }
///     to.write_chunk(chunk).await?;
/// }
/// # }
/// ```
pub struct Chunk {
    piece: Piece,
    start: usize,
}

impl Chunk {
    /// Writes the bytes, and copies only a few or those of which a part was read before.
    pub(super) fn write_to(self, transport: &Transport) {
        match self.piece {
            Piece::Kept(buffer) if self.start == 0 => transport.write_received(buffer),
            Piece::Kept(buffer) => transport.write(&buffer[self.start..]),
            Piece::Copied(bytes) if bytes.len() >= MOVED_MIN => {
                transport.write_bytes(Bytes::from(bytes).slice(self.start..));
            }
            Piece::Copied(bytes) => {
                transport.write(&bytes[self.start..]);
                transport.reactor().keep_piece(bytes);
            }
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.piece.bytes()[self.start..]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Copies bytes that lie in the port's memory, and returns the memory to the port.
impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Bytes {
        match chunk.piece {
            Piece::Copied(bytes) => Bytes::from(bytes).slice(chunk.start..),
            Piece::Kept(buffer) => Bytes::copy_from_slice(&buffer[chunk.start..]),
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Current, Received, SHARE_MIN};
    use crate::port::Buffer;

    #[test]
    fn bytes_come_out_as_they_went_in_however_they_are_cut() {
        for cut in [1, 3, 100, 5000] {
            let (mut received, mut current) = (Received::default(), Current::default());
            let mut expected = Vec::new();
            for (number, len) in (0_u8..).zip([1, 2, SHARE_MIN, 5, SHARE_MIN + 1, SHARE_MIN, 7]) {
                let bytes = vec![number; len];
                let keep = || (number % 4 != 3).then(|| Buffer::from(bytes.clone()));
                received.add(&bytes, keep, || bytes.clone());
                expected.extend_from_slice(&bytes);
            }
            assert_eq!(received.len(), expected.len());
            let mut read = Vec::new();
            while let Some(piece) = received.take() {
                current.set(piece);
                while !current.is_empty() {
                    let count = current.bytes().len().min(cut);
                    read.extend_from_slice(&current.bytes()[..count]);
                    current.consume(count);
                }
            }
            assert!(read == expected && received.len() == 0, "cut at {cut}");
        }
    }

    #[test]
    fn a_chunk_is_what_is_left_of_a_piece_whatever_memory_it_lies_in() {
        let large = vec![7; SHARE_MIN];
        for bytes in [b"abc".to_vec(), large] {
            for read in [0, 2] {
                let (mut received, mut current) = (Received::default(), Current::default());
                received.add(
                    &bytes,
                    || Some(Buffer::from(bytes.clone())),
                    || bytes.clone(),
                );
                current.set(received.take().unwrap());
                current.consume(read);
                let chunk = current.take();
                assert!(current.is_empty());
                assert_eq!(*chunk, bytes[read..]);
                assert_eq!(Bytes::from(chunk), bytes[read..]);
            }
        }
        assert!(Current::default().take().is_empty());
    }

    #[test]
    fn consuming_more_than_there_is_consumes_all() {
        let (mut received, mut current) = (Received::default(), Current::default());
        received.add(b"abc", || None, || b"abc".to_vec());
        current.set(received.take().unwrap());
        assert_eq!(current.consume(usize::MAX).unwrap(), b"abc");
        assert!(current.is_empty() && current.bytes().is_empty());
    }
}
