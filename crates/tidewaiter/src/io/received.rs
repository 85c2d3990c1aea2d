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
    pieces: VecDeque<Piece>,
    len: usize,
}

impl Received {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds bytes. `keep` returns the memory in which they arrived, if it can be kept: where they are many, because the memory of
    /// few is never shared.
    pub(super) fn add(&mut self, bytes: &[u8], keep: impl FnOnce() -> Option<Buffer>) {
        self.len += bytes.len();
        let kept = if bytes.len() >= SHARE_MIN {
            keep()
        } else {
            None
        };
        if let Some(buffer) = kept {
            self.pieces.push_back(Piece::Kept(buffer));
            return;
        }
        match self.pieces.back_mut() {
            Some(Piece::Copied(last)) => last.extend_from_slice(bytes),
            _ => self.pieces.push_back(Piece::Copied(bytes.to_vec())),
        }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
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

    /// Marks bytes as read: at most all that are left.
    pub(super) fn consume(&mut self, count: usize) {
        let left = self.bytes().len();
        self.start += count.min(left);
        if count >= left {
            *self = Current::default();
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

    /// Moves bytes to `into`, as many as are left and fit, and returns how many.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let left = self.bytes();
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.consume(count);
        count
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
            Piece::Copied(bytes) if bytes.len() >= MOVED_MIN => {
                transport.write_bytes(Bytes::from(bytes).slice(self.start..));
            }
            piece => transport.write(&piece.bytes()[self.start..]),
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
                received.add(&bytes, keep);
                expected.extend_from_slice(&bytes);
            }
            assert_eq!(received.len(), expected.len());
            let (mut read, mut buffer) = (Vec::new(), vec![0; cut]);
            while let Some(piece) = received.take() {
                current.set(piece);
                while !current.is_empty() {
                    let count = current.read(&mut buffer);
                    read.extend_from_slice(&buffer[..count]);
                    let first = current.bytes().len().min(2);
                    read.extend_from_slice(&current.bytes()[..first]);
                    current.consume(first);
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
                received.add(&bytes, || Some(Buffer::from(bytes.clone())));
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
        received.add(b"abc", || None);
        current.set(received.take().unwrap());
        current.consume(usize::MAX);
        assert!(current.is_empty() && current.bytes().is_empty());
    }
}
