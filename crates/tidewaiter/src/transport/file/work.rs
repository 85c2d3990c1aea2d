//! The operations on a file, with the callbacks that await them.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::File;
use crate::error::FileError;
use crate::os::FileMetadata;
use crate::port::{FileCall, FileOutcome, FileRequest};
use crate::reactor::Reactor;

/// A callback that awaits a result.
pub(super) type Done<T> = Box<dyn FnOnce(&Reactor, Result<T, FileError>)>;

/// An operation on a file, and the callback that awaits it.
pub(super) enum Work {
    Open {
        done: Done<File>,
    },
    Read {
        offset: u64,
        len: usize,
        /// Memory with that capacity, until the operation gets it.
        memory: Vec<u8>,
        done: Done<Vec<u8>>,
    },
    Write {
        /// `None`: at the end.
        offset: Option<u64>,
        data: Bytes,
        /// How many of them are written.
        written: usize,
        done: Done<()>,
    },
    Sync {
        data_only: bool,
        done: Done<()>,
    },
    Metadata {
        done: Done<FileMetadata>,
    },
    SetLen {
        len: u64,
        done: Done<()>,
    },
}

impl Work {
    pub(super) fn write(
        offset: Option<u64>,
        data: impl Into<Bytes>,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> Work {
        Work::Write {
            offset,
            data: data.into(),
            written: 0,
            done: Box::new(done),
        }
    }

    pub(super) fn call(&self) -> FileCall {
        match self {
            Work::Open { .. } => FileCall::Open,
            Work::Read { .. } => FileCall::Read,
            Work::Write { .. } => FileCall::Write,
            Work::Sync { .. } => FileCall::Sync,
            Work::Metadata { .. } => FileCall::Metadata,
            Work::SetLen { .. } => FileCall::SetLen,
        }
    }

    pub(super) fn opens(&self) -> bool {
        matches!(self, Work::Open { .. })
    }

    pub(super) fn appends(&self) -> bool {
        matches!(self, Work::Write { offset: None, .. })
    }

    /// The error of an operation that the file never takes.
    pub(super) fn refusal(&self, appends: Option<bool>, path: &Path) -> Option<FileError> {
        let Work::Write { offset, .. } = self else {
            return None;
        };
        let message = match (offset, appends) {
            (Some(_), Some(true)) => "the file was opened to append, so it takes appends only",
            (None, Some(false)) => "the file was not opened to append",
            _ => return None,
        };
        Some(FileError::Os {
            path: path.to_owned(),
            call: "write",
            written: 0,
            source: io::Error::new(io::ErrorKind::InvalidInput, message),
        })
    }

    /// The request that asks a port for what is left to do.
    pub(super) fn request(&mut self, reactor: &Reactor) -> FileRequest {
        let write_offset = self.write_offset();
        match self {
            Work::Open { .. } => unreachable!("it is no request on an open file"),
            Work::Read {
                offset,
                len,
                memory,
                ..
            } => FileRequest::Read {
                offset: *offset,
                into: take_memory(memory, *len),
            },
            Work::Write { data, written, .. } => {
                let mut chunks = reactor.take_storage();
                chunks.push(data.slice(*written..));
                FileRequest::Write {
                    offset: write_offset,
                    data: chunks,
                }
            }
            Work::Sync { data_only, .. } => FileRequest::Sync {
                data_only: *data_only,
            },
            Work::Metadata { .. } => FileRequest::Metadata,
            Work::SetLen { len, .. } => FileRequest::SetLen(*len),
        }
    }

    /// Where a write goes on.
    pub(super) fn write_offset(&self) -> Option<u64> {
        match self {
            Work::Write {
                offset, written, ..
            } => offset.map(|offset| offset.saturating_add(*written as u64)),
            _ => None,
        }
    }

    /// How many bytes are written.
    pub(super) fn written(&self) -> usize {
        match self {
            Work::Write { written, .. } => *written,
            _ => 0,
        }
    }

    /// Counts bytes that were written; returns whether any are left.
    pub(super) fn note_written(&mut self, bytes: usize) -> bool {
        match self {
            Work::Write { data, written, .. } => {
                *written += bytes;
                *written < data.len()
            }
            _ => false,
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Work::Write { data, .. } => data.is_empty(),
            Work::Read { len, .. } => *len == 0,
            _ => false,
        }
    }

    /// The outcome of an operation with nothing to do.
    pub(super) fn nothing(&self) -> FileOutcome {
        match self {
            Work::Read { .. } => FileOutcome::Read(Vec::new()),
            _ => FileOutcome::Written { bytes: 0 },
        }
    }

    /// Calls back. To be called from the loop.
    pub(super) fn finish(self, reactor: &Reactor, result: Result<FileOutcome, FileError>) {
        reactor.guard("the callback of a file", || match (self, result) {
            (Work::Read { done, .. }, Ok(FileOutcome::Read(bytes))) => done(reactor, Ok(bytes)),
            (Work::Metadata { done }, Ok(FileOutcome::Metadata(metadata))) => {
                done(reactor, Ok(*metadata));
            }
            (
                Work::Write { done, .. } | Work::Sync { done, .. } | Work::SetLen { done, .. },
                result,
            ) => done(reactor, result.map(drop)),
            (Work::Open { done }, Err(error)) => done(reactor, Err(error)),
            (Work::Read { done, .. }, Err(error)) => done(reactor, Err(error)),
            (Work::Metadata { done }, Err(error)) => done(reactor, Err(error)),
            (_, Ok(outcome)) => log::error!("unexpected outcome for a file: {outcome:?}"),
        });
    }
}

/// Takes the caller's memory, or makes some in its place once that is gone.
pub(super) fn take_memory(memory: &mut Vec<u8>, len: usize) -> Vec<u8> {
    let taken = std::mem::take(memory);
    if taken.capacity() >= len {
        taken
    } else {
        Vec::with_capacity(len)
    }
}
