//! Operations that the port leaves to calls that block: performed on the reactor's threads.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::work::{Work, take_memory};
use super::{OpenFile, Place};
use crate::error::FileError;
use crate::os::{OsFile, file};
use crate::port::{Failure, FileCall, FileOutcome};
use crate::reactor::WorkLost;

/// An operation on its way to a thread.
enum BlockingCall {
    Read { offset: u64, into: Vec<u8> },
    Write { offset: Option<u64>, data: Bytes },
    Sync { data_only: bool },
    Metadata,
    SetLen(u64),
}

impl BlockingCall {
    fn of(work: &mut Work) -> BlockingCall {
        let write_offset = work.write_offset();
        match work {
            Work::Open { .. } => unreachable!("it is no call on an open file"),
            Work::Read {
                offset,
                len,
                memory,
                ..
            } => BlockingCall::Read {
                offset: *offset,
                into: take_memory(memory, *len),
            },
            Work::Write { data, written, .. } => BlockingCall::Write {
                offset: write_offset,
                data: data.slice(*written..),
            },
            Work::Sync { data_only, .. } => BlockingCall::Sync {
                data_only: *data_only,
            },
            Work::Metadata { .. } => BlockingCall::Metadata,
            Work::SetLen { len, .. } => BlockingCall::SetLen(*len),
        }
    }

    fn perform(self, os_file: &OsFile) -> io::Result<FileOutcome> {
        match self {
            BlockingCall::Read { offset, mut into } => {
                file::read_at(os_file, offset, &mut into)?;
                Ok(FileOutcome::Read(into))
            }
            BlockingCall::Write { offset, data } => match file::write(os_file, offset, &data)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                bytes => Ok(FileOutcome::Written { bytes }),
            },
            BlockingCall::Sync { data_only } => {
                file::sync(os_file, data_only)?;
                Ok(FileOutcome::Done)
            }
            BlockingCall::Metadata => {
                let metadata = file::metadata(os_file)?;
                Ok(FileOutcome::Metadata(Box::new(metadata)))
            }
            BlockingCall::SetLen(len) => {
                os_file.set_len(len)?;
                Ok(FileOutcome::Done)
            }
        }
    }
}

/// The failure of a call that a thread made, or did not make.
pub(super) fn failure<T>(
    call: FileCall,
    result: Result<Option<io::Result<T>>, WorkLost>,
) -> Result<T, Failure> {
    let source = match result {
        Ok(Some(Ok(value))) => return Ok(value),
        Ok(None) | Err(WorkLost::Stopped) => return Err(Failure::Cancelled),
        Ok(Some(Err(source))) | Err(WorkLost::NoThread(source)) => source,
        Err(lost @ WorkLost::Panicked) => io::Error::other(lost),
    };
    Err(Failure::os(call.name(), source))
}

impl OpenFile {
    /// Performs an operation on a thread.
    pub(super) fn start_on_thread(self: &Rc<Self>, id: u64, mut work: Work) {
        let os_file = match self.handle.get() {
            Some(handle) => self.reactor.port().os_file(handle),
            None => return self.refuse(work, FileError::Closed),
        };
        let os_file = match os_file {
            Ok(os_file) => os_file,
            Err(source) => {
                let failure = Failure::os(work.call().name(), source);
                return self.finish_soon(id, work, failure);
            }
        };
        let call = work.call();
        let blocking = BlockingCall::of(&mut work);
        let cancelled = Arc::new(AtomicBool::new(false));
        let is_cancelled = Arc::clone(&cancelled);
        self.note(id, Place::Thread(cancelled), work);
        let file = Rc::clone(self);
        self.reactor.defer_to_file_thread(
            move || {
                let wanted = !is_cancelled.load(Ordering::Relaxed);
                wanted.then(|| blocking.perform(&os_file))
            },
            move |_, result| {
                // It is gone if the reactor stopped and waited no longer.
                if let Some(under_way) = file.take(|one| one.id == id) {
                    file.ended(under_way, failure(call, result));
                }
            },
        );
    }
}
