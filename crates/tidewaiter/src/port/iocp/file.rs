//! Files: reads and writes at an offset. Windows has no overlapped call for the rest.

use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_HANDLE_EOF, ERROR_SUCCESS};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};

use super::Iocp;
use super::call::pipe_called;
use super::entry::Source;
use super::record::{OsResult, Record, Started};
use crate::os::OsFile;
use crate::port::table::Key;
use crate::port::{Failure, FileOutcome, FileRequest, Outcome};

/// The most bytes in one call.
const TRANSFER_MAX: usize = 1 << 30;
/// The offset with which Windows appends.
const AT_END: u64 = u64::MAX;

impl Iocp {
    pub(super) fn start_file(&mut self, operation: Key, request: FileRequest) {
        let mut record = self.records.take(operation);
        let started = match (self.source_of(operation), request) {
            ((Source::File(file), skip), FileRequest::Read { offset, mut into }) => {
                into.clear();
                record.offset = offset;
                record.memory = into;
                call_read(file, record, skip)
            }
            ((Source::File(file), skip), FileRequest::Write { offset, data }) => {
                record.offset = offset.unwrap_or(AT_END);
                record.chunks = data;
                call_write(file, record, skip)
            }
            _ => unreachable!("`Entry::check` refuses it"),
        };
        self.note_started(operation, started);
    }

    pub(super) fn finish_file(&mut self, mut record: Box<Record>, os_result: OsResult) {
        // A read has memory, if only for nothing.
        let pending = self.operations.get_mut(record.operation);
        let unsent = &mut pending.expect("it goes on").unsent;
        let writes = !unsent.is_empty();
        let result = match (writes, os_result.code) {
            (true, ERROR_SUCCESS) if os_result.bytes == 0 => {
                Err(io::Error::from(io::ErrorKind::WriteZero))
            }
            (true, ERROR_SUCCESS) => {
                let bytes = os_result.bytes;
                unsent.note_sent(bytes);
                Ok(FileOutcome::Written { bytes })
            }
            (false, ERROR_SUCCESS | ERROR_HANDLE_EOF) => {
                let mut bytes = std::mem::take(&mut record.memory);
                // SAFETY: Windows has written that many bytes at the front of the memory, within the capacity that the
                // call told it.
                unsafe { bytes.set_len(os_result.bytes) };
                Ok(FileOutcome::Read(bytes))
            }
            (_, code) => Err(io::Error::from_raw_os_error(code.cast_signed())),
        };
        let call = if writes { "WriteFile" } else { "ReadFile" };
        let result = match result {
            Ok(outcome) => Ok(Outcome::File(outcome)),
            Err(source) => Err(Failure::os(call, source)),
        };
        self.end_with(record, result);
    }
}

fn at_most(len: usize) -> u32 {
    u32::try_from(len.min(TRANSFER_MAX)).expect("it is below 2^31")
}

fn call_read(file: &OsFile, mut record: Box<Record>, skip: bool) -> Started {
    let (memory, room) = (record.memory.as_mut_ptr(), record.memory.capacity());
    let lent = record.lend();
    // SAFETY: the file stays open until the packet; the memory, whose capacity is given, and the OVERLAPPED belong to the
    // lent record.
    let succeeded = unsafe {
        ReadFile(
            file.as_raw_handle(),
            memory,
            at_most(room),
            ptr::null_mut(),
            lent.overlapped(),
        )
    };
    pipe_called(lent, succeeded != 0, skip)
}

fn call_write(file: &OsFile, record: Box<Record>, skip: bool) -> Started {
    let piece = record.chunks.first();
    let (memory, len) = (piece.as_ptr(), piece.len());
    let lent = record.lend();
    // SAFETY: the file stays open until the packet; the bytes, which are only read, and the OVERLAPPED belong to the lent
    // record.
    let succeeded = unsafe {
        WriteFile(
            file.as_raw_handle(),
            memory,
            at_most(len),
            ptr::null_mut(),
            lent.overlapped(),
        )
    };
    pipe_called(lent, succeeded != 0, skip)
}
