//! Received bytes, in memory lent by a port.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// The owner of a [`Buffer`]'s memory, which lends it out and takes it back.
pub(crate) trait Lender {
    /// Takes back the memory lent as `id`; `memory` is the pointer that it was lent with.
    fn take_back(&self, id: u32, memory: NonNull<u8>);

    /// Adds an owner to the memory lent as `id`, if the lender can spare it for longer; returns
    /// whether it did. The memory stays lent until each owner has given it back; `memory`, and what
    /// a later owner gives back, may be any address within it.
    fn lend_again(&self, id: u32, memory: NonNull<u8>) -> bool;
}

/// Received bytes. Dropping the buffer gives its memory back to the port.
///
/// A port has a limited number of receive buffers. While a program keeps many of them, the port receives
/// into newly allocated memory: copy bytes that you keep for long. A buffer may outlive its port.
///
/// ```
/// use tidewaiter::port::{Buffer, Outcome};
///
/// /// The text that arrived, if it is one.
/// fn text(outcome: Outcome) -> Option<String> {
///     let Outcome::Received(bytes) = outcome else {
///         return None;
///     };
///     let bytes: Buffer = bytes;
///     std::str::from_utf8(&bytes).ok().map(str::to_owned)
/// }
/// ```
pub struct Buffer {
    memory: NonNull<u8>,
    len: usize,
    id: u32,
    lender: Rc<dyn Lender>,
}

impl Buffer {
    /// Wraps `len` received bytes at `memory`, to be given back to `lender` as `id`.
    ///
    /// # Safety
    ///
    /// Until `lender.take_back(id, memory)` is called, the `len` bytes at `memory` are initialised
    /// and nothing writes to them.
    #[expect(unsafe_code, reason = "the only way to make a buffer")]
    pub(crate) unsafe fn new(
        memory: NonNull<u8>,
        len: usize,
        id: u32,
        lender: Rc<dyn Lender>,
    ) -> Buffer {
        Buffer {
            memory,
            len,
            id,
            lender,
        }
    }

    /// Returns another owner of `part`, if `part` lies within these bytes and the port can spare
    /// the memory for longer.
    #[expect(unsafe_code, reason = "the other way to make a buffer")]
    pub(crate) fn share(&self, part: &[u8]) -> Option<Buffer> {
        let (all, range) = (self.as_ptr_range(), part.as_ptr_range());
        let within = all.start <= range.start && range.end <= all.end;
        let address = NonZero::new(range.start.addr()).filter(|_| within)?;
        if !self.lender.lend_again(self.id, self.memory) {
            return None;
        }
        let memory = self.memory.with_addr(address);
        // SAFETY: the part lies within our bytes, which are initialised, and the lender lets
        // nothing write to them before all their owners have given them back.
        Some(unsafe { Buffer::new(memory, part.len(), self.id, Rc::clone(&self.lender)) })
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        let len = bytes.len();
        let pool = Pool::new(len, 0);
        pool.lend(bytes.into_boxed_slice()).filled(len)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[expect(unsafe_code, reason = "the only way to read a buffer")]
    fn deref(&self) -> &[u8] {
        // SAFETY: `Buffer::new`'s caller promised `len` initialised bytes that nothing writes to
        // until `take_back`, which only `drop` calls.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.lender.take_back(self.id, self.memory);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// A pool of equal buffers, for ports whose OS keeps none.
pub(crate) struct Pool {
    capacity: usize,
    spare_max: usize,
    spare: RefCell<Vec<Box<[u8]>>>,
    shared: RefCell<Vec<Shared>>,
    /// Whether any is shared. Most often none is, and its return then costs nothing more.
    sharing: Cell<bool>,
}

/// Memory with several owners.
struct Shared {
    /// The pointer that it was first lent with.
    memory: NonNull<u8>,
    owners: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spare = self.spare.borrow().len();
        write!(f, "Pool({} bytes each, {spare} spare)", self.capacity)
    }
}

impl Pool {
    /// Creates a pool of buffers of `capacity` bytes that keeps up to `spare_max` of them for
    /// reuse.
    pub(crate) fn new(capacity: usize, spare_max: usize) -> Rc<Pool> {
        Rc::new(Pool {
            capacity,
            spare_max,
            spare: RefCell::new(Vec::new()),
            shared: RefCell::new(Vec::new()),
            sharing: Cell::new(false),
        })
    }

    /// The size of each buffer in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Leases memory to receive into.
    pub(crate) fn lease(self: &Rc<Self>) -> Lease {
        let spare = self.spare.borrow_mut().pop();
        self.lend(spare.unwrap_or_else(|| vec![0; self.capacity].into_boxed_slice()))
    }

    /// Lends memory of exactly the pool's capacity.
    fn lend(self: &Rc<Self>, memory: Box<[u8]>) -> Lease {
        let memory = NonNull::from(Box::leak(memory)).cast();
        Lease {
            memory,
            pool: Rc::clone(self),
        }
    }

    /// The place of shared memory, by an address within it.
    fn place(&self, shared: &[Shared], memory: NonNull<u8>) -> Option<usize> {
        let offset = |one: &Shared| memory.addr().get().wrapping_sub(one.memory.addr().get());
        shared.iter().position(|one| offset(one) < self.capacity)
    }

    /// Takes an owner off the memory. Returns the pointer that it was lent with if that was the last one.
    #[cold]
    fn release(&self, memory: NonNull<u8>) -> Option<NonNull<u8>> {
        let mut shared = self.shared.borrow_mut();
        let Some(place) = self.place(&shared, memory) else {
            return Some(memory);
        };
        shared[place].owners -= 1;
        if shared[place].owners > 0 {
            return None;
        }
        let first = shared.swap_remove(place).memory;
        self.sharing.set(!shared.is_empty());
        Some(first)
    }

    fn keep(&self, memory: Box<[u8]>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < self.spare_max {
            spare.push(memory);
        }
    }
}

impl Lender for Pool {
    #[expect(unsafe_code, reason = "takes back what `Pool::lease` leaked")]
    fn take_back(&self, _id: u32, memory: NonNull<u8>) {
        let memory = match self.sharing.get() {
            true => match self.release(memory) {
                Some(memory) => memory,
                None => return,
            },
            false => memory,
        };
        let memory = NonNull::slice_from_raw_parts(memory, self.capacity);
        // SAFETY: `Pool::lease` leaked a box of exactly `capacity` bytes at this address, and the
        // lease or the last buffer that held it is being dropped.
        self.keep(unsafe { Box::from_raw(memory.as_ptr()) });
    }

    /// Spares as many as are kept for reuse, so that sharing does not lead to new allocations.
    fn lend_again(&self, _id: u32, memory: NonNull<u8>) -> bool {
        let mut shared = self.shared.borrow_mut();
        if let Some(place) = self.place(&shared, memory) {
            shared[place].owners += 1;
            return true;
        }
        let spares = shared.len() < self.spare_max;
        if spares {
            shared.push(Shared { memory, owners: 2 });
            self.sharing.set(true);
        }
        spares
    }
}

/// Writable memory from a [`Pool`]: an operation holds it while the OS fills it.
///
/// Stored as a raw pointer, because moving a `Box` would assert unique access to memory that the OS
/// writes to.
pub(crate) struct Lease {
    memory: NonNull<u8>,
    pool: Rc<Pool>,
}

impl Lease {
    /// The address of the memory. It stays the same until the lease is dropped or filled, even if
    /// the lease moves.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.memory
    }

    /// The number of bytes that can be written.
    pub(crate) fn capacity(&self) -> usize {
        self.pool.capacity()
    }

    /// The memory, to receive into directly. Do not call it while the OS has the address.
    #[expect(unsafe_code, reason = "the only way to write to a lease")]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `Pool::lease` leaked a box of `capacity` initialised bytes at this address, and
        // only `self`, borrowed mutably, knows it.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().as_ptr(), self.capacity()) }
    }

    /// Turns the first `len` bytes into a readable buffer.
    #[expect(unsafe_code, reason = "hands the memory over to the buffer")]
    pub(crate) fn filled(self, len: usize) -> Buffer {
        assert!(
            len <= self.pool.capacity,
            "{len} bytes do not fit into {}",
            self.pool.capacity
        );
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so its share of the pool moves out exactly
        // once.
        let pool = unsafe { std::ptr::read(&raw mut this.pool) };
        // SAFETY: the memory has at least `len` initialised bytes (pools zero theirs), and the
        // lease, which alone knew its address, ends here without giving it back.
        unsafe { Buffer::new(this.memory, len, 0, pool) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.take_back(0, self.memory);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.pool.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn memory_is_reused_and_survives_its_lease() {
        let pool = Pool::new(8, 2);
        let mut lease = pool.lease();
        lease.as_mut_slice()[..3].copy_from_slice(b"abc");
        let buffer = lease.filled(3);
        let address = buffer.as_ptr();
        assert_eq!(&*buffer, b"abc");
        drop(buffer);
        let again = pool.lease().filled(0);
        assert_eq!(again.as_ptr(), address, "the pool hands out what came back");
        drop(pool);
        drop(again);
    }

    /// Goal: a buffer holds the bytes that the OS wrote into its lease, however the lease moved
    /// meanwhile.
    /// Miri checks every access.
    /// Method: write through the address that the OS would get.
    #[test]
    #[expect(unsafe_code, reason = "stands in for the OS")]
    fn what_the_os_wrote_into_a_lease_is_in_the_buffer() {
        let pool = Pool::new(8, 2);
        let lease = pool.lease();
        let memory = lease.as_ptr();
        let other = pool.lease();
        let mut moved = vec![lease];
        moved.push(other);
        // SAFETY: the memory is leased and has eight bytes; only this test, as the OS, touches it.
        unsafe { memory.write_bytes(7, 5) };
        let buffer = moved.swap_remove(0).filled(5);
        assert_eq!(*buffer, [7; 5]);
        drop((buffer, moved));
        assert_eq!(pool.spare.borrow().len(), 2);
    }

    /// Goal: shared memory goes back once, and only when its last owner is dropped, in any order.
    /// Miri checks every access.
    #[test]
    fn shared_memory_goes_back_with_its_last_owner() {
        let pool = Pool::new(8, 1);
        for order in [[0, 0, 0], [2, 1, 0], [1, 0, 0], [1, 1, 0]] {
            let mut lease = pool.lease();
            lease.as_mut_slice().copy_from_slice(b"abcdefgh");
            let all = lease.filled(8);
            let address = all.as_ptr();
            let part = all.share(&all[2..]).expect("the pool spares one");
            let again = part.share(&part[..3]).expect("the same one");
            let other = pool.lease().filled(8);
            assert!(other.share(&other).is_none(), "the pool spares no other");
            drop(other);
            pool.spare.borrow_mut().clear();
            assert_eq!((&*part, &*again), (&b"cdefgh"[..], &b"cde"[..]));
            let mut owners = vec![all, part, again];
            for at in order {
                assert!(pool.spare.borrow().is_empty(), "there is an owner left");
                drop(owners.remove(at));
            }
            assert_eq!(pool.lease().as_ptr().as_ptr().cast_const(), address);
            assert!(pool.shared.borrow().is_empty());
        }
    }

    #[test]
    fn a_dropped_lease_goes_back_to_the_pool() {
        let pool = Pool::new(8, 1);
        drop(pool.lease());
        drop((pool.lease(), pool.lease()));
        assert_eq!(
            pool.spare.borrow().len(),
            1,
            "no more than `spare_max` are kept"
        );
    }
}
