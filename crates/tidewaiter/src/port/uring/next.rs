//! The next step of an operation after a completion from the kernel.

use std::io;

use super::super::{Failure, Outcome};
use super::pending::{Pending, Stage};
use super::ring::Cqe;

/// The step that follows a completion from the kernel.
pub(super) enum Next {
    /// Report the outcome, if there is one; the kernel continues the operation.
    GoOn(Option<Outcome>),
    /// Report the outcome, if there is one, then submit the operation's current stage again.
    Again(Option<Outcome>),
    /// Report the last completion.
    End(Result<Outcome, Failure>),
}

impl Next {
    /// The number of bytes that the outcome reports.
    pub(super) fn received(&self) -> usize {
        match self {
            Next::Again(Some(Outcome::Received(piece))) => piece.len(),
            _ => 0,
        }
    }
}

/// The error that a completion reports, if any.
pub(super) fn errno(cqe: Cqe) -> Option<i32> {
    (cqe.result < 0).then_some(-cqe.result)
}

/// Ends the operation with a failure.
pub(super) fn failed(pending: &Pending, errno: i32) -> Next {
    Next::End(Err(match errno {
        libc::ECANCELED => Failure::Cancelled,
        _ => Failure::os(pending.work.call(), io::Error::from_raw_os_error(errno)),
    }))
}

/// Waits until the operation can be tried again.
pub(super) fn poll_first(pending: &mut Pending) -> Next {
    pending.stage = Stage::Polling;
    Next::Again(None)
}

/// The descriptor is ready: starts the operation itself.
pub(super) fn start_after_poll(pending: &mut Pending, cqe: Cqe) -> Next {
    if let Some(errno) = errno(cqe) {
        return failed(pending, errno);
    }
    pending.stage = Stage::Started;
    Next::Again(None)
}
