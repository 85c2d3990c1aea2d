//! Starting and finishing operations on overlapped pipes in byte mode.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_MORE_DATA, ERROR_PIPE_NOT_CONNECTED, ERROR_SUCCESS,
    GetLastError,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::Pipes::{DisconnectNamedPipe, PeekNamedPipe};

use super::operation::{Finish, Lent, Record, Started};
use super::receive::ReceiveResult;

/// The most bytes in one write, which completes only when the reader has taken them all or the pipe
/// has room for them.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Reads into the record's memory; without memory, waits for bytes.
pub(super) fn start_read(pipe: &OwnedHandle, record: Box<Record>, skip: bool) -> Started {
    let (memory, room) = match &record.lease {
        Some(lease) => (lease.as_ptr().as_ptr(), lease.capacity()),
        None => (ptr::null_mut(), 0),
    };
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let lent = record.lend();
    // SAFETY: the pipe stays open until the packet; the memory and the OVERLAPPED belong to the
    // lent record, and there are `room` bytes of memory.
    let succeeded = unsafe {
        ReadFile(
            pipe.as_raw_handle(),
            memory,
            room,
            ptr::null_mut(),
            lent.overlapped(),
        )
    };
    called(lent, succeeded != 0, skip)
}

pub(super) fn finish_read(finish: Finish) -> ReceiveResult {
    match finish.code {
        // ERROR_MORE_DATA comes from a message pipe with more of the message; treat it as bytes.
        ERROR_SUCCESS | ERROR_MORE_DATA => ReceiveResult::Bytes(finish.bytes),
        ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_HANDLE_EOF => ReceiveResult::End,
        code => ReceiveResult::Failed(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

/// Writes the record's first piece.
pub(super) fn start_write(pipe: &OwnedHandle, record: Box<Record>, skip: bool) -> Started {
    let piece = record.chunks.slices().next().unwrap_or_default();
    let (memory, bytes) = (piece.as_ptr(), piece.len().min(WRITE_BYTES_MAX));
    let bytes = u32::try_from(bytes).expect("one write is small");
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
    called(lent, succeeded != 0, skip)
}

/// The number of bytes that the pipe took.
pub(super) fn finish_write(finish: Finish) -> io::Result<usize> {
    let code = match finish.code {
        ERROR_SUCCESS => return Ok(finish.bytes),
        // Another code for a pipe without a reader; `io::ErrorKind` has none for it.
        ERROR_PIPE_NOT_CONNECTED => ERROR_BROKEN_PIPE,
        code => code,
    };
    Err(io::Error::from_raw_os_error(code.cast_signed()))
}

/// Ends the pipe, even if other processes hold its other end: reads under way and later ones find the end of file, and writes a broken
/// pipe. Discards the bytes in the pipe.
pub(super) fn disconnect(pipe: &OwnedHandle) {
    // Fails only if the pipe has ended already.
    // SAFETY: the handle is open.
    unsafe { DisconnectNamedPipe(pipe.as_raw_handle()) };
}

/// Ends a pipe that we read, unless there are bytes in it.
pub(super) fn disconnect_if_empty(pipe: &OwnedHandle) {
    let mut bytes = 0;
    // SAFETY: the handle is open, and `bytes` has room for the number. Null pointers ask for nothing else.
    let peeked = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &raw mut bytes,
            ptr::null_mut(),
        )
    };
    // The call fails if the pipe has ended already.
    if peeked != 0 && bytes == 0 {
        disconnect(pipe);
    }
}

fn called(lent: Lent, succeeded: bool, skip: bool) -> Started {
    let code = match succeeded {
        true => ERROR_SUCCESS,
        // SAFETY: the call reads this thread's last error.
        false => unsafe { GetLastError() },
    };
    // SAFETY: the code is that of the call just made with this record, and `skip` comes from the
    // pipe's entry, which has it from `skip_on_success`.
    unsafe { lent.called(code, skip) }
}

#[cfg(test)]
mod tests {
    use super::{Finish, ReceiveResult, finish_read, finish_write};
    use std::io::ErrorKind;
    use windows_sys::Win32::Foundation::{
        ERROR_ACCESS_DENIED, ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_MORE_DATA, ERROR_NO_DATA,
        ERROR_PIPE_NOT_CONNECTED,
    };

    #[test]
    fn a_reader_sees_the_end_and_a_writer_a_broken_pipe() {
        for code in [
            ERROR_BROKEN_PIPE,
            ERROR_PIPE_NOT_CONNECTED,
            ERROR_HANDLE_EOF,
        ] {
            assert!(matches!(
                finish_read(Finish { code, bytes: 0 }),
                ReceiveResult::End
            ));
        }
        for code in [ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, ERROR_NO_DATA] {
            let error = finish_write(Finish { code, bytes: 0 }).expect_err("nobody reads");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "code {code}");
        }
    }

    #[test]
    fn part_of_a_message_is_data_and_other_errors_are_errors() {
        let code = ERROR_MORE_DATA;
        assert!(matches!(
            finish_read(Finish { code, bytes: 5 }),
            ReceiveResult::Bytes(5)
        ));
        let code = ERROR_ACCESS_DENIED;
        assert!(matches!(
            finish_read(Finish { code, bytes: 0 }),
            ReceiveResult::Failed(_)
        ));
    }
}
