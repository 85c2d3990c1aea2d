//! Files: opening them, and requests on open ones.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime};

use io_uring::{opcode, squeue, types};

use super::super::chunks::Chunks;
use super::super::source::Source;
use super::super::table::Table;
use super::super::{Failure, FileOutcome, FileRequest, Outcome};
use super::entry::Entry;
use super::file_work::{FileWork, Opening};
use super::next::{Next, errno, failed, poll_first};
use super::pending::{Pending, Work};
use super::pinned::{Gather, Pinned};
use super::ring::Cqe;
use super::send::TRANSFER_MAX;
use crate::os::{FileKind, FileMetadata, OsFile};

pub(super) fn start_opening(directory: types::Fd, opening: &Opening) -> squeue::Entry {
    opcode::OpenAt::new(directory, opening.path.as_ptr().cast())
        .flags(opening.flags)
        .mode(opening.mode)
        .build()
}

pub(super) fn finish_opening(pending: &Pending, handles: &mut Table<Entry>, cqe: Cqe) -> Next {
    match errno(cqe) {
        Some(libc::EINTR | libc::EAGAIN) => return Next::Again(None),
        Some(errno) => return failed(pending, errno),
        None => {}
    }
    // SAFETY: the kernel made this descriptor for us just now, and its completion is its only mention.
    let descriptor = unsafe { OwnedFd::from_raw_fd(cqe.result) };
    let entry = handles.get_mut(pending.handle);
    let entry = entry.expect("a handle outlives its operations");
    entry.source = Source::File(OsFile::new(File::from(descriptor)));
    Next::End(Ok(Outcome::FileOpened))
}

pub(super) fn start(file: types::Fd, work: &mut FileWork) -> squeue::Entry {
    match &mut work.request {
        FileRequest::Read { offset, into } => {
            let len = at_most(into.capacity());
            opcode::Read::new(file, into.as_mut_ptr(), len)
                .offset(*offset)
                .build()
        }
        // A file that was opened to append ignores the offset.
        FileRequest::Write { offset, data } => {
            start_write(file, offset.unwrap_or(0), data, &mut work.gather)
        }
        FileRequest::Sync { data_only } => {
            let flags = match data_only {
                true => types::FsyncFlags::DATASYNC,
                false => types::FsyncFlags::empty(),
            };
            opcode::Fsync::new(file).flags(flags).build()
        }
        FileRequest::Metadata => {
            let status = work.status.as_ref().expect("`new` made room for it");
            opcode::Statx::new(file, c"".as_ptr(), status.as_ptr().cast())
                .flags(libc::AT_EMPTY_PATH)
                .mask(libc::STATX_BASIC_STATS)
                .build()
        }
        FileRequest::SetLen(len) => opcode::Ftruncate::new(file, *len).build(),
    }
}

fn at_most(len: usize) -> u32 {
    u32::try_from(len.min(TRANSFER_MAX)).expect("it is below 2^31")
}

fn start_write(
    file: types::Fd,
    offset: u64,
    data: &Chunks,
    gather: &mut Option<Pinned<Gather>>,
) -> squeue::Entry {
    if data.count() == 1 {
        let piece = data.first();
        return opcode::Write::new(file, piece.as_ptr(), at_most(piece.len()))
            .offset(offset)
            .build();
    }
    let gather = gather.get_or_insert_with(|| Pinned::new(Gather::new()));
    let count = u32::try_from(gather.list(data)).expect("it is at most `PIECES_MAX`");
    opcode::Writev::new(file, gather.pieces(), count)
        .offset(offset)
        .build()
}

pub(super) fn finish(pending: &mut Pending, cqe: Cqe) -> Next {
    match errno(cqe) {
        Some(libc::EINTR) => return Next::Again(None),
        Some(libc::EAGAIN) => return poll_first(pending),
        Some(errno) => return failed(pending, errno),
        None => {}
    }
    let Work::File(work) = &mut pending.work else {
        unreachable!("only requests on files are finished here");
    };
    let count = usize::try_from(cqe.result).unwrap_or(0);
    let outcome = match &mut work.request {
        FileRequest::Read { into, .. } => {
            let mut bytes = std::mem::take(into);
            // SAFETY: the kernel has written that many bytes at the front, which `start` offered it and which lie within
            // the capacity.
            unsafe { bytes.set_len(count) };
            FileOutcome::Read(bytes)
        }
        FileRequest::Write { .. } if count == 0 => {
            let error = io::Error::from(io::ErrorKind::WriteZero);
            return Next::End(Err(Failure::os("write", error)));
        }
        FileRequest::Write { data, .. } => {
            data.note_sent(count);
            FileOutcome::Written { bytes: count }
        }
        FileRequest::Metadata => {
            let status = work.status.as_ref().expect("`new` made room for it");
            // SAFETY: the kernel is done with the status, and every content is a valid one.
            FileOutcome::Metadata(Box::new(metadata(unsafe { &*status.as_ptr() })))
        }
        FileRequest::Sync { .. } | FileRequest::SetLen(_) => FileOutcome::Done,
    };
    Next::End(Ok(Outcome::File(outcome)))
}

fn metadata(status: &libc::statx) -> FileMetadata {
    let mode = u32::from(status.stx_mode);
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Directory,
        _ => FileKind::Other,
    };
    let mut metadata = FileMetadata::new(status.stx_size, kind);
    metadata.mode = Some(mode & 0o7777);
    metadata.modified = time(&status.stx_mtime);
    metadata
}

fn time(stamp: &libc::statx_timestamp) -> Option<SystemTime> {
    let nanoseconds = Duration::from_nanos(u64::from(stamp.tv_nsec));
    let seconds = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let whole = match stamp.tv_sec {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    whole?.checked_add(nanoseconds)
}
