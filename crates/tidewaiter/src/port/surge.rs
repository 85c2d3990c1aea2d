//! Surges: pipes and connections that carry much are read in larger pieces, and such pipes are
//! enlarged.

use std::os::fd::BorrowedFd;

use super::control;

/// A pipe that delivers this many bytes without a pause was full: the default capacity of pipes.
const FULL_BYTES: usize = 64 * 1024;

/// A connection that delivers this many bytes without a pause surges: less than the 64 KiB that
/// Linux passes on at once.
const SURGE_BYTES: usize = 32 * 1024;

/// A connection's surge ends after receiving no more than this with nothing behind it, so many times in a row.
const CALM_BYTES: usize = 16 * 1024;
const CALM_TIMES: u8 = 8;

/// The number of bytes that arrived through a pipe or a connection since the last pause.
///
/// The writer of a full pipe waits for the reader, and each turn of the reader delivers at most the
/// pipe's capacity. A larger capacity costs memory that the OS limits, so only pipes that fill up
/// get it. Receiving in large pieces costs less for each byte, but each piece takes large memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surge {
    /// In four bytes, because each handle has it. A receive brings less than 2 GiB.
    bytes: u32,
    wide: bool,
    /// The number of calm receives in a row during a connection's surge.
    calm: u8,
}

impl Surge {
    /// The state of a receive that follows one which was ended in a surge, or not.
    pub(super) fn resumed(wide: bool) -> Surge {
        Surge {
            wide,
            ..Surge::default()
        }
    }

    /// Whether to receive in large pieces.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Records `len` bytes read from `pipe` into memory for `capacity`.
    pub(super) fn note(&mut self, pipe: BorrowedFd<'_>, len: usize, capacity: usize) {
        if self.wide {
            return;
        }
        if self.count(len) >= FULL_BYTES {
            self.wide = true;
            control::widen_pipe(pipe);
        } else if len < capacity {
            self.bytes = 0;
        }
    }

    /// Adds to the bytes since the last pause, and returns their number.
    fn count(&mut self, len: usize) -> usize {
        let bytes = self.bytes as usize + len;
        self.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes
    }

    /// Records `len` bytes received from a connection; `more` means that others follow.
    pub(super) fn note_connection(&mut self, len: usize, more: bool) {
        if self.wide {
            let calm = len <= CALM_BYTES && !more;
            self.calm = if calm { self.calm + 1 } else { 0 };
            if self.calm == CALM_TIMES {
                *self = Surge::default();
            }
            return;
        }
        self.wide = self.count(len) >= SURGE_BYTES;
        if self.wide || !more {
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM_BYTES, CALM_TIMES, SURGE_BYTES, Surge};

    #[test]
    fn a_connection_is_wide_while_it_brings_much_without_a_pause() {
        let mut surge = Surge::default();
        for _ in 0..100 {
            surge.note_connection(SURGE_BYTES / 2, true);
            surge.note_connection(SURGE_BYTES / 4, false);
            assert!(!surge.is_wide(), "it pauses");
        }
        for _ in 0..4 {
            assert!(!surge.is_wide());
            surge.note_connection(SURGE_BYTES / 4, true);
        }
        assert!(surge.is_wide());
        for _ in 0..100 {
            for _ in 1..CALM_TIMES {
                surge.note_connection(CALM_BYTES, false);
            }
            surge.note_connection(CALM_BYTES + 1, false);
            assert!(surge.is_wide(), "it brings much now and then");
        }
        for _ in 0..100 {
            surge.note_connection(CALM_BYTES, true);
            assert!(surge.is_wide(), "these were the rest of what came at once");
        }
        for _ in 0..CALM_TIMES {
            assert!(surge.is_wide());
            surge.note_connection(1, false);
        }
        assert!(!surge.is_wide());
    }
}
