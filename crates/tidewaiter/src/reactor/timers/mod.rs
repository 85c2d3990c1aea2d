//! Timers: deadlines with a value each. Time is an argument: nothing here reads a clock.
//!
//! A queue of 16-byte entries gives the order; the values are in slots beside it. Disarming a timer empties its
//! slot but leaves its entry in the queue. Such a dead entry is skipped when it comes first, and all are
//! removed together once they are the majority. So arming and disarming cost constant time on average, and
//! memory stays in proportion to the timers that are armed.

mod queue;

use std::time::{Duration, Instant};

use queue::{Entry, Queue};

/// A queue below this many entries is not worth sweeping.
const SWEEP_MIN: usize = 64;

/// Above this sequence number, the timers are renumbered before the next turn fires.
const SEQUENCE_HIGH: u32 = 1 << 31;

/// Identifies one armed timer. Invalid for good once the timer fired or was removed (until its slot has had
/// 2^32 timers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: u32,
}

/// A point in time that separates the timers armed before it from those armed since.
///
/// Valid until the next one is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// In nanoseconds since the base.
    now: u64,
    next_sequence: u32,
}

#[derive(Debug)]
enum Slot<T> {
    Vacant {
        generation: u32,
        next: Option<u32>,
    },
    Armed {
        generation: u32,
        sequence: u32,
        deadline: u64,
        value: T,
    },
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Slot<Box<dyn Send>>>() == 32);

/// Armed timers, each with a value, in the order of their deadlines; those with the same deadline in
/// the order of their arming.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    base: Instant,
    queue: Queue,
    /// Timers that are due but were armed since the epoch. They go back into the queue before it is next read.
    held_back: Vec<Entry>,
    slots: Vec<Slot<T>>,
    vacant: Option<u32>,
    len: usize,
    next_sequence: u32,
}

impl<T> Timers<T> {
    /// Makes an empty set of timers. Deadlines are exact to the nanosecond from `base` on; earlier ones count
    /// as `base`, those more than 584 years after it as that limit.
    pub(crate) fn new(base: Instant) -> Timers<T> {
        Timers {
            base,
            queue: Queue::new(),
            held_back: Vec::new(),
            slots: Vec::new(),
            vacant: None,
            len: 0,
            next_sequence: 0,
        }
    }

    /// The time from which deadlines are counted.
    pub(crate) fn base(&self) -> Instant {
        self.base
    }

    /// Arms a timer.
    pub(crate) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let deadline = self.to_nanoseconds(deadline);
        let sequence = self.take_sequence();
        let key = self.occupy(sequence, deadline, value);
        self.queue.push(Entry {
            deadline,
            sequence,
            slot: key.slot,
        });
        self.len += 1;
        key
    }

    /// Disarms a timer and returns its value, unless it fired or was removed.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let value = self.vacate(key)?;
        self.sweep_if_worthwhile();
        Some(value)
    }

    /// Moves a timer to another deadline, behind those that have the same one. Returns whether the timer was
    /// armed.
    pub(crate) fn reschedule(&mut self, key: TimerKey, deadline: Instant) -> bool {
        let new_deadline = self.to_nanoseconds(deadline);
        let new_sequence = self.take_sequence();
        let Some(Slot::Armed {
            generation,
            sequence,
            deadline,
            ..
        }) = self.slots.get_mut(key.slot as usize)
        else {
            return false;
        };
        if *generation != key.generation {
            return false;
        }
        *deadline = new_deadline;
        *sequence = new_sequence;
        self.queue.push(Entry {
            deadline: new_deadline,
            sequence: new_sequence,
            slot: key.slot,
        });
        self.sweep_if_worthwhile();
        true
    }

    /// When a timer is due, if it is armed.
    pub(crate) fn deadline(&self, key: TimerKey) -> Option<Instant> {
        match self.slots.get(key.slot as usize) {
            Some(Slot::Armed {
                generation,
                deadline,
                ..
            }) if *generation == key.generation => Some(self.to_instant(*deadline)),
            _ => None,
        }
    }

    /// When the first timer is due.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        self.release_held_back();
        let deadline = self.first()?.deadline;
        Some(self.to_instant(deadline))
    }

    /// When to wake up for the first timer: when it is due, or, if the next one is due within `slack`, as late
    /// as that allows, so that one wake-up serves both.
    pub(crate) fn wake_up(&mut self, slack: Duration) -> Option<Instant> {
        let due = self.next_deadline()?;
        let latest = due + slack;
        let second = self.queue.second_deadline();
        let shared = second.is_some_and(|second| self.to_instant(second) <= latest);
        Some(if shared { latest } else { due })
    }

    /// Separates the timers armed so far from those armed later, at `now`. A turn calls this before it fires
    /// timers, so that timers armed by its callbacks wait for the next turn, however short their delay.
    pub(crate) fn epoch(&mut self, now: Instant) -> Epoch {
        self.release_held_back();
        if self.next_sequence >= SEQUENCE_HIGH {
            self.renumber();
        }
        Epoch {
            now: self.to_nanoseconds(now),
            next_sequence: self.next_sequence,
        }
    }

    /// Disarms the first timer that is due at `epoch` and was armed, or last rescheduled, before it.
    pub(crate) fn pop_due(&mut self, epoch: Epoch) -> Option<(TimerKey, T)> {
        loop {
            let entry = self.first().filter(|entry| entry.deadline <= epoch.now)?;
            self.queue.pop();
            if entry.sequence >= epoch.next_sequence {
                self.held_back.push(entry);
                continue;
            }
            let key = self.key_of(entry.slot);
            return self.vacate(key).map(|value| (key, value));
        }
    }

    /// How many timers are armed.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All armed timers in the order in which they will fire.
    pub(crate) fn sorted_keys(&self) -> Vec<TimerKey> {
        let mut entries: Vec<Entry> = self.armed().collect();
        entries.sort_unstable();
        entries
            .into_iter()
            .map(|entry| self.key_of(entry.slot))
            .collect()
    }

    /// The values of all armed timers.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| match slot {
            Slot::Armed { value, .. } => Some(value),
            Slot::Vacant { .. } => None,
        })
    }

    fn to_nanoseconds(&self, instant: Instant) -> u64 {
        let since_base = instant.saturating_duration_since(self.base);
        u64::try_from(since_base.as_nanos()).unwrap_or(u64::MAX)
    }

    fn to_instant(&self, nanoseconds: u64) -> Instant {
        self.base + Duration::from_nanos(nanoseconds)
    }

    fn key_of(&self, slot: u32) -> TimerKey {
        let (Slot::Vacant { generation, .. } | Slot::Armed { generation, .. }) =
            &self.slots[slot as usize];
        TimerKey {
            slot,
            generation: *generation,
        }
    }

    /// Puts a timer into a slot.
    fn occupy(&mut self, sequence: u32, deadline: u64, value: T) -> TimerKey {
        let Some(slot) = self.vacant else {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers");
            self.slots.push(Slot::Armed {
                generation: 0,
                sequence,
                deadline,
                value,
            });
            return TimerKey {
                slot,
                generation: 0,
            };
        };
        let Slot::Vacant { generation, next } = self.slots[slot as usize] else {
            unreachable!("the free list holds vacant slots only");
        };
        self.vacant = next;
        self.slots[slot as usize] = Slot::Armed {
            generation,
            sequence,
            deadline,
            value,
        };
        TimerKey { slot, generation }
    }

    /// Empties a timer's slot. Its entry in the queue, if any, is dead from here on.
    fn vacate(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        match slot {
            Slot::Armed { generation, .. } if *generation == key.generation => {}
            _ => return None,
        }
        let vacant = Slot::Vacant {
            generation: key.generation.wrapping_add(1),
            next: self.vacant,
        };
        let Slot::Armed { value, .. } = std::mem::replace(slot, vacant) else {
            unreachable!("it was found armed");
        };
        self.vacant = Some(key.slot);
        self.len -= 1;
        Some(value)
    }

    /// The first entry whose timer is armed.
    fn first(&mut self) -> Option<Entry> {
        let slots = &self.slots;
        self.queue.first(|entry| is_current(slots, entry))
    }

    fn release_held_back(&mut self) {
        for entry in self.held_back.drain(..) {
            self.queue.push(entry);
        }
    }

    /// Removes the dead entries once they are the majority, so that each removal is paid for by as many
    /// disarmings.
    fn sweep_if_worthwhile(&mut self) {
        if self.queue.len() < SWEEP_MIN || self.queue.len() / 2 < self.len {
            return;
        }
        let slots = &self.slots;
        self.queue.retain(|entry| is_current(slots, entry));
    }

    /// Returns the next sequence number, which orders timers by their arming.
    fn take_sequence(&mut self) -> u32 {
        // Only a single turn that arms 2^31 timers gets here. A timer that it arms after the renumbering may
        // then fire in the same turn.
        if self.next_sequence == u32::MAX {
            self.renumber();
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// Renumbers the armed timers from zero, in the same order.
    fn renumber(&mut self) {
        let mut entries: Vec<Entry> = self.armed().collect();
        entries.sort_unstable_by_key(|entry| entry.sequence);
        self.next_sequence = 0;
        for entry in &mut entries {
            let Slot::Armed { sequence, .. } = &mut self.slots[entry.slot as usize] else {
                unreachable!("the entry was made from an armed slot");
            };
            *sequence = self.next_sequence;
            entry.sequence = self.next_sequence;
            self.next_sequence += 1;
        }
        self.held_back.clear();
        self.queue = Queue::new();
        for entry in entries {
            self.queue.push(entry);
        }
    }

    /// An entry for each armed timer, in slot order.
    fn armed(&self) -> impl Iterator<Item = Entry> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(slot, content)| match *content {
                Slot::Armed {
                    sequence, deadline, ..
                } => Some(Entry {
                    deadline,
                    sequence,
                    slot,
                }),
                Slot::Vacant { .. } => None,
            })
    }
}

/// Whether the entry's timer is armed, and not rescheduled since.
fn is_current<T>(slots: &[Slot<T>], entry: Entry) -> bool {
    matches!(slots[entry.slot as usize], Slot::Armed { sequence, .. } if sequence == entry.sequence)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{SEQUENCE_HIGH, TimerKey, Timers};
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::{collection, prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    #[derive(Clone, Debug)]
    enum Action {
        Insert { deadline: u64 },
        Remove { which: usize },
        Reschedule { which: usize, deadline: u64 },
        Look,
        Turn { now: u64, armed_by_callbacks: u64 },
        Renumber,
    }

    /// Uses few different deadlines, so that many are equal.
    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let action = prop_oneof![
            4 => (0..20u64).prop_map(|deadline| Action::Insert { deadline }),
            3 => any::<usize>().prop_map(|which| Action::Remove { which }),
            2 => (any::<usize>(), 0..20u64)
                .prop_map(|(which, deadline)| Action::Reschedule { which, deadline }),
            1 => Just(Action::Look),
            1 => (0..20u64, 0..3u64).prop_map(|(now, armed_by_callbacks)| Action::Turn {
                now,
                armed_by_callbacks
            }),
            1 => Just(Action::Renumber),
        ];
        collection::vec(action, 0..400)
    }

    /// The simplest implementation of the same promises.
    struct Model {
        base: Instant,
        timers: Timers<u64>,
        expected: BTreeMap<(u64, u64), TimerKey>,
        dead: Vec<TimerKey>,
        armed: u64,
    }

    impl Model {
        fn new() -> Model {
            let base = Instant::now();
            Model {
                base,
                timers: Timers::new(base),
                expected: BTreeMap::new(),
                dead: Vec::new(),
                armed: 0,
            }
        }

        fn at(&self, nanoseconds: u64) -> Instant {
            self.base + Duration::from_nanos(nanoseconds)
        }

        fn insert(&mut self, deadline: u64) {
            self.armed += 1;
            let key = self.timers.insert(self.at(deadline), deadline);
            self.expected.insert((deadline, self.armed), key);
        }

        fn pick(&self, which: usize) -> Option<((u64, u64), TimerKey)> {
            let place = which.checked_rem(self.expected.len())?;
            self.expected
                .iter()
                .nth(place)
                .map(|(order, key)| (*order, *key))
        }

        fn run(&mut self, action: &Action) {
            match *action {
                Action::Insert { deadline } => self.insert(deadline),
                Action::Remove { which } => {
                    if let Some((order, key)) = self.pick(which) {
                        assert!(self.timers.remove(key).is_some());
                        self.expected.remove(&order);
                        self.dead.push(key);
                    }
                }
                Action::Reschedule { which, deadline } => {
                    if let Some((order, key)) = self.pick(which) {
                        assert!(self.timers.reschedule(key, self.at(deadline)));
                        self.expected.remove(&order);
                        self.armed += 1;
                        self.expected.insert((deadline, self.armed), key);
                    }
                }
                Action::Look => {
                    let first = self.expected.keys().next().map(|(at, _)| self.at(*at));
                    assert_eq!(self.timers.next_deadline(), first);
                }
                Action::Turn {
                    now,
                    armed_by_callbacks,
                } => self.turn(now, armed_by_callbacks),
                Action::Renumber => {
                    let next = &mut self.timers.next_sequence;
                    *next = (*next).max(SEQUENCE_HIGH);
                }
            }
        }

        /// Fires the timers that are due. Each callback arms timers that are due as well.
        fn turn(&mut self, now: u64, armed_by_callbacks: u64) {
            let epoch = self.timers.epoch(self.at(now));
            let due: Vec<_> = self
                .expected
                .range(..(now + 1, 0))
                .map(|(order, key)| (*order, *key))
                .collect();
            for (order, key) in due {
                let fired = self.timers.pop_due(epoch);
                assert_eq!(fired.map(|(key, _)| key), Some(key));
                self.expected.remove(&order);
                self.dead.push(key);
                for before_now in 0..armed_by_callbacks {
                    self.insert(now.saturating_sub(before_now * 7));
                }
            }
            assert!(self.timers.pop_due(epoch).is_none());
        }
    }

    proptest! {
        /// Goal: order and deadlines are exact, dead keys stay dead, and memory is bounded, for any program.
        /// Method: random programs, compared with a sorted map that numbers every arming.
        #[test]
        fn timers_do_what_a_sorted_map_does(actions in actions()) {
            let mut model = Model::new();
            for action in &actions {
                model.run(action);
                prop_assert_eq!(model.timers.len(), model.expected.len());
                prop_assert_eq!(model.timers.is_empty(), model.expected.is_empty());
                for (&(deadline, _), &key) in &model.expected {
                    prop_assert_eq!(model.timers.deadline(key), Some(model.at(deadline)));
                }
            }
            let in_order: Vec<TimerKey> = model.expected.values().copied().collect();
            prop_assert_eq!(model.timers.sorted_keys(), in_order);
            for &key in &model.dead {
                prop_assert!(model.timers.deadline(key).is_none());
                prop_assert!(model.timers.remove(key).is_none());
                let base = model.base;
                prop_assert!(!model.timers.reschedule(key, base));
            }
        }
    }

    #[test]
    fn removed_and_rescheduled_timers_do_not_pile_up() {
        let base = Instant::now();
        let mut timers = Timers::new(base);
        let later = base + Duration::from_secs(60);
        let kept = timers.insert(later, 0);
        for value in 0..100_000 {
            let key = timers.insert(later, value);
            assert!(timers.reschedule(kept, later));
            assert_eq!(timers.remove(key), Some(value));
        }
        assert_eq!(timers.len(), 1);
        assert!(
            timers.queue.capacity() <= 1024,
            "{}",
            timers.queue.capacity()
        );
        assert!(timers.slots.capacity() <= 64, "{}", timers.slots.capacity());
    }

    #[test]
    fn deadlines_beyond_the_range_come_last_in_the_order_of_arming() {
        let base = Instant::now();
        let mut timers = Timers::new(base);
        let far = base + Duration::from_secs(1 << 40);
        let first = timers.insert(far + Duration::from_secs(1), "first");
        let second = timers.insert(far, "second");
        let near = timers.insert(base + Duration::from_secs(1 << 30), "near");
        assert_eq!(timers.sorted_keys(), [near, first, second]);
        assert!(timers.deadline(first) > timers.deadline(near));
        let year = base + Duration::from_secs(366 * 24 * 3600);
        let epoch = timers.epoch(year);
        assert!(timers.pop_due(epoch).is_none());
    }

    #[test]
    fn the_order_survives_the_last_sequence_number() {
        let base = Instant::now();
        let mut timers = Timers::new(base);
        timers.next_sequence = u32::MAX - 2;
        let keys: Vec<_> = (0..8).map(|value| timers.insert(base, value)).collect();
        assert_eq!(timers.sorted_keys(), keys);
        let epoch = timers.epoch(base);
        for expected in 0..8 {
            assert_eq!(
                timers.pop_due(epoch).map(|(_, value)| value),
                Some(expected)
            );
        }
    }
}
