//! The completions of a watch of a directory.

use super::Change;
use crate::port::chunks::Chunks;
use crate::port::{Completion, Operation, Outcome, RequestKind, Token};

/// A report of changes, of which the last may be the end.
pub(in crate::port) fn changed(
    operation: Operation,
    token: Token,
    changes: Vec<Change>,
) -> Completion {
    let ended = matches!(changes.last(), Some(Change::Ended(_)));
    Completion {
        token,
        operation,
        kind: RequestKind::Watch,
        result: Ok(Outcome::Changed(changes)),
        more: !ended,
        unsent: Chunks::new(),
    }
}
