//! The completion port itself: creating it, associating handles, posting, and dequeuing packets in
//! batches.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::port::BATCH_MAX;
use crate::port::table::Key;
use crate::port::waker::Notify;

/// The completion key of wake-ups; no handle's key is zero.
const KEY_WAKE: usize = 0;
/// The completion key of polls of sockets; every handle's key has a generation, in its upper half.
const KEY_POLL: usize = 1;
/// The completion key of waits for instances of named pipes.
const KEY_VACANCY: usize = 2;
/// The completion key of reads of changes in directories.
const KEY_CHANGES: usize = 3;
/// The completion key of waits; no handle's key has all bits set.
const KEY_WAIT: usize = usize::MAX;
/// This bit marks the completion keys of jobs. The rest is the key of the process; no handle's key has the bit,
/// because fewer handles than that fit into memory.
const KEY_JOB: usize = 1 << 31;

const _: () = assert!(
    size_of::<usize>() == size_of::<u64>(),
    "completion keys carry a generation, which takes 64 bits"
);

/// The number of attempts to post a packet.
const POST_ATTEMPTS: u32 = 16;

/// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`, in the type of its function's parameter.
const SKIP_ON_SUCCESS: u8 = 1;

/// The meaning of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A waker was used.
    Wake,
    /// The object of `operation`'s wait is signalled.
    Wait { operation: Key },
    /// The poll of `operation`'s socket has ended.
    Poll { operation: Key },
    /// A wait for an instance of a named pipe has ended. The pointer is only compared, as below.
    Vacancy { overlapped: *mut OVERLAPPED },
    /// The read of changes in a directory with this address has ended. The pointer is only compared.
    Changes { overlapped: *mut OVERLAPPED },
    /// A process has joined or left the job of this child.
    Job { process: Key },
    /// An operation on a handle has ended. The pointer is only compared, never followed: its record
    /// is ours only if the handle has lent a record at this address.
    Io {
        handle: Key,
        overlapped: *mut OVERLAPPED,
    },
}

impl Packet {
    fn from_entry(entry: &OVERLAPPED_ENTRY) -> Packet {
        match entry.lpCompletionKey {
            KEY_WAKE => Packet::Wake,
            KEY_WAIT => Packet::Wait {
                operation: Key::from_u64(entry.lpOverlapped.addr() as u64),
            },
            KEY_POLL => Packet::Poll {
                operation: Key::from_u64(entry.lpOverlapped.addr() as u64),
            },
            KEY_VACANCY => Packet::Vacancy {
                overlapped: entry.lpOverlapped,
            },
            KEY_CHANGES => Packet::Changes {
                overlapped: entry.lpOverlapped,
            },
            key if key & KEY_JOB != 0 => Packet::Job {
                process: Key::from_u64((key & !KEY_JOB) as u64),
            },
            key => Packet::Io {
                handle: Key::from_u64(key as u64),
                overlapped: entry.lpOverlapped,
            },
        }
    }
}

/// The word that an operation's packets carry, for the calls that post them.
#[expect(clippy::cast_possible_truncation, reason = "words have 64 bits here")]
pub(super) const fn word(key: Key) -> usize {
    key.to_u64() as usize
}

/// The completion key of the job of the child behind the handle `process`.
pub(super) const fn job_key(process: Key) -> usize {
    word(process) | KEY_JOB
}

/// A completion port, shared with wakers and waits on other threads. These may outlive the driver;
/// their packets then have no effect.
#[derive(Debug)]
pub(super) struct Queue {
    handle: OwnedHandle,
    /// A wake-up could not be posted.
    missed: AtomicBool,
}

impl Queue {
    pub(super) fn create() -> io::Result<Arc<Queue>> {
        // SAFETY: the call gets no pointers, and no handle but the constant that requests a new
        // port.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call created this handle just now, and nothing else owns it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(Arc::new(Queue {
            handle,
            missed: AtomicBool::new(false),
        }))
    }

    pub(super) fn as_raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Makes the operations on `handle` end with packets that carry `key`.
    pub(super) fn associate(&self, handle: HANDLE, key: Key) -> io::Result<()> {
        self.associate_word(handle, word(key))
    }

    /// Makes the polls on `device` end with their own packets.
    pub(super) fn associate_polls(&self, device: HANDLE) -> io::Result<()> {
        self.associate_word(device, KEY_POLL)
    }

    /// Makes the waits for instances of named pipes, on the pipes' file system, end with their own packets.
    pub(super) fn associate_vacancies(&self, file_system: HANDLE) -> io::Result<()> {
        self.associate_word(file_system, KEY_VACANCY)
    }

    /// Makes the reads of changes in `directory` end with their own packets.
    pub(super) fn associate_changes(&self, directory: HANDLE) -> io::Result<()> {
        self.associate_word(directory, KEY_CHANGES)
    }

    fn associate_word(&self, handle: HANDLE, key: usize) -> io::Result<()> {
        // SAFETY: both handles are open: the port owns the one, the caller the other.
        let port = unsafe { CreateIoCompletionPort(handle, self.as_raw(), key, 0) };
        if !port.is_null() {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::InvalidInput {
            return Err(error);
        }
        let message =
            "the handle was not opened for overlapped I/O, or belongs to another completion port";
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// Posts that the object of `operation`'s wait is signalled.
    pub(super) fn post_wait(&self, operation: Key) -> io::Result<()> {
        self.post(KEY_WAIT, ptr::without_provenance(word(operation)))
    }

    /// Posts that it is time to ask for the end of the tree of the child behind the handle `process`, as its job does.
    pub(super) fn post_job(&self, process: Key) -> io::Result<()> {
        self.post(job_key(process), ptr::null())
    }

    /// Whether posting a wake-up has failed since the last call.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed) && self.missed.swap(false, Ordering::Acquire)
    }

    /// Posts a packet. Fails only if the kernel lacks nonpaged memory through all attempts.
    fn post(&self, key: usize, overlapped: *const OVERLAPPED) -> io::Result<()> {
        let mut attempts = POST_ATTEMPTS;
        loop {
            attempts -= 1;
            // SAFETY: the port is open; Windows passes the pointer through without following it.
            let posted = unsafe { PostQueuedCompletionStatus(self.as_raw(), 0, key, overlapped) };
            if posted != 0 {
                return Ok(());
            }
            if attempts == 0 {
                return Err(io::Error::last_os_error());
            }
            std::thread::yield_now();
        }
    }
}

impl AsHandle for Queue {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

/// The completion key and value with which the kernel posts a wait's packet.
pub(super) fn wait_words(operation: Key) -> (usize, usize) {
    (KEY_WAIT, word(operation))
}

/// The context with which Windows posts the packet of a poll of `operation`'s socket.
pub(super) fn poll_context(operation: Key) -> *const c_void {
    ptr::without_provenance(word(operation))
}

/// Makes operations on `handle` that succeed at once post no packet.
///
/// Only for handles of Windows's own provider: others may post one anyway. The setting is
/// permanent, so it does not matter whether others share the handle.
pub(super) fn skip_on_success(handle: HANDLE) -> bool {
    // SAFETY: the caller owns the handle, which is open.
    let set = unsafe { SetFileCompletionNotificationModes(handle, SKIP_ON_SUCCESS) };
    set != 0
}

/// Posts the waker's packets.
pub(super) struct QueueNotify(pub(super) Arc<Queue>);

impl Notify for QueueNotify {
    fn notify(&self) -> bool {
        let posted = self.0.post(KEY_WAKE, ptr::null()).is_ok();
        if !posted {
            // Without memory, no packet can end the current wait; the next one returns at once.
            self.0.missed.store(true, Ordering::Release);
        }
        posted
    }
}

/// Room for one batch of packets, reused for every wait.
pub(super) struct Batch {
    entries: Box<[OVERLAPPED_ENTRY; BATCH_MAX]>,
    /// The number of consecutive turns that had enough other work and dequeued nothing.
    pub(super) skipped_turns: u32,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            entries: Box::new([OVERLAPPED_ENTRY::default(); BATCH_MAX]),
            skipped_turns: 0,
        }
    }

    /// Dequeues up to `limit` packets from `queue`, waiting up to `milliseconds` for the first.
    /// Returns their number: they are at the front.
    pub(super) fn fill(
        &mut self,
        queue: &Queue,
        limit: usize,
        milliseconds: u32,
    ) -> io::Result<usize> {
        let limit = u32::try_from(limit.clamp(1, BATCH_MAX)).expect("batches are small");
        let mut count = 0;
        // SAFETY: there is room for `BATCH_MAX` entries, `limit` does not exceed it, and nothing
        // else uses them during the call.
        let taken = unsafe {
            GetQueuedCompletionStatusEx(
                queue.as_raw(),
                self.entries.as_mut_ptr(),
                limit,
                &raw mut count,
                milliseconds,
                0,
            )
        };
        if taken != 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(WAIT_TIMEOUT.cast_signed()) {
            return Ok(0);
        }
        Err(error)
    }

    /// The packet at `index` of the last [`fill`](Batch::fill).
    pub(super) fn packet(&self, index: usize) -> Packet {
        Packet::from_entry(&self.entries[index])
    }
}

/// Converts a timeout to milliseconds, rounded up and capped at the largest finite value: the
/// caller waits again for the rest. `None` means without limit.
pub(super) fn milliseconds(timeout: Option<Duration>) -> u32 {
    let Some(timeout) = timeout else {
        return INFINITE;
    };
    let rounded = timeout.as_nanos().div_ceil(1_000_000);
    u32::try_from(rounded).map_or(INFINITE - 1, |short| short.min(INFINITE - 1))
}

#[cfg(test)]
impl Queue {
    /// Returns a queue to which posting fails, as it does when the kernel has no memory for
    /// packets.
    pub(super) fn refusing() -> Arc<Queue> {
        let file = std::fs::File::open(std::env::current_exe().expect("we are a program"));
        Arc::new(Queue {
            handle: file.expect("it can be read").into(),
            missed: AtomicBool::new(false),
        })
    }

    /// Acts as if a wake-up could not be posted.
    pub(super) fn miss(&self) {
        self.missed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        INFINITE, KEY_POLL, KEY_WAIT, KEY_WAKE, Key, Notify, OVERLAPPED_ENTRY, Packet, Queue,
        QueueNotify, job_key, milliseconds, word,
    };
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_wake_up_that_cannot_be_posted_is_noted() {
        let queue = Queue::refusing();
        assert!(!QueueNotify(Arc::clone(&queue)).notify());
        assert!(queue.take_missed());
        assert!(!queue.take_missed(), "once");
    }

    #[test]
    fn waits_are_rounded_up_and_never_taken_for_ever() {
        assert_eq!(milliseconds(None), INFINITE);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(1001))), 2);
        let days = Duration::from_secs(50 * 24 * 3600);
        assert_eq!(milliseconds(Some(days)), INFINITE - 1);
        assert_eq!(milliseconds(Some(Duration::MAX)), INFINITE - 1);
    }

    #[test]
    fn no_handle_has_the_key_of_a_wake_up_or_a_wait() {
        let least = Key {
            index: 0,
            generation: 1,
        };
        let most = Key {
            index: u32::MAX - 1,
            generation: u32::MAX,
        };
        assert!(word(least) > KEY_WAKE && word(least) > KEY_POLL && word(most) < KEY_WAIT);
    }

    #[test]
    fn a_jobs_packet_names_its_process() {
        for generation in [1, u32::MAX] {
            let process = Key {
                index: 5,
                generation,
            };
            let entry = OVERLAPPED_ENTRY {
                lpCompletionKey: job_key(process),
                ..OVERLAPPED_ENTRY::default()
            };
            assert_eq!(Packet::from_entry(&entry), Packet::Job { process });
        }
    }
}
