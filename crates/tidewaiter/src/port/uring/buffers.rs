//! The receive buffers: a ring from which the kernel takes one when data arrives.
//!
//! An idle connection therefore holds no buffer, and one pool serves all connections.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::super::PortOptions;
use super::super::buffer::{Buffer, Lender};
use super::refusal::refused;
use super::ring::Ring;
use crate::os::Mapping;

/// The group id by which requests for bytes select the buffers.
pub(super) const GROUP: u16 = 0;

/// The group id by which requests for datagrams select the buffers.
pub(super) const DATAGRAM_GROUP: u16 = 1;

/// The number of buffers for datagrams.
const DATAGRAM_BUFFERS: u16 = 64;

/// The kernel initially has this many buffers to choose from. It cycles through them, so a small
/// number stays in the processor's cache; it gets more as soon as it runs out.
const LISTED_MIN: u16 = 32;

/// The same for datagrams, whose buffers are large: a quarter of a megabyte.
const DATAGRAMS_LISTED_MIN: u16 = 4;

/// One in this many buffers may be held until its data has been sent on, however long that takes.
const SHARED_PART: u16 = 4;

/// The usual page size, so that the buffers share no page with the ring's entries.
const ALIGNMENT: usize = 4096;

// The kernel keeps the tail of the ring in the unused last two bytes of its first entry.
const TAIL_OFFSET: usize = 14;
const _: () = assert!(size_of::<BufRingEntry>() == TAIL_OFFSET + 2);

/// A ring of equal buffers, shared with the kernel.
pub(super) struct BufferRing {
    mapping: Mapping,
    /// Offset of the first buffer, behind the ring's entries.
    buffers_start: usize,
    count: u16,
    bytes: usize,
    tail: Cell<u16>,
    lent: Cell<u16>,
    /// The number of buffers that the kernel has, and the number that it should have.
    listed: Cell<u16>,
    listed_max: Cell<u16>,
    /// The number of owners of each shared buffer, and the number of shared buffers.
    owners: Box<[Cell<u16>]>,
    shared: Cell<u16>,
    /// Buffers that neither the kernel nor the program holds.
    spare: RefCell<Vec<u16>>,
}

impl fmt::Debug for BufferRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lent, listed) = (self.lent.get(), self.listed.get());
        let (count, bytes) = (self.count, self.bytes);
        write!(
            f,
            "BufferRing({lent} of {count} lent, {listed} listed, {bytes} bytes each)"
        )
    }
}

impl BufferRing {
    /// Allocates the buffers and registers them with the kernel.
    pub(super) fn register(ring: &Ring, options: &PortOptions) -> io::Result<Rc<BufferRing>> {
        let buffers = BufferRing::new(options.receive_buffers, LISTED_MIN, options.receive_bytes)?;
        buffers.register_as(ring, GROUP)
    }

    /// Allocates buffers of `bytes` bytes for datagrams, and registers them with the kernel.
    pub(super) fn register_for_datagrams(ring: &Ring, bytes: usize) -> io::Result<Rc<BufferRing>> {
        let buffers = BufferRing::new(DATAGRAM_BUFFERS, DATAGRAMS_LISTED_MIN, bytes)?;
        buffers.register_as(ring, DATAGRAM_GROUP)
    }

    fn register_as(self, ring: &Ring, group: u16) -> io::Result<Rc<BufferRing>> {
        let buffers = self;
        buffers.wipe_in_children(true)?;
        let address = buffers.mapping.start().as_ptr().expose_provenance() as u64;
        let submitter = ring.submitter();
        // SAFETY: the mapping has room for `count` entries at its start. The port keeps it until the
        // ring is gone, and leaks it if the ring cannot be drained.
        unsafe { submitter.register_buf_ring_with_flags(address, buffers.count, group, 0) }
            .map_err(|error| refused("io_uring_register(PBUF_RING)", &error))?;
        Ok(Rc::new(buffers))
    }

    /// Allocates the buffers and lists the first few.
    fn new(count: u16, listed: u16, bytes: usize) -> io::Result<BufferRing> {
        let buffers_start =
            (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(ALIGNMENT);
        let len = usize::from(count)
            .checked_mul(bytes)
            .and_then(|len| len.checked_add(buffers_start))
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let buffers = BufferRing {
            mapping: Mapping::new(len)?,
            buffers_start,
            count,
            bytes,
            tail: Cell::new(0),
            lent: Cell::new(0),
            listed: Cell::new(0),
            listed_max: Cell::new(count.min(listed)),
            owners: vec![Cell::new(0); usize::from(count)].into(),
            shared: Cell::new(0),
            spare: RefCell::new((0..count).rev().collect()),
        };
        buffers.fill_up();
        Ok(buffers)
    }

    /// Sets whether a child made by `fork` finds the buffers zeroed (`wipe`) or with their
    /// contents, for a program that continues in the child. Keep the contents only while the kernel
    /// has no receive in hand.
    pub(super) fn wipe_in_children(&self, wipe: bool) -> io::Result<()> {
        self.mapping.wipe_in_children(wipe)
    }

    /// The size of a buffer in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the program holds every buffer.
    pub(super) fn is_exhausted(&self) -> bool {
        self.lent.get() == self.count
    }

    /// Wraps the buffer `id`, which the kernel filled with `len` bytes, as its completion says.
    pub(super) fn filled(self: &Rc<Self>, id: u16, len: usize) -> Buffer {
        debug_assert!(id < self.count && len <= self.bytes, "{len} bytes in {id}");
        self.listed.set(self.listed.get() - 1);
        self.lent.set(self.lent.get() + 1);
        let lender: Rc<dyn Lender> = Rc::<BufferRing>::clone(self);
        // SAFETY: the kernel took the buffer out of the ring and is done with it, as its completion
        // says; it gets it back from `take_back` alone. A fresh mapping is all zeros: initialised.
        unsafe { Buffer::new(self.address(id), len, u32::from(id), lender) }
    }

    /// Takes back the buffer `id`, which the kernel took but did not use, as its completion says.
    pub(super) fn untaken(&self, id: u16) {
        self.listed.set(self.listed.get() - 1);
        self.give(id);
    }

    /// Lists spare buffers in place of those that are lent. Call it before the kernel receives.
    pub(super) fn fill_up(&self) {
        while self.listed.get() < self.listed_max.get() {
            let Some(id) = self.spare.borrow_mut().pop() else {
                return;
            };
            self.list(id);
        }
    }

    /// Reacts to the kernel having run out of buffers; returns whether it has some now. If there
    /// are still none, the kernel gets more of them from now on.
    pub(super) fn replenish(&self) -> bool {
        if self.listed.get() == 0 {
            self.list_more();
        }
        self.listed.get() > 0
    }

    /// The number of buffers that the kernel should have.
    pub(super) fn listed_max(&self) -> u16 {
        self.listed_max.get()
    }

    /// Gives the kernel twice as many buffers from now on.
    pub(super) fn list_more(&self) {
        let more = self.listed_max.get().saturating_mul(2).min(self.count);
        self.listed_max.set(more);
        self.fill_up();
    }

    fn give(&self, id: u16) {
        if self.listed.get() < self.listed_max.get() {
            self.list(id);
        } else {
            self.spare.borrow_mut().push(id);
        }
    }

    /// Puts the buffer `id` into the ring.
    fn list(&self, id: u16) {
        self.listed.set(self.listed.get() + 1);
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        let entry = self.mapping.at(index * size_of::<BufRingEntry>());
        // SAFETY: the entry is within the ring, and the kernel does not look at it before the tail
        // has moved past it. The tail itself, which shares the first entry, is left alone.
        let entry = unsafe { entry.cast::<BufRingEntry>().as_mut() };
        entry.set_addr(self.address(id).as_ptr().expose_provenance() as u64);
        entry.set_len(u32::try_from(self.bytes).expect("`open` checked the options"));
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        let shared = self.mapping.at(TAIL_OFFSET).cast();
        // SAFETY: the tail is two aligned bytes within the mapping; we and the kernel use it as an
        // atomic alone.
        let shared = unsafe { AtomicU16::from_ptr(shared.as_ptr()) };
        // Release: the kernel sees the entry before it sees that there is one.
        shared.store(self.tail.get(), Ordering::Release);
    }

    fn address(&self, id: u16) -> NonNull<u8> {
        self.mapping
            .at(self.buffers_start + usize::from(id) * self.bytes)
    }
}

impl Lender for BufferRing {
    fn take_back(&self, id: u32, _memory: NonNull<u8>) {
        let id = u16::try_from(id).expect("buffers are numbered by 16 bits");
        let owners = &self.owners[usize::from(id)];
        if owners.get() > 1 {
            owners.set(owners.get() - 1);
            return;
        }
        if owners.take() == 1 {
            self.shared.set(self.shared.get() - 1);
        }
        self.lent.set(self.lent.get() - 1);
        self.give(id);
    }

    fn lend_again(&self, id: u32, _memory: NonNull<u8>) -> bool {
        let owners = &self.owners[id as usize];
        match owners.get() {
            0 if self.shared.get() < self.count / SHARED_PART => {
                self.shared.set(self.shared.get() + 1);
                owners.set(2);
                true
            }
            0 | u16::MAX => false,
            more => {
                owners.set(more + 1);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AtomicU16, BufRingEntry, BufferRing, LISTED_MIN, Mapping, Ordering, PortOptions, Rc,
        TAIL_OFFSET,
    };

    /// The kernel's view of the ring: the address at which it was registered, and the kernel's
    /// position in it.
    struct Kernel {
        ring: *mut BufRingEntry,
        count: u16,
        head: u16,
    }

    impl Kernel {
        fn of(mapping: &Mapping, count: u16) -> Kernel {
            let address = mapping.start().as_ptr().expose_provenance();
            let ring = std::ptr::with_exposed_provenance_mut(address);
            Kernel {
                ring,
                count,
                head: 0,
            }
        }

        fn tail(&self) -> u16 {
            let tail = self.ring.cast::<u8>().wrapping_add(TAIL_OFFSET).cast();
            // SAFETY: the mapping is alive, and both sides use the tail as an atomic alone.
            unsafe { AtomicU16::from_ptr(tail) }.load(Ordering::Acquire)
        }

        /// Takes the next buffer, and fills it with what was received.
        fn receive(&mut self, data: &[u8]) -> u16 {
            assert_ne!(self.head, self.tail(), "there is a buffer");
            let place = usize::from(self.head & (self.count - 1));
            // SAFETY: the tail is past this entry, so it is written, and ours until it comes again.
            let entry = unsafe { &*self.ring.wrapping_add(place) };
            assert!(data.len() <= entry.len() as usize, "it fits");
            let address = usize::try_from(entry.addr()).expect("addresses are words");
            let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: the buffer was given to the kernel, that is to us, and has room for this.
            unsafe { memory.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
            self.head = self.head.wrapping_add(1);
            entry.bid()
        }
    }

    /// Returns a ring of `count` buffers of 8 bytes each, and a stand-in for the kernel.
    fn ring_of(count: u16) -> (Rc<BufferRing>, Kernel) {
        let options = PortOptions {
            receive_buffers: count,
            receive_bytes: 8,
            ..PortOptions::default()
        };
        let ring = Rc::new(
            BufferRing::new(options.receive_buffers, LISTED_MIN, options.receive_bytes)
                .expect("there is memory"),
        );
        let kernel = Kernel::of(&ring.mapping, ring.count);
        (ring, kernel)
    }

    /// Goal: the program reads what the kernel wrote while the kernel writes to other buffers, and
    /// dropped buffers return to the kernel.
    /// Miri checks every access.
    /// Method: stand in for the kernel, which knows only the ring's address.
    #[test]
    fn buffers_go_to_the_kernel_and_come_back_with_what_it_wrote() {
        let (ring, mut kernel) = ring_of(4);
        let mut kept = Vec::new();
        for round in 0..10 {
            let id = kernel.receive(&[round; 5]);
            kept.push(ring.filled(id, 5));
            if kept.len() == 3 {
                assert_eq!(*kept[0], [0; 5]);
                assert_eq!(*kept[2], [round; 5]);
                kept.remove(1);
                let unused = kernel.receive(b"nothing");
                ring.untaken(unused);
            }
        }
        assert_eq!((kept.len(), ring.lent.get()), (2, 2));
        assert_eq!(kernel.tail().wrapping_sub(kernel.head), 2);
        drop(kept);
        assert_eq!(kernel.tail().wrapping_sub(kernel.head), 4);
    }

    /// Goal: the kernel cycles through few buffers as long as these are enough, and otherwise gets
    /// more, up to all of them.
    #[test]
    fn few_buffers_are_in_use_until_more_are_needed() {
        let options = PortOptions {
            receive_buffers: 4 * LISTED_MIN,
            receive_bytes: 8,
            ..PortOptions::default()
        };
        let ring = Rc::new(
            BufferRing::new(options.receive_buffers, LISTED_MIN, options.receive_bytes)
                .expect("there is memory"),
        );
        let mut kernel = Kernel::of(&ring.mapping, ring.count);
        for _ in 0..10 * LISTED_MIN {
            let id = kernel.receive(b"short");
            assert!(id < LISTED_MIN, "{id} is one of the first");
            drop(ring.filled(id, 5));
            ring.fill_up();
        }
        let mut kept = Vec::new();
        for more in [true, true, false] {
            assert!(ring.replenish(), "there are some already");
            while kernel.head != kernel.tail() {
                kept.push(ring.filled(kernel.receive(b"kept"), 4));
            }
            assert_eq!(ring.replenish(), more, "{ring:?}");
        }
        assert_eq!(kept.len(), 4 * usize::from(LISTED_MIN));
        assert!(ring.is_exhausted());
        drop(kept);
        assert_eq!(kernel.tail().wrapping_sub(kernel.head), ring.count);
    }

    /// Goal: a shared part of a buffer keeps its bytes from the kernel until both owners are
    /// dropped, in either order; at most a quarter of the buffers is kept this way.
    /// Miri checks every access.
    #[test]
    fn a_shared_buffer_comes_back_when_its_last_owner_is_dropped() {
        let (ring, mut kernel) = ring_of(4);
        for _ in 0..10 {
            let first = ring.filled(kernel.receive(b"received"), 8);
            let part = first.share(&first[2..5]).expect("it is a part");
            let again = part.share(&part[1..]).expect("so is this");
            assert!(part.share(&first).is_none(), "it has no such part");
            let second = ring.filled(kernel.receive(b"second"), 6);
            assert!(second.share(&first[..1]).is_none(), "it has no such part");
            assert!(second.share(&second).is_none(), "one of four is kept");
            drop((first, second));
            assert_eq!((&*part, &*again), (&b"cei"[..], &b"ei"[..]));
            drop(part);
            assert_eq!(ring.lent.get(), 1);
            let other = ring.filled(kernel.receive(b"other"), 5);
            assert_eq!((&*again, &*other), (&b"ei"[..], &b"other"[..]));
            drop(again);
            assert!(other.share(&other).is_some(), "none was kept any more");
        }
        assert_eq!((ring.lent.get(), ring.shared.get()), (0, 0));
        assert_eq!(kernel.tail().wrapping_sub(kernel.head), 4);
    }

    #[test]
    fn when_the_program_holds_every_buffer_the_kernel_has_none() {
        let (ring, mut kernel) = ring_of(2);
        let kept = [b"one", b"two"].map(|data| {
            assert!(!ring.is_exhausted());
            ring.filled(kernel.receive(data), data.len())
        });
        assert!(ring.is_exhausted());
        assert_eq!(kernel.head, kernel.tail());
        // The buffers outlive the ring's other owner; the last of them frees the memory.
        drop(ring);
        assert_eq!(*kept[0], *b"one");
        drop(kept);
    }
}
