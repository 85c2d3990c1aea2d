//! Entries in the order of their deadlines, for a few as for a million.
//!
//! What comes first stands in a binary heap that is kept small. What comes after the heap's horizon lies in
//! classes, unsorted: one for each highest bit in which a deadline differs from the horizon, so that all of a
//! class comes before all of the next. To add to a class is to append to a list. Once the heap is empty, or
//! nearly so, the first class moves into it; one that is large is spread over finer classes before. An entry
//! moves a few times, from list to list, where a single large heap would touch memory all over with each step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap of this many entries stays in the nearest cache.
const NEAR_MAX: usize = if cfg!(test) { 4 } else { 512 };

/// With fewer, the heap is filled: who looks at the first entry asks after the second as well.
const NEAR_MIN: usize = 2;

/// How many classes there are: one for each bit of a deadline.
const CLASSES: usize = u64::BITS as usize;

/// A timer's place in the order. The fields' order is the firing order: deadline, then arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Nanoseconds since the base.
    pub(super) deadline: u64,
    /// Unique among the entries: tells whether the slot still holds the timer the entry stands for.
    pub(super) sequence: u32,
    pub(super) slot: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

#[derive(Debug)]
pub(super) struct Queue {
    /// All entries up to the horizon.
    near: BinaryHeap<Reverse<Entry>>,
    /// How large the heap gets before it is looked at whether part of it can move out.
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

    /// The first entry; drops all before it that `keep` is false for.
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

    /// When the entry after the first comes, which has been looked at; dead ones count.
    pub(super) fn second_deadline(&self) -> Option<u64> {
        // In a heap, the second is below the first.
        let below = self.near.as_slice().iter().skip(1).take(2);
        below.map(|Reverse(entry)| entry.deadline).min()
    }

    /// Takes out what [`first`](Queue::first) has returned.
    pub(super) fn pop(&mut self) {
        let popped = self.near.pop();
        debug_assert!(popped.is_some(), "it was looked at before");
        self.len -= usize::from(popped.is_some());
    }

    /// Drops the entries that `keep` is false for, and memory with them.
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

    /// Fills the heap from the first classes, with the entries that `keep` is true for. It asks after many at
    /// once, so that what the answers depend on is fetched from memory side by side, and is there when they fire.
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
            let all = self.near.len() + first.len();
            let kept = first.drain(..).filter(|&entry| keep(entry));
            self.near.extend(kept.map(Reverse));
            self.len -= all - self.near.len();
        }
    }

    /// Has the horizon come nearer, if that moves no more than the heap holds: it has grown large, as it does
    /// when it was filled with the only entry of the next hour.
    fn thin_out(&mut self) {
        let mut entries = std::mem::take(&mut self.near).into_vec();
        let held = entries.len();
        let (_, &mut Reverse(last_near), _) = entries.select_nth_unstable(held - NEAR_MAX);
        let horizon = last_near.deadline;
        if let Some(highest) = (horizon ^ self.horizon).checked_ilog2()
            && self.length_below(highest) <= held
        {
            // From here, all that came before this bit of the old horizon differs in it.
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

    /// How many entries the classes below this one have.
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
        /// Goal: the order is exact for deadlines of every magnitude, whatever is added between.
        /// Method: entries come and go as a sorted set has them; in each step some come, then some go.
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
    fn what_comes_near_is_asked_after_and_dropped_if_it_is_dead() {
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
    fn a_distant_entry_that_came_near_does_not_keep_all_others_in_the_heap() {
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
