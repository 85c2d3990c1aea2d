//! The bytes that a decoder has not taken yet.

use std::fmt;

use bytes::BytesMut;

use super::codec::Decoder;

/// A decoder and its buffer. The buffer takes no memory while nothing is left in it.
pub(super) struct Decoding<C> {
    pub(super) codec: C,
    pub(super) buffer: BytesMut,
    /// How many bytes there were when the last were added.
    filled: usize,
    /// After an error, nothing is decoded any more.
    failed: bool,
}

impl<C> Decoding<C> {
    pub(super) fn new(codec: C) -> Decoding<C> {
        Decoding {
            codec,
            buffer: BytesMut::new(),
            filled: 0,
            failed: false,
        }
    }

    /// Adds received bytes.
    pub(super) fn add(&mut self, data: &[u8]) {
        if self.failed {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(data);
        } else {
            self.buffer.extend_from_slice(data);
        }
        self.filled = self.buffer.len();
    }

    /// Drops what is left: nothing is decoded any more.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.buffer = BytesMut::new();
    }

    /// Frees the memory of frames that were taken. A frame is a part of the memory in which it arrived, so the few bytes
    /// of the next one would otherwise keep all of that.
    fn shrink(&mut self) {
        if self.buffer.len() < self.filled.div_ceil(2) {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.filled = self.buffer.len();
        }
    }
}

impl<C: Decoder> Decoding<C> {
    /// Takes the next frame: `None` if more bytes must arrive before.
    pub(super) fn next(&mut self) -> Option<Result<C::Item, C::Error>> {
        if self.buffer.is_empty() {
            return None;
        }
        let result = self.codec.decode(&mut self.buffer);
        self.told(result)
    }

    /// Takes the next frame when no more bytes will arrive.
    pub(super) fn next_at_end(&mut self) -> Option<Result<C::Item, C::Error>> {
        if self.failed {
            return None;
        }
        let result = self.codec.decode_eof(&mut self.buffer);
        self.told(result)
    }

    fn told(
        &mut self,
        result: Result<Option<C::Item>, C::Error>,
    ) -> Option<Result<C::Item, C::Error>> {
        match result {
            Ok(None) => self.shrink(),
            Ok(_) => {}
            Err(_) => self.fail(),
        }
        result.transpose()
    }
}

impl<C: fmt::Debug> fmt::Debug for Decoding<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.buffer.len();
        write!(f, "{:?} with {kept} bytes kept", self.codec)
    }
}
