//! Sending files: by the OS's call for it, whenever there is room.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::super::admission::{admit, no_file_calls};
use super::super::calls::Query;
use super::super::file::{FileCall, FileCalls};
use super::super::file_sending::{FileSending, Step, failed};
use super::super::{Driver, Handle, PortKind, Request};
use super::PollPort;
use super::attempt::{Attempt, Tools};
use super::entry::Entry;
use super::pending::{Pending, Work};
use super::sigpipe::Quiet;
use crate::os::file::SENDS;

/// The calls on files that this port performs by itself. A file is neither ready nor not, so the port does not read or
/// write one.
pub(super) const FILE_CALLS: FileCalls = if SENDS {
    FileCalls::of(&[FileCall::Send])
} else {
    FileCalls::of(&[])
};

impl PollPort {
    /// Refuses the requests about files that this port leaves to others, and prepares to send a file.
    #[inline]
    pub(super) fn file_to_send(
        &self,
        handle: Handle,
        request: &Request,
    ) -> io::Result<Option<Box<FileSending>>> {
        match request {
            Request::OpenFile(_) | Request::File(_) | Request::SendFile(_) => {
                self.check_file_request(handle, request)
            }
            _ => Ok(None),
        }
    }

    #[cold]
    fn check_file_request(
        &self,
        handle: Handle,
        request: &Request,
    ) -> io::Result<Option<Box<FileSending>>> {
        let entry = self.entry(handle)?;
        admit(
            PortKind::Poll,
            entry.source.kind(),
            entry.under_way,
            request,
        )?;
        match request {
            Request::SendFile(part) if SENDS => {
                let file = self.query(part.file, Query::File)?.file();
                Ok(Some(Box::new(FileSending::new(file, **part))))
            }
            _ => Err(no_file_calls(PortKind::Poll, request)),
        }
    }
}

pub(super) fn attempt(entry: &mut Entry, tools: &mut Tools) -> Attempt {
    let Some(Pending {
        work: Work::SendFile(sending),
        ..
    }) = &mut entry.output
    else {
        unreachable!("it was found to send a file");
    };
    let quiet = tools.quiet.get_or_insert_with(Quiet::new);
    match sending.step(entry.source.as_fd()) {
        // The handle stays ready, and has another turn.
        Step::More => Attempt::NotReady,
        Step::Full => {
            entry.writable = false;
            Attempt::NotReady
        }
        Step::Over => Attempt::Last(sending.result(None)),
        Step::Failed(error) => {
            match Errno::from_io_error(&error) {
                Some(Errno::PIPE) => quiet.raised(),
                Some(errno @ (Errno::CONNRESET | Errno::TIMEDOUT | Errno::CONNABORTED)) => {
                    entry.broken = Some(errno);
                }
                _ => {}
            }
            Attempt::Last(sending.result(Some(failed(error))))
        }
    }
}
