//! Pipes that much comes through at once are made larger, and read in larger pieces.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::buffer::Pool;
use super::{PortOptions, control};

/// A pipe that brings so much without a pause was full: as much as most have room for.
const FULL_BYTES: usize = 64 * 1024;

/// How many pieces of memory for wide pipes are kept for reuse: few, so that they stay in the processor's
/// cache.
const WIDE_SPARE_MAX: usize = 4;

/// Memory for what wide pipes bring.
pub(super) fn wide_pool(options: &PortOptions) -> Rc<Pool> {
    Pool::new(
        options.full_pipe_bytes.max(options.receive_bytes),
        WIDE_SPARE_MAX,
    )
}

/// How much came through a pipe since the last pause.
///
/// The writer of a pipe that is full waits for the reader, and each turn of the reader's brings no more
/// than the pipe holds. Room costs memory that the OS limits, so only those that fill get more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surge {
    bytes: usize,
    wide: bool,
}

impl Surge {
    /// Whether the pipe was full and is now wide.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Takes note of `len` bytes read from `pipe`, of `capacity` that there was memory for.
    pub(super) fn note(&mut self, pipe: BorrowedFd<'_>, len: usize, capacity: usize) {
        if self.wide {
            return;
        }
        self.bytes += len;
        if self.bytes >= FULL_BYTES {
            self.wide = true;
            control::widen_pipe(pipe);
        } else if len < capacity {
            self.bytes = 0;
        }
    }
}
