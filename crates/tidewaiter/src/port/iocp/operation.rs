//! What the system holds of an operation while it is under way.

use std::ptr::NonNull;

use socket2::Socket;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_SUCCESS, HANDLE, NTSTATUS, RtlNtStatusToDosError,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use crate::port::buffer::Lease;
use crate::port::chunks::Chunks;
use crate::port::table::Key;

/// How many idle records are kept for reuse.
const SPARE_MAX: usize = 1024;

/// Room for one address as AcceptEx writes it: the largest one, and 16 bytes it asks for.
pub(super) const ADDRESS_BYTES: usize = 28 + 16;

/// Everything that the system may touch on behalf of one of its operations.
///
/// It lives in a box of its own, whose address is the system's name for the operation. While it is
/// lent, the system owns every byte of it, and nothing here refers to it but [`Lent`].
#[repr(C)]
pub(super) struct Record {
    overlapped: OVERLAPPED,
    /// Which of the port's operations this is a part of.
    pub(super) operation: Key,
    /// Accepting: where the two addresses are written to.
    pub(super) addresses: [u8; 2 * ADDRESS_BYTES],
    /// Accepting: the socket that becomes the connection.
    pub(super) socket: Option<Socket>,
    /// Sending: the bytes.
    pub(super) chunks: Chunks,
    /// Reading a pipe: the memory, unless the read only waits for bytes.
    pub(super) lease: Option<Lease>,
}

// A packet carries the OVERLAPPED's address; offset 0 makes that the address of the whole record.
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
        }
    }

    /// Gives the record to the system, under an address that stays valid until it is reclaimed.
    pub(super) fn lend(mut self: Box<Self>) -> Lent {
        self.overlapped = OVERLAPPED::default();
        let operation = self.operation;
        let record = NonNull::from(Box::leak(self));
        Lent { record, operation }
    }

    /// What the system left in the OVERLAPPED when it was done.
    fn finish(&self) -> Finish {
        let status = NTSTATUS::from_ne_bytes(low_half(self.overlapped.Internal));
        let code = match status {
            0 => ERROR_SUCCESS,
            // SAFETY: a table look-up, which takes any number.
            status => unsafe { RtlNtStatusToDosError(status) },
        };
        Finish {
            code,
            bytes: self.overlapped.InternalHigh,
        }
    }
}

/// The lower four bytes of a word: the status, whose upper half the system leaves undefined.
fn low_half(word: usize) -> [u8; 4] {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).to_ne_bytes()
}

/// How one of the system's operations ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finish {
    /// Zero, or a Win32 or Winsock error.
    pub(super) code: u32,
    pub(super) bytes: usize,
}

/// What a call that was given a record came to.
pub(super) enum Started {
    /// A packet will come.
    Pending(Lent),
    /// It is done, and no packet will come.
    Finished(Box<Record>, Finish),
}

/// A record in the system's hands. Deliberately not `Deref`: nothing in it is safe to look at.
///
/// Dropping this leaks the record, which is what is left to do when the system does not give it back.
#[must_use = "the system holds the record until its packet is seen"]
pub(super) struct Lent {
    record: NonNull<Record>,
    operation: Key,
}

impl Lent {
    pub(super) fn operation(&self) -> Key {
        self.operation
    }

    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        self.record.cast().as_ptr()
    }

    /// Where AcceptEx writes the addresses to.
    pub(super) fn addresses(&self) -> *mut u8 {
        let record = self.record.as_ptr();
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it and no reference.
        unsafe { (&raw mut (*record).addresses).cast() }
    }

    /// Asks the system to end it early. Its packet still comes, if it has not come yet.
    pub(super) fn cancel(&self, handle: HANDLE) {
        // SAFETY: the handle is open (the caller owns it and closes it only after the packet); the
        // OVERLAPPED serves as a name here. A failure means that it is done already.
        unsafe { CancelIoEx(handle, self.overlapped()) };
    }

    /// Sorts out what a call said that was given this record.
    ///
    /// `code` is the call's error, 0 for none. With `skip`, a success at once posts no packet.
    ///
    /// # Safety
    ///
    /// `code` comes from the call that was given this record's OVERLAPPED, and `skip` is set only if
    /// [`skip_on_success`](super::queue::skip_on_success) succeeded on the call's handle.
    pub(super) unsafe fn called(self, code: u32, skip: bool) -> Started {
        let done = matches!(code, ERROR_SUCCESS | ERROR_MORE_DATA);
        if code == ERROR_IO_PENDING || (done && !skip) {
            return Started::Pending(self);
        }
        // SAFETY: the call failed outright, which posts nothing, or it succeeded on a handle whose
        // immediate successes post nothing: the system is done with the record.
        let record = unsafe { self.reclaim() };
        let finish = match done {
            true => record.finish(),
            false => Finish { code, bytes: 0 },
        };
        Started::Finished(record, finish)
    }

    /// Takes the record back after its packet was seen, with what came of the operation.
    ///
    /// # Safety
    ///
    /// The packet with this record's address was taken off the port.
    pub(super) unsafe fn finished(self) -> (Box<Record>, Finish) {
        // SAFETY: an operation has one packet, and it has come (caller).
        let record = unsafe { self.reclaim() };
        let finish = record.finish();
        (record, finish)
    }

    /// # Safety
    ///
    /// The system no longer reads or writes the record.
    unsafe fn reclaim(self) -> Box<Record> {
        // SAFETY: `lend` leaked this very box; `Lent` is neither `Copy` nor `Clone`, and this one ends
        // here, so nobody else refers to it; the system does not either (caller).
        unsafe { Box::from_raw(self.record.as_ptr()) }
    }
}

/// Records at rest, so that a busy port allocates none.
#[derive(Default)]
pub(super) struct Records {
    #[expect(
        clippy::vec_box,
        reason = "the system knows records by their address, so each keeps its box"
    )]
    spare: Vec<Box<Record>>,
}

impl Records {
    /// An empty record for `operation`.
    pub(super) fn take(&mut self, operation: Key) -> Box<Record> {
        match self.spare.pop() {
            Some(mut record) => {
                record.operation = operation;
                record
            }
            None => Box::new(Record::new(operation)),
        }
    }

    /// Keeps `record` for reuse; what it still owns of ours is dropped.
    pub(super) fn put(&mut self, mut record: Box<Record>) {
        record.socket = None;
        record.lease = None;
        if self.spare.len() < SPARE_MAX {
            self.spare.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Finish, Key, Records, Started};
    use windows_sys::Win32::Foundation::{
        ERROR_ACCESS_DENIED, ERROR_IO_PENDING, ERROR_SUCCESS, STATUS_ACCESS_DENIED,
    };

    const OPERATION: Key = Key {
        index: 3,
        generation: 5,
    };

    /// Goal: what the system writes to the OVERLAPPED is what is reported, and the memory is reused.
    /// Method: write through the address that the system would be given.
    #[test]
    fn a_record_comes_back_with_what_the_system_wrote() {
        let mut records = Records::default();
        let lent = records.take(OPERATION).lend();
        let overlapped = lent.overlapped();
        // SAFETY: the record is alive, and nothing else refers to it: we stand in for the system.
        unsafe { (*overlapped).Internal = STATUS_ACCESS_DENIED.cast_unsigned() as usize };
        // SAFETY: as above.
        unsafe { (*overlapped).InternalHigh = 7 };
        // SAFETY: the writes above were the last ones; the packet has, in effect, come.
        let (record, finish) = unsafe { lent.finished() };
        let expected = Finish {
            code: ERROR_ACCESS_DENIED,
            bytes: 7,
        };
        assert_eq!(finish, expected);
        records.put(record);
        let again = records.take(OPERATION).lend();
        assert_eq!(again.overlapped(), overlapped, "the record is reused");
        // SAFETY: no system was given it.
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
            // SAFETY: no system was given the record: any claim about it is true.
            match unsafe { lent.called(code, skip) } {
                Started::Pending(lent) => {
                    assert!(pending, "code {code}, skip {skip}");
                    // SAFETY: as above.
                    drop(unsafe { lent.finished() });
                }
                Started::Finished(_, finish) => {
                    assert!(!pending, "code {code}, skip {skip}");
                    assert_eq!(finish.code, code);
                }
            }
        }
    }
}
