//! Sending files to sockets: by `TransmitFile`, one part after another.

use std::os::windows::io::AsRawHandle;
use std::ptr;

use socket2::Socket;
use windows_sys::Win32::Foundation::{ERROR_HANDLE_EOF, ERROR_OPERATION_ABORTED, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::LPFN_TRANSMITFILE;

use super::Iocp;
use super::call::{socket_called, socket_error};
use super::entry::Source;
use super::extension::raw;
use super::record::{FileSending, OsResult, Record, Started};
use crate::port::calls::Query;
use crate::port::table::Key;
use crate::port::{Driver, Failure, FilePart, Outcome};

/// The most bytes in one call, which cannot take 2 GiB.
const PART_BYTES: u64 = 1 << 30;

impl Iocp {
    pub(super) fn start_sending(&mut self, operation: Key, part: FilePart) {
        let sending = self
            .query(part.file, Query::File)
            .map(|answer| FileSending {
                file: answer.file(),
                offset: part.offset,
                left: part.len,
                sent: 0,
            });
        match sending {
            Ok(sending) => {
                let mut record = self.records.take(operation);
                record.sending = Some(Box::new(sending));
                self.send_part(record);
            }
            Err(error) => self.end(operation, Err(Failure::os("TransmitFile", error))),
        }
    }

    /// Sends the next part, or ends the operation if the file has none.
    fn send_part(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        let sending = record.sending.as_ref().expect("it sends a file");
        let in_file = match sending.file.metadata() {
            Ok(metadata) => metadata.len().saturating_sub(sending.offset),
            Err(error) => return self.end_sending(record, Some(Failure::os("stat", error))),
        };
        let bytes = sending.left.min(in_file).min(PART_BYTES);
        if bytes == 0 {
            return self.end_sending(record, None);
        }
        record.offset = sending.offset;
        let bytes = u32::try_from(bytes).expect("a part is small");
        let transmit = self.functions.sockets.transmit;
        let started = match self.source_of(operation) {
            (Source::Stream(socket), skip) => call(transmit, socket, record, bytes, skip),
            _ => unreachable!("`Entry::check` refuses it"),
        };
        self.note_started(operation, started);
    }

    pub(super) fn finish_sending(&mut self, mut record: Box<Record>, os_result: OsResult) {
        let bytes = os_result.bytes as u64;
        let sending = record.sending.as_mut().expect("it sends a file");
        sending.offset += bytes;
        sending.left -= bytes.min(sending.left);
        sending.sent += bytes;
        let ending = self.is_ending(record.operation);
        match os_result.code {
            ERROR_OPERATION_ABORTED if ending => {
                self.end_sending(record, Some(Failure::Cancelled));
            }
            ERROR_SUCCESS if ending => self.end_sending(record, Some(Failure::Cancelled)),
            ERROR_SUCCESS if bytes > 0 => self.send_part(record),
            ERROR_SUCCESS | ERROR_HANDLE_EOF => self.end_sending(record, None),
            code => {
                let failure = Failure::os("TransmitFile", socket_error(code));
                self.end_sending(record, Some(failure));
            }
        }
    }

    fn end_sending(&mut self, record: Box<Record>, failure: Option<Failure>) {
        let sent = record.sending.as_ref().map_or(0, |sending| sending.sent);
        let result = match failure {
            Some(failure) if sent == 0 => Err(failure),
            failure => Ok(Outcome::FileSent {
                bytes: sent,
                stopped_by: failure.map(Box::new),
            }),
        };
        self.end_with(record, result);
    }
}

fn call(
    transmit: LPFN_TRANSMITFILE,
    socket: &Socket,
    record: Box<Record>,
    bytes: u32,
    skip: bool,
) -> Started {
    let transmit = transmit.expect("Winsock gave the function");
    let sending = record.sending.as_ref().expect("it sends a file");
    let file = sending.file.as_raw_handle();
    let lent = record.lend();
    // SAFETY: the socket stays open until the packet, and the file, which the lent record shares, as well; the OVERLAPPED
    // is the record's.
    let succeeded = unsafe {
        transmit(
            raw(socket),
            file,
            bytes,
            0,
            lent.overlapped(),
            ptr::null(),
            0,
        )
    };
    socket_called(lent, succeeded != 0, skip)
}
