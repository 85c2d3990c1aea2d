//! A part of a file on its way to a socket or pipe of Unix, for both ports there.
//!
//! The port sends whenever there is room, until the whole part is sent, and reports once.

use std::io;
use std::os::fd::BorrowedFd;

use super::completion::{Failure, Outcome};
use super::file::FilePart;
use crate::os::{OsFile, file};

/// The most bytes that one step sends, so that the other handles have their turn: sending them takes a fraction of a
/// millisecond. More would save little, as a socket seldom takes more at once.
const STEP_BYTES: u64 = 1 << 20;

/// The part that is left to send.
#[derive(Debug)]
pub(super) struct FileSending {
    file: OsFile,
    offset: u64,
    left: u64,
    sent: u64,
}

/// The outcome of a step.
#[derive(Debug)]
pub(super) enum Step {
    /// There is room for more.
    More,
    /// There is no room.
    Full,
    /// The part is sent, or the file ended.
    Over,
    Failed(io::Error),
}

impl FileSending {
    pub(super) fn new(file: OsFile, part: FilePart) -> FileSending {
        FileSending {
            file,
            offset: part.offset,
            left: part.len,
            sent: 0,
        }
    }

    /// Sends as much as there is room for, or as one step may.
    pub(super) fn step(&mut self, to: BorrowedFd<'_>) -> Step {
        let mut allowed = STEP_BYTES;
        // A short send does not tell a full socket from the file's end, so ask again.
        while allowed > 0 && self.left > 0 {
            let count = usize::try_from(self.left.min(allowed)).expect("a step is small");
            match file::send(to, &self.file, self.offset, count) {
                Ok(0) => return Step::Over,
                Ok(sent) => {
                    let sent = sent as u64;
                    self.offset += sent;
                    self.left -= sent;
                    self.sent += sent;
                    allowed -= sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Full,
                Err(error) => return Step::Failed(error),
            }
        }
        if self.left == 0 {
            Step::Over
        } else {
            Step::More
        }
    }

    /// The result of an operation that ends now, because of `failure` if there is one.
    pub(super) fn result(&self, failure: Option<Failure>) -> Result<Outcome, Failure> {
        match failure {
            Some(failure) if self.sent == 0 => Err(failure),
            failure => Ok(Outcome::FileSent {
                bytes: self.sent,
                stopped_by: failure.map(Box::new),
            }),
        }
    }
}

/// The failure of a step.
pub(super) fn failed(error: io::Error) -> Failure {
    Failure::os("sendfile", error)
}
