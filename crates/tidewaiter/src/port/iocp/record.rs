//! The memory that Windows holds for an operation under way.

use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, fence};

use socket2::Socket;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_SUCCESS, HANDLE, NTSTATUS, RtlNtStatusToDosError,
    STATUS_PENDING,
};
use windows_sys::Win32::Networking::WinSock::SOCKADDR_UN;
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED, OVERLAPPED_0_0};

use super::message::MessageMemory;
use crate::os::OsFile;
use crate::port::buffer::Lease;
use crate::port::chunks::Chunks;
use crate::port::datagram::DatagramBatch;
use crate::port::table::Key;

/// The number of idle records kept for reuse.
const SPARE_MAX: usize = 1024;

/// Room for one internet address as AcceptEx writes it: the largest address, and the 16 bytes that AcceptEx
/// requires.
pub(super) const ADDRESS_BYTES: usize = 28 + 16;

/// The same for an address of a UNIX socket.
pub(super) const UNIX_ADDRESS_BYTES: usize = size_of::<SOCKADDR_UN>() + 16;

/// All memory that Windows may access for one of its operations.
///
/// Each record has its own box, whose address identifies the operation to Windows. While the record
/// is lent, Windows owns every byte of it, and the port refers to it only through [`LentRecord`].
#[repr(C)]
pub(super) struct Record {
    overlapped: OVERLAPPED,
    /// The port's operation that this is a part of.
    pub(super) operation: Key,
    /// For an accept: room for the two addresses.
    pub(super) addresses: [u8; 2 * ADDRESS_BYTES],
    /// For an accept: the socket that becomes the connection.
    pub(super) socket: Option<Socket>,
    /// For a send: the bytes.
    pub(super) chunks: Chunks,
    /// For a receive: the memory, unless the receive only waits for bytes.
    pub(super) lease: Option<Lease>,
    /// For datagrams: the description of one.
    pub(super) message: Option<Box<MessageMemory>>,
    /// For a send of datagrams: the datagrams.
    pub(super) batch: DatagramBatch,
    /// For an operation on a file: where. Zero for all others.
    pub(super) offset: u64,
    /// For a read of a file: the memory. For an accept of UNIX sockets, whose addresses are larger than `addresses`: room
    /// for the two.
    pub(super) memory: Vec<u8>,
    /// For a file that is sent: the part of it that is left.
    pub(super) sending: Option<Box<FileSending>>,
}

/// A part of a file that is being sent.
#[derive(Debug)]
pub(super) struct FileSending {
    pub(super) file: OsFile,
    pub(super) offset: u64,
    pub(super) left: u64,
    pub(super) sent: u64,
}

// A packet carries the OVERLAPPED's address, which at offset 0 is also the record's.
const _: () = assert!(std::mem::offset_of!(Record, overlapped) == 0);

impl Record {
    fn new(operation: Key) -> Record {
        Record {
            overlapped: OVERLAPPED::default(),
            operation,
            addresses: [0; 2 * ADDRESS_BYTES],
            socket: None,
            chunks: Chunks::new(),
            lease: None,
            message: None,
            batch: DatagramBatch::new(),
            offset: 0,
            memory: Vec::new(),
            sending: None,
        }
    }

    /// Lends the record to Windows, at an address that stays valid until it is reclaimed.
    pub(super) fn lend(self: Box<Self>) -> LentRecord {
        self.lend_with_event(ptr::null_mut())
    }

    /// Lends the record to Windows, which sets the event once it has written the result.
    pub(super) fn lend_with_event(mut self: Box<Self>, event: HANDLE) -> LentRecord {
        self.overlapped = OVERLAPPED::default();
        self.overlapped.Anonymous.Anonymous = offset_words(self.offset);
        self.overlapped.hEvent = event;
        let operation = self.operation;
        let record = NonNull::from(Box::leak(self));
        LentRecord { record, operation }
    }

    /// Lends the record to a call that does not mark it as pending, as calls of the kernel do not.
    pub(super) fn lend_as_pending(self: Box<Self>) -> LentRecord {
        let lent = self.lend();
        let pending = u32::from_ne_bytes(STATUS_PENDING.to_ne_bytes()) as usize;
        // SAFETY: the record is leaked, so it is alive, and Windows does not have it yet.
        unsafe { (*lent.overlapped()).Internal = pending };
        lent
    }

    /// The result that Windows left in the OVERLAPPED.
    fn result(&self) -> OsResult {
        let status = status_of(&self.overlapped);
        let code = match status {
            0 => ERROR_SUCCESS,
            // SAFETY: a table look-up, which takes any number.
            status => unsafe { RtlNtStatusToDosError(status) },
        };
        OsResult {
            code,
            bytes: self.overlapped.InternalHigh,
        }
    }
}

/// An offset as an OVERLAPPED has it.
fn offset_words(offset: u64) -> OVERLAPPED_0_0 {
    let [a, b, c, d, e, f, g, h] = offset.to_le_bytes();
    OVERLAPPED_0_0 {
        Offset: u32::from_le_bytes([a, b, c, d]),
        OffsetHigh: u32::from_le_bytes([e, f, g, h]),
    }
}

/// The status that Windows left.
pub(super) fn status_of(overlapped: &OVERLAPPED) -> NTSTATUS {
    NTSTATUS::from_ne_bytes(low_half(overlapped.Internal))
}

/// The lower four bytes of a word: the status, above which Windows leaves the bytes undefined.
fn low_half(word: usize) -> [u8; 4] {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).to_ne_bytes()
}

/// The result of one of Windows's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OsResult {
    /// Zero, or a Win32 or Winsock error.
    pub(super) code: u32,
    pub(super) bytes: usize,
}

/// The result of a call that takes a record.
pub(super) enum Started {
    /// A packet will arrive.
    UnderWay(LentRecord),
    /// The call has completed, and no packet will arrive.
    Finished(Box<Record>, OsResult),
}

/// A record that Windows holds. Deliberately not `Deref`: nothing in it is safe to read.
///
/// Dropping this leaks the record, which is the last resort if Windows does not return it.
#[derive(Debug)]
#[must_use = "the system holds the record until its packet is seen"]
pub(super) struct LentRecord {
    record: NonNull<Record>,
    operation: Key,
}

impl LentRecord {
    pub(super) fn operation(&self) -> Key {
        self.operation
    }

    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        self.record.cast().as_ptr()
    }

    /// The memory to which AcceptEx writes the addresses.
    pub(super) fn addresses(&self) -> *mut u8 {
        let record = self.record.as_ptr();
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it, not a
        // reference.
        unsafe { (&raw mut (*record).addresses).cast() }
    }

    /// Whether Windows has written the result: what the system's `HasOverlappedIoCompleted` tells.
    pub(super) fn is_finished(&self) -> bool {
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it, not a reference.
        let status = unsafe { &raw const (*self.overlapped()).Internal };
        // SAFETY: the word is aligned. Windows writes it as a whole, at any time, hence a volatile read; the fence
        // orders what else Windows wrote before it.
        let status = unsafe { status.read_volatile() };
        fence(Ordering::Acquire);
        NTSTATUS::from_ne_bytes(low_half(status)) != STATUS_PENDING
    }

    /// Asks Windows to cancel the operation. Its packet still arrives, if it has not yet.
    pub(super) fn cancel(&self, handle: HANDLE) {
        // SAFETY: the handle is open (the caller owns it and closes it only after the packet); the
        // OVERLAPPED only identifies the operation. A failure means that it has already completed.
        unsafe { CancelIoEx(handle, self.overlapped()) };
    }

    /// Interprets the result of the call that took this record.
    ///
    /// `code` is the call's error, 0 for none. With `skip`, an immediate success posts no packet.
    ///
    /// # Safety
    ///
    /// `code` comes from the call that took this record's OVERLAPPED, and `skip` is set only if
    /// [`skip_on_success`](super::queue::skip_on_success) succeeded on the call's handle, or the handle is on no port.
    pub(super) unsafe fn called(self, code: u32, skip: bool) -> Started {
        let done = matches!(code, ERROR_SUCCESS | ERROR_MORE_DATA);
        if code == ERROR_IO_PENDING || (done && !skip) {
            return Started::UnderWay(self);
        }
        // SAFETY: the call failed outright, which posts nothing, or it succeeded on a handle whose
        // immediate successes post nothing: Windows is done with the record.
        let record = unsafe { self.reclaim() };
        let os_result = match done {
            true => record.result(),
            false => OsResult { code, bytes: 0 },
        };
        Started::Finished(record, os_result)
    }

    /// Takes the record back after its packet, together with the operation's result.
    ///
    /// # Safety
    ///
    /// The packet with this record's address was taken off the port; or the record's handle is on no port, and Windows is
    /// [finished](LentRecord::is_finished).
    pub(super) unsafe fn finished(self) -> (Box<Record>, OsResult) {
        // SAFETY: an operation has one packet, and the caller has received it.
        let record = unsafe { self.reclaim() };
        let os_result = record.result();
        (record, os_result)
    }

    /// Takes the record back.
    ///
    /// # Safety
    ///
    /// Windows no longer reads or writes the record.
    unsafe fn reclaim(self) -> Box<Record> {
        // SAFETY: `lend` leaked this very box. `LentRecord` is neither `Copy` nor `Clone`, and this one
        // ends here, so nothing else in the port refers to it; nor does Windows (caller).
        unsafe { Box::from_raw(self.record.as_ptr()) }
    }
}

/// Idle records, so that a busy port allocates none.
#[derive(Default)]
pub(super) struct Records {
    #[expect(
        clippy::vec_box,
        reason = "Windows identifies records by their address, so each keeps its box"
    )]
    spare: Vec<Box<Record>>,
}

impl Records {
    /// Returns an empty record for `operation`.
    pub(super) fn take(&mut self, operation: Key) -> Box<Record> {
        match self.spare.pop() {
            Some(mut record) => {
                record.operation = operation;
                record
            }
            None => Box::new(Record::new(operation)),
        }
    }

    /// Keeps `record` for reuse, and drops what it owns.
    pub(super) fn put(&mut self, mut record: Box<Record>) {
        record.socket = None;
        record.lease = None;
        record.message = None;
        record.batch = DatagramBatch::new();
        record.offset = 0;
        record.memory = Vec::new();
        record.sending = None;
        if self.spare.len() < SPARE_MAX {
            self.spare.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, OsResult, Records, Started};
    use windows_sys::Win32::Foundation::{
        ERROR_ACCESS_DENIED, ERROR_IO_PENDING, ERROR_SUCCESS, STATUS_ACCESS_DENIED,
    };

    const OPERATION: Key = Key {
        index: 3,
        generation: 5,
    };

    /// Goal: the port reports the result that Windows writes to the OVERLAPPED, and reuses the
    /// memory.
    /// Method: write through the address that Windows would get.
    #[test]
    fn a_record_comes_back_with_what_the_system_wrote() {
        let mut records = Records::default();
        let lent = records.take(OPERATION).lend();
        let overlapped = lent.overlapped();
        // SAFETY: the record is alive, and nothing else refers to it: the test stands in for
        // Windows.
        unsafe { (*overlapped).Internal = STATUS_ACCESS_DENIED.cast_unsigned() as usize };
        // SAFETY: as above.
        unsafe { (*overlapped).InternalHigh = 7 };
        // SAFETY: the writes above were the last ones, as if the packet had arrived.
        let (record, os_result) = unsafe { lent.finished() };
        let expected = OsResult {
            code: ERROR_ACCESS_DENIED,
            bytes: 7,
        };
        assert_eq!(os_result, expected);
        records.put(record);
        let again = records.take(OPERATION).lend();
        assert_eq!(again.overlapped(), overlapped, "the record is reused");
        // SAFETY: Windows never had the record.
        drop(unsafe { again.finished() });
    }

    #[test]
    fn only_a_failure_or_a_skipped_success_gives_the_record_back_at_once() {
        for (code, skip, pending) in [
            (ERROR_IO_PENDING, false, true),
            (ERROR_IO_PENDING, true, true),
            (ERROR_SUCCESS, false, true),
            (ERROR_SUCCESS, true, false),
            (ERROR_ACCESS_DENIED, false, false),
            (ERROR_ACCESS_DENIED, true, false),
        ] {
            let lent = Records::default().take(OPERATION).lend();
            // SAFETY: Windows never had the record, so any claim about it is true.
            match unsafe { lent.called(code, skip) } {
                Started::UnderWay(lent) => {
                    assert!(pending, "code {code}, skip {skip}");
                    // SAFETY: as above.
                    drop(unsafe { lent.finished() });
                }
                Started::Finished(_, os_result) => {
                    assert!(!pending, "code {code}, skip {skip}");
                    assert_eq!(os_result.code, code);
                }
            }
        }
    }
}
