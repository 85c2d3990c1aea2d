//! Receiving: from sockets and pipes, with memory in advance or by waiting for bytes first.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use socket2::Socket;
use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_MORE_DATA, ERROR_OPERATION_ABORTED,
    ERROR_PIPE_NOT_CONNECTED, ERROR_SUCCESS,
};
use windows_sys::Win32::Networking::WinSock::{WSABUF, WSARecv};
use windows_sys::Win32::Storage::FileSystem::ReadFile;

use super::Iocp;
use super::call::{pipe_called, socket_called, socket_error};
use super::entry::Source;
use super::extension::raw;
use super::pipe::disconnect_if_empty;
use super::record::{Finish, Record, Started};
use crate::port::table::Key;
use crate::port::{Failure, Outcome};

/// The result of a receive.
#[derive(Debug)]
pub(super) enum ReceiveResult {
    /// The number of bytes received; zero if the receive only waited for them.
    Bytes(usize),
    /// The end of file.
    End,
    Failed(io::Error),
}

impl Iocp {
    /// Receives, with memory in advance if possible. Otherwise a busy receive makes an idle one
    /// give up its memory.
    pub(super) fn receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        let traffic = self.entry_of(operation).traffic;
        if let Some(lease) = self.receiving.lease_in_advance(traffic) {
            let place = self.receiving.admit(operation, lease.capacity());
            self.entry_of_mut(operation).place = Some(place);
            record.lease = Some(lease);
        } else if traffic.is_busy()
            && let Some(idle) = self.receiving.next_idle()
        {
            self.dismiss(idle);
            self.entry_of(idle).cancel(idle);
        }
        self.start_receive(record);
    }

    /// Removes `operation` from the receives with memory in advance; returns whether it was one.
    pub(super) fn dismiss(&mut self, operation: Key) -> bool {
        let Some(place) = self.entry_of_mut(operation).place.take() else {
            return false;
        };
        if let Some(moved) = self.receiving.dismiss(place) {
            self.entry_of_mut(moved).place = Some(place);
        }
        true
    }

    fn start_receive(&mut self, record: Box<Record>) {
        let operation = record.operation;
        let started = match self.source_of(operation) {
            (Source::Stream(socket), skip) => call_wsa_recv(socket, record, skip),
            (Source::PipeReader(pipe), skip) => {
                if self.entry_of(operation).ends_when_empty {
                    disconnect_if_empty(pipe);
                }
                call_read_file(pipe, record, skip)
            }
            _ => unreachable!("nothing else receives"),
        };
        self.started(operation, started);
    }

    /// Continues the receives that have delivered bytes.
    pub(super) fn receive_on(&mut self) {
        self.receiving.turns += 1;
        for _ in 0..self.resting.len() {
            let record = self.resting.pop_front().expect("counted just now");
            let operation = record.operation;
            // The receive may have been cancelled or have ended meanwhile.
            let pending = self.operations.get(operation);
            if pending.is_some_and(|pending| pending.ending.is_none()) {
                self.receive(record);
            } else {
                self.records.put(record);
                self.end_if_idle(operation);
            }
        }
    }

    /// Handles the end of a receive call: bytes, the end of file, a failure, the end of a wait for
    /// bytes, or the loss of its memory to another receive (`had_place` is false).
    pub(super) fn received(&mut self, mut record: Box<Record>, finish: Finish, had_place: bool) {
        let operation = record.operation;
        let lease = record.lease.take();
        let waited = lease.is_none();
        if !waited && !had_place && finish.code == ERROR_OPERATION_ABORTED {
            // Another receive has taken its memory: wait for bytes without memory.
            return self.start_receive(record);
        }
        let (call, result) = match self.source_of(operation) {
            (Source::PipeReader(_), _) => ("ReadFile", read_result(finish)),
            _ => ("WSARecv", receive_result(finish, waited)),
        };
        match result {
            ReceiveResult::Bytes(bytes) => {
                if let Some(lease) = lease
                    && bytes > 0
                {
                    let turn = self.receiving.turns;
                    let full = bytes == lease.capacity();
                    self.entry_of_mut(operation).traffic.note(turn, bytes, full);
                    self.report(operation, Outcome::Received(lease.filled(bytes)));
                }
            }
            // The operation is ending; a later one will find the end of file.
            ReceiveResult::End if self.is_ending(operation) => {}
            ReceiveResult::End => return self.end_with(record, Ok(Outcome::EndOfFile)),
            ReceiveResult::Failed(error) => {
                return self.end_with(record, Err(Failure::os(call, error)));
            }
        }
        if self.is_ending(operation) {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        if waited {
            record.lease = Some(self.receiving.lease(self.entry_of(operation).traffic));
            return self.start_receive(record);
        }
        self.resting.push_back(record);
    }
}

/// Receives into the record's memory; without memory, waits for bytes.
fn call_wsa_recv(socket: &Socket, record: Box<Record>, skip: bool) -> Started {
    let memory = match &record.lease {
        Some(lease) => WSABUF {
            len: u32::try_from(lease.capacity()).unwrap_or(u32::MAX),
            buf: lease.as_ptr().as_ptr(),
        },
        None => WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        },
    };
    let lent = record.lend();
    let mut flags = 0;
    // SAFETY: the socket stays open until the packet; the call copies the list of one buffer; the
    // buffer's memory and the OVERLAPPED belong to the lent record.
    let failed = unsafe {
        WSARecv(
            raw(socket),
            &raw const memory,
            1,
            ptr::null_mut(),
            &raw mut flags,
            lent.overlapped(),
            None,
        )
    };
    socket_called(lent, failed == 0, skip)
}

/// The result of a receive; `waited` means that it had no memory.
fn receive_result(finish: Finish, waited: bool) -> ReceiveResult {
    match (finish.code, finish.bytes) {
        (ERROR_SUCCESS, 0) if !waited => ReceiveResult::End,
        (ERROR_SUCCESS, bytes) => ReceiveResult::Bytes(bytes),
        (code, _) => ReceiveResult::Failed(socket_error(code)),
    }
}

/// Reads into the record's memory; without memory, waits for bytes.
fn call_read_file(pipe: &OwnedHandle, record: Box<Record>, skip: bool) -> Started {
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
    pipe_called(lent, succeeded != 0, skip)
}

fn read_result(finish: Finish) -> ReceiveResult {
    match finish.code {
        // ERROR_MORE_DATA comes from a message pipe with more of the message; treat it as bytes.
        ERROR_SUCCESS | ERROR_MORE_DATA => ReceiveResult::Bytes(finish.bytes),
        ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_HANDLE_EOF => ReceiveResult::End,
        code => ReceiveResult::Failed(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Finish, ReceiveResult, read_result};
    use windows_sys::Win32::Foundation::{
        ERROR_ACCESS_DENIED, ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_MORE_DATA,
        ERROR_PIPE_NOT_CONNECTED,
    };

    #[test]
    fn a_pipe_without_a_writer_has_ended() {
        for code in [
            ERROR_BROKEN_PIPE,
            ERROR_PIPE_NOT_CONNECTED,
            ERROR_HANDLE_EOF,
        ] {
            assert!(matches!(
                read_result(Finish { code, bytes: 0 }),
                ReceiveResult::End
            ));
        }
    }

    #[test]
    fn part_of_a_message_is_data_and_other_errors_are_errors() {
        let code = ERROR_MORE_DATA;
        assert!(matches!(
            read_result(Finish { code, bytes: 5 }),
            ReceiveResult::Bytes(5)
        ));
        let code = ERROR_ACCESS_DENIED;
        assert!(matches!(
            read_result(Finish { code, bytes: 0 }),
            ReceiveResult::Failed(_)
        ));
    }
}
