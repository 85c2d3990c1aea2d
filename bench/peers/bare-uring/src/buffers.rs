//! The ring of receive buffers.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

pub(crate) const GROUP: u16 = 0;

/// Total size of all buffers.
const BUFFERS_BYTES: usize = 4 * 1024 * 1024;
/// Space for the entries of the ring: one page.
const ENTRIES_BYTES: usize = 4096;
/// The kernel keeps the tail of the ring in the last two bytes of its first entry.
const TAIL_OFFSET: usize = 14;

pub(crate) struct Buffers {
    /// The entries, followed by the buffers.
    start: NonNull<u8>,
    bytes: u32,
    count: u16,
    tail: u16,
    /// Number of buffers that the kernel has filled and we have not given back.
    taken: u16,
}

impl Buffers {
    /// Makes buffers of `bytes` bytes, and gives all of them to the kernel. They live as long as the process.
    pub(crate) fn register(ring: &IoUring, bytes: usize) -> io::Result<Buffers> {
        let count = BUFFERS_BYTES / bytes;
        assert!(count.is_power_of_two() && count * size_of::<BufRingEntry>() <= ENTRIES_BYTES);
        let count = u16::try_from(count).expect("they fit into a page");
        let len = ENTRIES_BYTES + BUFFERS_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping does not touch existing memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("a mapping is never at zero");
        // SAFETY: the mapping is page-aligned, has room for the entries, and is never unmapped.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                start.as_ptr() as u64,
                count,
                GROUP,
                0,
            )?;
        }
        let mut buffers = Buffers {
            start,
            bytes: u32::try_from(bytes).expect("it is less than the total size"),
            count,
            tail: 0,
            taken: count,
        };
        for id in 0..count {
            buffers.give(id);
        }
        Ok(buffers)
    }

    /// The address of the buffer `id`.
    pub(crate) fn address(&self, id: u16) -> *mut u8 {
        let offset = ENTRIES_BYTES + usize::from(id) * self.bytes as usize;
        debug_assert!(id < self.count);
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Notes that the kernel has filled a buffer.
    pub(crate) fn take(&mut self) {
        self.taken += 1;
    }

    /// Whether the kernel has no buffer left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.taken == self.count
    }

    /// Gives the buffer `id` to the kernel.
    pub(crate) fn give(&mut self, id: u16) {
        self.taken -= 1;
        let place = usize::from(self.tail % self.count);
        let entry: *mut BufRingEntry = self.start.as_ptr().cast();
        // SAFETY: the entry is within the mapping, and the kernel does not read it before the tail has passed it.
        let entry = unsafe { &mut *entry.wrapping_add(place) };
        entry.set_addr(self.address(id) as u64);
        entry.set_len(self.bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        let tail = self.start.as_ptr().wrapping_add(TAIL_OFFSET).cast();
        // SAFETY: the tail is two aligned bytes within the mapping, and is only used as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // Release: the kernel must see the entry before it sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }
}
