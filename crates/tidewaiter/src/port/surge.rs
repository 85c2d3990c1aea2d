//! Pipes that much comes through at once are made larger.

use std::os::fd::BorrowedFd;

use super::control;

/// A pipe that brings so much without a pause was full: as much as most have room for.
const FULL_BYTES: usize = 64 * 1024;

/// How much came through a pipe since the last pause.
///
/// The writer of a pipe that is full waits for the reader, and each turn of the reader's brings no more
/// than the pipe holds. Room costs memory that the OS limits, so only those that fill get more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surge {
    bytes: usize,
    widened: bool,
}

impl Surge {
    /// Takes note of `len` bytes read from `pipe`, of `capacity` that there was memory for.
    pub(super) fn note(&mut self, pipe: BorrowedFd<'_>, len: usize, capacity: usize) {
        if self.widened {
            return;
        }
        self.bytes += len;
        if self.bytes >= FULL_BYTES {
            self.widened = true;
            control::widen_pipe(pipe);
        } else if len < capacity {
            self.bytes = 0;
        }
    }
}
