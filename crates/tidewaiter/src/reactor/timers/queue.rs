//! A priority queue of deadlines that is fast for a few entries and for a million.
//!
//! The nearest entries are in a binary heap that is kept small. Entries beyond the heap's horizon are in
//! classes, unsorted: one for each highest bit in which a deadline differs from the horizon, so that all of a
//! class comes before all of the next. Adding to a class appends to a list. Once the heap is empty, or nearly
//! so, the first class moves into it; a large class is first spread over finer ones. An entry thus moves a few
//! times, from list to list. In a single large heap, each step would touch memory all over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap of this many entries fits into the first-level cache.
const NEAR_MAX: usize = if cfg!(test) { 4 } else { 512 };

/// Refills the heap below this many entries: a caller that reads the first entry reads the second as well.
const NEAR_MIN: usize = 2;

/// The number of classes: one for each bit of a deadline.
const CLASSES: usize = u64::BITS as usize;

/// A timer's place in the order. The derived order of the fields is the firing order: by deadline, then by
/// arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// In nanoseconds since the base.
    pub(super) deadline: u64,
    /// Unique among the entries: shows whether the slot still holds the entry's timer.
    pub(super) sequence: u32,
    pub(super) slot: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

#[derive(Debug)]
pub(super) struct Queue {
    /// All entries up to the horizon.
    near: BinaryHeap<Reverse<Entry>>,
    /// Above this length, the heap is checked for entries that can move out.
    near_limit: usize,
    horizon: u64,
    /// All entries beyond the horizon, by class.
    far: [Vec<Entry>; CLASSES],
    /// A bit for each class that is not empty.
    filled: u64,
    len: usize,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            near: BinaryHeap::new(),
            near_limit: 2 * NEAR_MAX,
            horizon: 0,
            far: [const { Vec::new() }; CLASSES],
            filled: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.len += 1;
        self.place(entry);
        if self.near.len() > self.near_limit {
            self.thin_out();
        }
    }

    /// Returns the first entry for which `keep` is true, and drops the entries before it.
    pub(super) fn first(&mut self, keep: impl Fn(Entry) -> bool) -> Option<Entry> {
        loop {
            if self.near.len() < NEAR_MIN && self.filled != 0 {
                self.refill(&keep);
            }
            let Reverse(first) = *self.near.peek()?;
            if keep(first) {
                return Some(first);
            }
            self.pop();
        }
    }

    /// The deadline of the entry after the first, dead or not. Call [`first`](Queue::first) before.
    pub(super) fn second_deadline(&self) -> Option<u64> {
        // The second entry of a heap is one of the first's two children.
        let below = self.near.as_slice().iter().skip(1).take(2);
        below.map(|Reverse(entry)| entry.deadline).min()
    }

    /// Removes the entry that [`first`](Queue::first) returned.
    pub(super) fn pop(&mut self) {
        let popped = self.near.pop();
        debug_assert!(popped.is_some(), "`first` returned it");
        self.len -= usize::from(popped.is_some());
    }

    /// Drops the entries for which `keep` is false, and frees memory.
    pub(super) fn retain(&mut self, keep: impl Fn(Entry) -> bool) {
        self.near.retain(|&Reverse(entry)| keep(entry));
        self.near.shrink_to(2 * self.near.len());
        self.len = self.near.len();
        for (class, entries) in self.far.iter_mut().enumerate() {
            entries.retain(|&entry| keep(entry));
            entries.shrink_to(2 * entries.len());
            self.len += entries.len();
            if entries.is_empty() {
                self.filled &= !(1 << class);
            }
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn capacity(&self) -> usize {
        self.near.capacity() + self.far.iter().map(Vec::capacity).sum::<usize>()
    }

    fn place(&mut self, entry: Entry) {
        if entry.deadline <= self.horizon {
            self.near.push(Reverse(entry));
            return;
        }
        let class = (entry.deadline ^ self.horizon).ilog2();
        self.far[class as usize].push(entry);
        self.filled |= 1 << class;
    }

    /// Fills the heap from the first classes, with the entries for which `keep` is true. Calls `keep` for many
    /// entries in a row, so that the memory it reads is fetched in parallel, and is in the cache when they
    /// fire.
    #[inline(never)]
    fn refill(&mut self, keep: impl Fn(Entry) -> bool) {
        self.near_limit = 2 * NEAR_MAX;
        while self.near.len() < NEAR_MIN && self.filled != 0 {
            let first = &mut self.far[self.filled.trailing_zeros() as usize];
            self.filled &= self.filled - 1;
            let deadlines = first.iter().map(|entry| entry.deadline);
            if first.len() > NEAR_MAX {
                self.horizon = deadlines.min().expect("the class is marked as filled");
                for entry in std::mem::take(first) {
                    self.place(entry);
                }
                continue;
            }
            self.horizon = deadlines.max().expect("the class is marked as filled");
            for &entry in &*first {
                if keep(entry) {
                    self.near.push(Reverse(entry));
                } else {
                    self.len -= 1;
                }
            }
            first.clear();
        }
    }

    /// Moves the horizon nearer when the heap has grown large, for instance because it was filled with the only
    /// entry of the next hour. Does so only if the entries to move are no more than the heap holds.
    fn thin_out(&mut self) {
        let mut entries = std::mem::take(&mut self.near).into_vec();
        let held = entries.len();
        let (_, &mut Reverse(last_near), _) = entries.select_nth_unstable(held - NEAR_MAX);
        let horizon = last_near.deadline;
        if let Some(highest) = (horizon ^ self.horizon).checked_ilog2()
            && self.length_below(highest) <= held
        {
            // The entries of lower classes agree with the old horizon in this bit, and so differ from the new one.
            for class in 0..highest as usize {
                let entries = std::mem::take(&mut self.far[class]);
                self.far[highest as usize].extend(entries);
                self.filled &= !(1 << class);
            }
            if !self.far[highest as usize].is_empty() {
                self.filled |= 1 << highest;
            }
            self.horizon = horizon;
        }
        for Reverse(entry) in entries {
            self.place(entry);
        }
        self.near_limit = 2 * self.near.len().max(NEAR_MAX);
    }

    /// The number of entries in the classes below this one.
    fn length_below(&self, class: u32) -> usize {
        let below = &self.far[..class as usize];
        below.iter().map(Vec::len).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Entry, NEAR_MAX, Queue};
    use proptest::{collection, prelude::any, prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    fn entry(deadline: u64, sequence: u32) -> Entry {
        Entry {
            deadline,
            sequence,
            slot: sequence,
        }
    }

    proptest! {
        /// Goal: the order is exact for deadlines of every magnitude, whatever entries are added in between.
        /// Method: compare with a sorted set; each step adds some entries, then removes some.
        #[test]
        fn entries_come_out_as_from_a_sorted_set(
            steps in collection::vec((collection::vec((any::<u64>(), 0..64_u32), 0..40), 0..40_usize), 0..20),
            dead in any::<u32>(),
        ) {
            let (mut queue, mut expected) = (Queue::new(), BTreeSet::new());
            let mut sequence = 0;
            for (coming, going) in steps {
                for (deadline, magnitude) in coming {
                    let entry = entry(deadline >> magnitude, sequence);
                    queue.push(entry);
                    expected.insert(entry);
                    sequence += 1;
                }
                for _ in 0..going {
                    prop_assert_eq!(queue.first(|_| true), expected.first().copied());
                    if expected.pop_first().is_some() {
                        queue.pop();
                    }
                }
                prop_assert_eq!(queue.len(), expected.len());
            }
            let keep = |entry: Entry| (entry.sequence ^ dead) & 1 == 0;
            queue.retain(keep);
            expected.retain(|&entry| keep(entry));
            prop_assert_eq!(queue.len(), expected.len());
            while let Some(first) = expected.pop_first() {
                prop_assert_eq!(queue.first(|_| true), Some(first));
                queue.pop();
            }
            prop_assert_eq!(queue.first(|_| true), None);
        }
    }

    #[test]
    fn dead_entries_are_dropped_when_they_move_into_the_heap() {
        let mut queue = Queue::new();
        for sequence in 0..100 {
            queue.push(entry(u64::from(sequence) << 8, sequence));
        }
        let odd = |entry: Entry| entry.sequence % 2 == 1;
        for expected in (1..100).step_by(2) {
            assert_eq!(queue.first(odd).map(|entry| entry.sequence), Some(expected));
            queue.pop();
        }
        assert_eq!((queue.first(odd), queue.len()), (None, 0));
    }

    /// Goal: the heap stays small although it was filled with an entry that comes after all others.
    #[test]
    fn a_heap_that_holds_a_distant_entry_is_thinned_out() {
        let mut queue = Queue::new();
        queue.push(entry(1 << 40, 0));
        assert!(queue.first(|_| true).is_some());
        for sequence in 1..1000 {
            queue.push(entry(u64::from(sequence) << 10, sequence));
            assert!(queue.near.len() <= 2 * NEAR_MAX + 1, "{}", queue.near.len());
        }
        for sequence in (1..1000).chain([0]) {
            assert_eq!(
                queue.first(|_| true).map(|entry| entry.sequence),
                Some(sequence)
            );
            queue.pop();
        }
    }
}
