//! Memory to receive into, and the receives that hold some before there are bytes.
//!
//! Waiting for bytes and fetching them takes two system calls; receiving with memory takes one. So
//! some receives hold memory before there are bytes: a few of any kind, and busy ones up to a bound
//! in bytes. Idle ones give way to others.

use std::rc::Rc;

use super::traffic::{IDLE_TURNS, SMALL_BYTES, Traffic};
use crate::port::PortOptions;
use crate::port::buffer::{Lease, Pool};
use crate::port::datagram::SpareBatches;
use crate::port::memory::wide_pool;
use crate::port::table::Key;

/// The number of receives, busy or not, that may hold memory in advance.
const EAGER_ANY_MAX: usize = 64;
/// The most bytes of memory that all receives may hold in advance: 1024 buffers of the usual size.
const EAGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The memory for one datagram: more than an IP packet can carry.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// The number of buffers for datagrams kept for reuse.
const DATAGRAM_SPARE_MAX: usize = 32;

/// An eager receive: one that holds memory in advance.
#[derive(Clone, Copy, Debug)]
struct Eager {
    operation: Key,
    since: u64,
    bytes: usize,
}

/// The memory to receive into, and the receives that hold memory in advance.
pub(super) struct ReceiveMemory {
    /// Usual buffers, somewhat larger than the usual size, so that a message of exactly that size
    /// does not fill one.
    pool: Rc<Pool>,
    /// Large buffers, for surges.
    wide: Rc<Pool>,
    /// Small buffers, for handles that receive little.
    small: Rc<Pool>,
    datagram: Rc<Pool>,
    /// Empty lists of received datagrams.
    pub(super) spare_datagrams: Rc<SpareBatches>,
    /// The receives that hold memory in advance; each handle's entry has its index here.
    eager: Vec<Eager>,
    eager_bytes: usize,
    pub(super) eager_bytes_max: usize,
    eager_any_max: usize,
    /// The index of the receive that was last checked for being idle.
    checked: usize,
    pub(super) turns: u64,
}

impl ReceiveMemory {
    pub(super) fn new(options: &PortOptions) -> ReceiveMemory {
        let small_bytes = options.receive_bytes.min(SMALL_BYTES);
        let buffers = usize::from(options.receive_buffers);
        ReceiveMemory {
            pool: Pool::new(
                options
                    .receive_bytes
                    .saturating_add(options.receive_bytes / 16),
                buffers,
            ),
            wide: wide_pool(options),
            small: Pool::new(small_bytes, buffers),
            datagram: Pool::new(DATAGRAM_BYTES, DATAGRAM_SPARE_MAX),
            spare_datagrams: Rc::default(),
            eager: Vec::new(),
            eager_bytes: 0,
            eager_bytes_max: EAGER_BYTES_MAX,
            eager_any_max: buffers.min(EAGER_ANY_MAX),
            checked: 0,
            turns: 0,
        }
    }

    pub(super) fn lease(&self, traffic: Traffic) -> Lease {
        match traffic.wide {
            true => self.wide.lease(),
            false => self.pool.lease(),
        }
    }

    /// Leases memory in advance, if a handle with this traffic may have it.
    pub(super) fn lease_in_advance(&self, traffic: Traffic) -> Option<Lease> {
        let room = self.eager_bytes < self.eager_bytes_max;
        if self.eager.len() >= self.eager_any_max && !(traffic.is_busy() && room) {
            return None;
        }
        Some(match traffic.is_small() {
            true => self.small.lease(),
            false => self.lease(traffic),
        })
    }

    /// Leases memory for one datagram.
    pub(super) fn lease_for_datagram(&self) -> Lease {
        self.datagram.lease()
    }

    /// Registers a receive of datagrams that holds memory for `count` of them, if there is room; returns its index.
    pub(super) fn add_datagrams(&mut self, operation: Key, count: usize) -> Option<usize> {
        let bytes = count * DATAGRAM_BYTES;
        let room = self.eager_bytes_max.saturating_sub(self.eager_bytes);
        (bytes <= room).then(|| self.add_eager(operation, bytes))
    }

    /// Notes that the receive at `index` is not idle.
    pub(super) fn note_busy(&mut self, index: usize) {
        self.eager[index].since = self.turns;
    }

    /// Registers a receive with memory in advance; returns its index.
    pub(super) fn add_eager(&mut self, operation: Key, bytes: usize) -> usize {
        let since = self.turns;
        self.eager_bytes += bytes;
        self.eager.push(Eager {
            operation,
            since,
            bytes,
        });
        self.eager.len() - 1
    }

    /// Removes the receive at `index`; returns the one that is now at that index.
    pub(super) fn remove_eager(&mut self, index: usize) -> Option<Key> {
        self.eager_bytes -= self.eager.swap_remove(index).bytes;
        self.eager.get(index).map(|moved| moved.operation)
    }

    /// Checks the next receive with memory in advance; returns it if it is idle.
    pub(super) fn next_idle(&mut self) -> Option<Key> {
        self.checked = (self.checked + 1) % self.eager.len().max(1);
        let eager = self.eager.get(self.checked)?;
        (eager.since + IDLE_TURNS < self.turns).then_some(eager.operation)
    }

    #[cfg(test)]
    pub(super) fn is_eager(&self, operation: Key) -> bool {
        (self.eager.iter()).any(|eager| eager.operation == operation)
    }
}
