//! The bytes that a stream reader has received and a program has not read yet.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[derive(Default)]
enum Stored {
    #[default]
    Nothing,
    /// A piece as it arrived. Reading all of it copies nothing.
    Piece(Py<PyBytes>),
    Joined(Vec<u8>),
}

/// Bytes in the order of their arrival.
#[derive(Default)]
pub(super) struct Received {
    stored: Stored,
    /// How many of the stored bytes were read.
    start: usize,
}

impl Received {
    /// The bytes that were not read.
    pub(super) fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match &self.stored {
            Stored::Nothing => &[],
            Stored::Piece(piece) => &piece.as_bytes(py)[self.start..],
            Stored::Joined(joined) => &joined[self.start..],
        }
    }

    pub(super) fn len(&self, py: Python<'_>) -> usize {
        self.bytes(py).len()
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.stored, Stored::Nothing)
    }

    /// Adds a piece, which is not empty.
    pub(super) fn add(&mut self, piece: &Bound<'_, PyBytes>) {
        match self.stored {
            Stored::Nothing => self.stored = Stored::Piece(piece.clone().unbind()),
            _ => self.join(piece.py(), piece.as_bytes()),
        }
    }

    /// As [`add`](Received::add), for bytes that are no object of Python's.
    pub(super) fn add_slice(&mut self, py: Python<'_>, bytes: &[u8]) {
        match self.stored {
            Stored::Nothing => self.stored = Stored::Piece(PyBytes::new(py, bytes).unbind()),
            _ => self.join(py, bytes),
        }
    }

    fn join(&mut self, py: Python<'_>, more: &[u8]) {
        if let Stored::Joined(joined) = &mut self.stored {
            if self.start > joined.len() / 2 {
                joined.drain(..self.start);
                self.start = 0;
            }
            joined.extend_from_slice(more);
            return;
        }
        let joined = [self.bytes(py), more].concat();
        self.start = 0;
        self.stored = Stored::Joined(joined);
    }

    /// Removes the first `count` bytes, of which there are as many, and returns them.
    pub(super) fn take<'py>(&mut self, py: Python<'py>, count: usize) -> Bound<'py, PyBytes> {
        let taken = match &self.stored {
            Stored::Piece(piece) if self.start == 0 && count == piece.as_bytes(py).len() => {
                piece.bind(py).clone()
            }
            _ => PyBytes::new(py, &self.bytes(py)[..count]),
        };
        self.skip(py, count);
        taken
    }

    /// Removes the first `count` bytes, of which there are as many.
    pub(super) fn skip(&mut self, py: Python<'_>, count: usize) {
        if count == self.len(py) {
            *self = Received::default();
        } else {
            self.start += count;
        }
    }

    pub(super) fn take_all<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.take(py, self.len(py))
    }
}
