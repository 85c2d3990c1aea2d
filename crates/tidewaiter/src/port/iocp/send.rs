//! Sending: to sockets and pipes.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use socket2::Socket;
use windows_sys::Win32::Foundation::{ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::{WSABUF, WSASend};
use windows_sys::Win32::Storage::FileSystem::WriteFile;

use super::Iocp;
use super::call::{pipe_called, socket_called, socket_error};
use super::entry::Source;
use super::extension::raw;
use super::record::{OsResult, Record, Started};
use crate::port::{Failure, Outcome};

/// The most pieces in one send.
const SEND_PIECES_MAX: usize = 64;
/// The most bytes in one send: Windows locks their pages until the peer acknowledges them.
const SEND_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes in one write, which completes only when the reader has taken them all or the pipe
/// has room for them.
const WRITE_BYTES_MAX: usize = 64 * 1024;

impl Iocp {
    pub(super) fn start_send(&mut self, record: Box<Record>) {
        let operation = record.operation;
        let started = match self.source_of(operation) {
            (Source::Stream(socket), skip) => call_wsa_send(socket, record, skip),
            (source, skip) => {
                let pipe = source.as_stream().expect("nothing else sends");
                let bytes_max = match source {
                    Source::NamedPipe(named) if named.messages.is_some() => usize::MAX,
                    _ => WRITE_BYTES_MAX,
                };
                call_write_file(pipe, bytes_max, record, skip)
            }
        };
        self.note_started(operation, started);
    }

    /// Reports how many bytes Windows took. A send that had sent some of its bytes when it failed or was cancelled has
    /// succeeded: the next one fails.
    pub(super) fn finish_send(&mut self, record: Box<Record>, os_result: OsResult) {
        let (call, result) = match self.source_of(record.operation) {
            (Source::Stream(_), _) => ("WSASend", send_result(os_result)),
            _ => ("WriteFile", write_result(os_result)),
        };
        let result = match result {
            Ok(bytes) => {
                let pending = self.operations.get_mut(record.operation);
                pending.expect("it goes on").unsent.note_sent(bytes);
                Ok(Outcome::Sent { bytes })
            }
            Err(error) => Err(Failure::os(call, error)),
        };
        self.end_with(record, result);
    }
}

/// Sends the record's bytes, or the first of them.
fn call_wsa_send(socket: &Socket, record: Box<Record>, skip: bool) -> Started {
    let mut pieces = [const {
        WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        }
    }; SEND_PIECES_MAX];
    let mut count = 0;
    let mut room = SEND_BYTES_MAX;
    for (piece, slice) in pieces.iter_mut().zip(record.chunks.slices()) {
        let bytes = slice.len().min(room);
        if bytes == 0 {
            break;
        }
        room -= bytes;
        piece.len = u32::try_from(bytes).expect("one send is small");
        piece.buf = slice.as_ptr().cast_mut();
        count += 1;
    }
    let lent = record.lend();
    // SAFETY: the socket stays open until the packet; the call copies the list; the bytes belong to
    // the lent record and are only read; the OVERLAPPED is the record's.
    let failed = unsafe {
        WSASend(
            raw(socket),
            pieces.as_ptr(),
            count,
            ptr::null_mut(),
            0,
            lent.overlapped(),
            None,
        )
    };
    socket_called(lent, failed == 0, skip)
}

/// The number of bytes that Windows took.
fn send_result(os_result: OsResult) -> io::Result<usize> {
    if os_result.code == ERROR_SUCCESS || os_result.bytes > 0 {
        return Ok(os_result.bytes);
    }
    Err(socket_error(os_result.code))
}

/// Writes the record's first piece, or up to `bytes_max` bytes of it.
fn call_write_file(
    pipe: &OwnedHandle,
    bytes_max: usize,
    record: Box<Record>,
    skip: bool,
) -> Started {
    let piece = record.chunks.first();
    let (memory, bytes) = (piece.as_ptr(), piece.len().min(bytes_max));
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let lent = record.lend();
    // SAFETY: the pipe stays open until the packet; the bytes and the OVERLAPPED belong to the lent
    // record, and the bytes are only read.
    let succeeded = unsafe {
        WriteFile(
            pipe.as_raw_handle(),
            memory,
            bytes,
            ptr::null_mut(),
            lent.overlapped(),
        )
    };
    pipe_called(lent, succeeded != 0, skip)
}

/// The number of bytes that the pipe took.
fn write_result(os_result: OsResult) -> io::Result<usize> {
    if os_result.code == ERROR_SUCCESS || os_result.bytes > 0 {
        return Ok(os_result.bytes);
    }
    let code = match os_result.code {
        // Another code for a pipe without a reader; `io::ErrorKind` has none for it.
        ERROR_PIPE_NOT_CONNECTED => ERROR_BROKEN_PIPE,
        code => code,
    };
    Err(io::Error::from_raw_os_error(code.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::{OsResult, send_result, write_result};
    use std::io::ErrorKind;
    use windows_sys::Win32::Foundation::{
        ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED,
    };

    #[test]
    fn bytes_sent_before_a_cancellation_count() {
        let code = ERROR_OPERATION_ABORTED;
        for result in [send_result, write_result] {
            assert_eq!(result(OsResult { code, bytes: 7 }).ok(), Some(7));
            assert!(result(OsResult { code, bytes: 0 }).is_err());
        }
    }

    #[test]
    fn a_pipe_without_a_reader_is_broken() {
        for code in [ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, ERROR_NO_DATA] {
            let error = write_result(OsResult { code, bytes: 0 }).expect_err("nobody reads");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "code {code}");
        }
    }
}
