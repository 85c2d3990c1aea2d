//! Sending files: by `sendfile`, whenever the ring reports room.
//!
//! The ring has an operation that moves bytes from a file to a socket (SPLICE), but performs it on a thread of the
//! kernel's, which a peer that does not read would hold. So the port polls, and sends from its own thread.

use std::io;
use std::os::fd::AsFd;

use super::super::admission::{admit, no_file_calls};
use super::super::calls::Query;
use super::super::file_sending::{FileSending, Step, failed as send_failed};
use super::super::table::Table;
use super::super::{Driver, Handle, PortKind, Request, control};
use super::entry::Entry;
use super::next::{Next, errno, failed};
use super::pending::{Pending, Work};
use super::ring::Cqe;
use super::{Uring, sigpipe};

impl Uring {
    /// Checks a request about files as far as only they need it, and prepares to send one.
    #[inline]
    pub(super) fn file_to_send(
        &mut self,
        handle: Handle,
        request: &Request,
    ) -> io::Result<Option<Box<FileSending>>> {
        match request {
            Request::File(_) | Request::SendFile(_) => self.check_file_request(handle, request),
            _ => Ok(None),
        }
    }

    #[cold]
    fn check_file_request(
        &mut self,
        handle: Handle,
        request: &Request,
    ) -> io::Result<Option<Box<FileSending>>> {
        let entry = self.entry(handle)?;
        let kind = entry.source.kind();
        admit(PortKind::Uring, kind, entry.under_way, request)?;
        match request {
            Request::File(work) if !self.setup.abilities.file_calls.contain(work.call()) => {
                Err(no_file_calls(PortKind::Uring, request))
            }
            Request::SendFile(part) => {
                let file = self.query(part.file, Query::File)?.file();
                control::unblock(&entry.source)?;
                if !std::mem::replace(&mut self.setup.quiet, true) {
                    sigpipe::block_unless_ignored()?;
                }
                Ok(Some(Box::new(FileSending::new(file, *part))))
            }
            _ => Ok(None),
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
