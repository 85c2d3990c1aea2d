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
use super::named_pipe::has_message;
use super::pipe::disconnect_if_empty;
use super::record::{OsResult, Record, Started};
use crate::port::serial::next_read_bytes;
use crate::port::table::Key;
use crate::port::{Buffer, Failure, Outcome, RequestKind};

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
    pub(super) fn start_receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        let traffic = self.entry_of(operation).traffic;
        if self.is_serial(operation) {
            // Without memory, a read of a serial port does not wait for bytes.
            record.lease = Some(self.receive_memory.lease(traffic));
        } else if let Some(lease) = self.receive_memory.lease_in_advance(traffic) {
            let index = self.receive_memory.add_eager(operation, lease.capacity());
            self.entry_of_mut(operation).eager_index = Some(index);
            record.lease = Some(lease);
        } else if traffic.is_busy()
            && let Some(idle) = self.receive_memory.next_idle()
        {
            self.remove_eager(idle);
            self.entry_of(idle).cancel(idle);
        }
        self.call_receive(record);
    }

    /// Removes `operation` from the receives with memory in advance; returns whether it was one.
    pub(super) fn remove_eager(&mut self, operation: Key) -> bool {
        let Some(index) = self.entry_of_mut(operation).eager_index.take() else {
            return false;
        };
        if let Some(moved) = self.receive_memory.remove_eager(index) {
            self.entry_of_mut(moved).eager_index = Some(index);
        }
        true
    }

    fn is_serial(&self, operation: Key) -> bool {
        matches!(self.source_of(operation), (Source::Serial(_), _))
    }

    fn call_receive(&mut self, record: Box<Record>) {
        let operation = record.operation;
        let started = match self.source_of(operation) {
            (Source::Stream(socket), skip) => call_wsa_recv(socket, record, skip),
            (Source::Serial(port), skip) => {
                call_read_file(port, record, next_read_bytes(port), skip)
            }
            (source, skip) => {
                let pipe = source.as_stream().expect("nothing else receives");
                if self.entry_of(operation).ends_when_empty {
                    disconnect_if_empty(pipe);
                }
                call_read_file(pipe, record, usize::MAX, skip)
            }
        };
        self.note_started(operation, started);
    }

    /// Continues the receives that have delivered bytes.
    pub(super) fn resume_receives(&mut self) {
        self.receive_memory.turns += 1;
        for _ in 0..self.resting_receives.len() {
            let record = self.resting_receives.pop_front().expect("counted just now");
            let operation = record.operation;
            // The receive may have been cancelled or have ended meanwhile.
            let pending = self.operations.get(operation);
            match pending.filter(|pending| pending.ending.is_none()) {
                Some(pending) if pending.kind == RequestKind::ReceiveDatagrams => {
                    self.receive_datagrams(record);
                }
                Some(_) => self.start_receive(record),
                None => {
                    self.records.put(record);
                    self.end_if_idle(operation);
                }
            }
        }
    }

    /// Handles the end of a receive call: bytes, the end of file, a failure, the end of a wait for
    /// bytes, or the loss of its memory to another receive (`was_eager` is false).
    pub(super) fn finish_receive(
        &mut self,
        mut record: Box<Record>,
        os_result: OsResult,
        was_eager: bool,
    ) {
        let operation = record.operation;
        let lease = record.lease.take();
        let waited = lease.is_none();
        let lost_memory = !waited && !was_eager && !self.is_serial(operation);
        if lost_memory && os_result.code == ERROR_OPERATION_ABORTED {
            // Another receive has taken its memory: wait for bytes without memory.
            return self.call_receive(record);
        }
        if has_message(os_result)
            && let Source::NamedPipe(named) = &mut self.entry_of_mut(operation).source
            && let Some(messages) = &mut named.messages
        {
            let message = messages.receive(lease, os_result);
            return self.finish_message(record, os_result.bytes, message);
        }
        let (call, result) = match self.source_of(operation) {
            (Source::Stream(_), _) => ("WSARecv", receive_result(os_result, waited)),
            _ => ("ReadFile", read_result(os_result)),
        };
        match result {
            ReceiveResult::Bytes(bytes) => {
                if let Some(lease) = lease
                    && bytes > 0
                {
                    let turn = self.receive_memory.turns;
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
            record.lease = Some(self.receive_memory.lease(self.entry_of(operation).traffic));
            return self.call_receive(record);
        }
        self.resting_receives.push_back(record);
    }

    /// Delivers a message, or reads more of it.
    fn finish_message(
        &mut self,
        mut record: Box<Record>,
        bytes: usize,
        message: io::Result<Option<Buffer>>,
    ) {
        let operation = record.operation;
        let turn = self.receive_memory.turns;
        let is_whole = match message {
            Ok(Some(message)) => {
                let traffic = &mut self.entry_of_mut(operation).traffic;
                traffic.note(turn, bytes, false);
                self.report(operation, Outcome::Received(message));
                true
            }
            Ok(None) => {
                let traffic = &mut self.entry_of_mut(operation).traffic;
                traffic.note(turn, bytes, bytes > 0);
                false
            }
            Err(error) => return self.end_with(record, Err(Failure::os("ReadFile", error))),
        };
        if self.is_ending(operation) {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        if is_whole {
            return self.resting_receives.push_back(record);
        }
        record.lease = Some(self.receive_memory.lease(self.entry_of(operation).traffic));
        self.call_receive(record);
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
fn receive_result(os_result: OsResult, waited: bool) -> ReceiveResult {
    match (os_result.code, os_result.bytes) {
        (ERROR_SUCCESS, 0) if !waited => ReceiveResult::End,
        (ERROR_SUCCESS, bytes) => ReceiveResult::Bytes(bytes),
        (code, _) => ReceiveResult::Failed(socket_error(code)),
    }
}

/// Reads up to `limit` bytes into the record's memory; without memory, waits for bytes.
fn call_read_file(pipe: &OwnedHandle, record: Box<Record>, limit: usize, skip: bool) -> Started {
    let (memory, room) = match &record.lease {
        Some(lease) => (lease.as_ptr().as_ptr(), lease.capacity()),
        None => (ptr::null_mut(), 0),
    };
    let room = u32::try_from(room.min(limit)).unwrap_or(u32::MAX);
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

fn read_result(os_result: OsResult) -> ReceiveResult {
    match os_result.code {
        // ERROR_MORE_DATA comes from a message pipe with more of the message; treat it as bytes.
        ERROR_SUCCESS | ERROR_MORE_DATA => ReceiveResult::Bytes(os_result.bytes),
        ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_HANDLE_EOF => ReceiveResult::End,
        code => ReceiveResult::Failed(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

#[cfg(test)]
mod tests {
    use super::{OsResult, ReceiveResult, read_result};
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
                read_result(OsResult { code, bytes: 0 }),
                ReceiveResult::End
            ));
        }
    }

    #[test]
    fn part_of_a_message_is_data_and_other_errors_are_errors() {
        let code = ERROR_MORE_DATA;
        assert!(matches!(
            read_result(OsResult { code, bytes: 5 }),
            ReceiveResult::Bytes(5)
        ));
        let code = ERROR_ACCESS_DENIED;
        assert!(matches!(
            read_result(OsResult { code, bytes: 0 }),
            ReceiveResult::Failed(_)
        ));
    }
}
