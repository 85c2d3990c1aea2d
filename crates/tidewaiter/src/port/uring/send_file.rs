//! Sending files: by `sendfile`, whenever the ring reports room.
//!
//! The ring has an operation that moves bytes from a file to a socket (SPLICE), but performs it on a thread of the
//! kernel's, which a peer that does not read would hold. So the port polls, and sends from its own thread.

use std::io;
use std::os::fd::AsFd;

use super::super::admission::no_file_calls;
use super::super::calls::Query;
use super::super::file_sending::{FileSending, Step, failed as send_failed};
use super::super::table::Table;
use super::super::{Driver, Handle, PortKind, Request, control};
use super::entry::Entry;
use super::file_work::FileWork;
use super::next::{Next, errno, failed};
use super::pending::{Pending, Work};
use super::ring::Cqe;
use super::{Uring, sigpipe};

impl Uring {
    /// Turns a request about an open file, which the handle takes, into work. It stays out of line, so that streams do not
    /// pay for it.
    #[inline(never)]
    pub(super) fn file_work(&mut self, handle: Handle, request: Request) -> io::Result<Work> {
        let entry = self.entry(handle)?;
        match request {
            Request::File(ref asked) if !self.setup.abilities.file_calls.contain(asked.call()) => {
                Err(no_file_calls(PortKind::Uring, &request))
            }
            Request::SendFile(part) => {
                let file = self.query(part.file, Query::File)?.file();
                control::unblock(&entry.source)?;
                if !std::mem::replace(&mut self.setup.quiet, true) {
                    sigpipe::block_unless_ignored()?;
                }
                Ok(Work::SendFile(Box::new(FileSending::new(file, *part))))
            }
            Request::File(request) => Ok(Work::File(Box::new(FileWork::new(*request)))),
            _ => unreachable!("only requests about open files come here"),
        }
    }
}

/// Sends, after the ring has reported room. A failure is reported together with the number of bytes that were sent.
pub(super) fn finish_poll(pending: &mut Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    if let Some(errno) = errno(cqe) {
        return failed(pending, errno);
    }
    let Work::SendFile(sending) = &mut pending.work else {
        unreachable!("only files that are sent come here");
    };
    let entry = handles.get(pending.handle);
    let entry = entry.expect("a handle outlives its operations");
    match sending.step(entry.source.as_fd()) {
        Step::More | Step::Full => Next::Again(None),
        Step::Over => Next::End(sending.result(None)),
        Step::Failed(error) => Next::End(Err(send_failed(error))),
    }
}
