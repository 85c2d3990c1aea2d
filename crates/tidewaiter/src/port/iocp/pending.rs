//! An operation under way, in our own memory.

use super::wait::Wait;
use crate::port::chunks::Chunks;
use crate::port::table::Key;
use crate::port::{Failure, RequestKind, Token};

/// An operation under way.
pub(super) struct Pending {
    pub(super) handle: Key,
    pub(super) token: Token,
    pub(super) kind: RequestKind,
    /// For an accept: whether the first connection ends it.
    pub(super) once: bool,
    /// The number of its records that Windows or the local queue holds.
    pub(super) records: usize,
    /// The failure to report once its last record has returned.
    pub(super) ending: Option<Failure>,
    /// The bytes that its record, now returned, has not sent.
    pub(super) unsent: Chunks,
    /// The wait of a [`Request::Exit`].
    pub(super) wait: Option<Wait>,
}

impl Pending {
    pub(super) fn new(handle: Key, token: Token, kind: RequestKind) -> Pending {
        Pending {
            handle,
            token,
            kind,
            once: false,
            records: 0,
            ending: None,
            unsent: Chunks::new(),
            wait: None,
        }
    }
}
