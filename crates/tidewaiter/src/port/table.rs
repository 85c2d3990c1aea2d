//! A table of values under keys that are never valid twice.

/// A slot of a [`Table`], and the generation of its value.
///
/// A slot's generation grows each time its value is removed, so a key never refers to a later value
/// (until a slot has held 2^32 values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// The key as one word, for kernels to carry. Never zero, nor `u64::MAX`.
    pub(crate) const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Key::to_u64`].
    #[expect(
        clippy::cast_possible_truncation,
        reason = "splits the word into its halves"
    )]
    pub(crate) const fn from_u64(word: u64) -> Key {
        Key {
            index: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

#[derive(Debug)]
enum Slot<T> {
    Vacant { generation: u32, next: Option<u32> },
    Taken { generation: u32, value: T },
}

/// Values under [`Key`]s: inserts, looks up and removes in constant time, without allocating once
/// it has grown.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    vacant: Option<u32>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            slots: Vec::new(),
            vacant: None,
            len: 0,
        }
    }
}

impl<T> Table<T> {
    /// Stores `value` and returns its key.
    ///
    /// # Panics
    ///
    /// When the table would hold more than 2^32 - 1 values.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if let Some(index) = self.vacant {
            let slot = &mut self.slots[index as usize];
            let Slot::Vacant { generation, next } = *slot else {
                unreachable!("the free list holds vacant slots only");
            };
            self.vacant = next;
            *slot = Slot::Taken { generation, value };
            return Key { index, generation };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 live values");
        assert!(index < u32::MAX, "fewer than 2^32 - 1 live values");
        // Generations start at 1, so that no key is the word zero.
        self.slots.push(Slot::Taken {
            generation: 1,
            value,
        });
        Key {
            index,
            generation: 1,
        }
    }

    /// The value under `key`, unless it was removed.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(Slot::Taken { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value under `key`, to change it, unless it was removed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot::Taken { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Removes and returns the value under `key`, which is invalid from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let next_generation = match key.generation.wrapping_add(1) {
            0 => 1,
            generation => generation,
        };
        let vacant = Slot::Vacant {
            generation: next_generation,
            next: self.vacant,
        };
        let slot = std::mem::replace(&mut self.slots[key.index as usize], vacant);
        self.vacant = Some(key.index);
        self.len -= 1;
        match slot {
            Slot::Taken { value, .. } => Some(value),
            Slot::Vacant { .. } => unreachable!("`get` found it taken"),
        }
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the table is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Converts each value, in slot order, and keeps its key.
    #[allow(
        dead_code,
        reason = "only Linux has a port that hands over to another one"
    )]
    pub(crate) fn map<U>(self, mut make: impl FnMut(Key, T) -> U) -> Table<U> {
        let slots = (0u32..).zip(self.slots).map(|(index, slot)| match slot {
            Slot::Vacant { generation, next } => Slot::Vacant { generation, next },
            Slot::Taken { generation, value } => Slot::Taken {
                generation,
                value: make(Key { index, generation }, value),
            },
        });
        Table {
            slots: slots.collect(),
            vacant: self.vacant,
            len: self.len,
        }
    }

    /// Returns all values with their keys, in slot order.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Key, T)> {
        (0u32..)
            .zip(self.slots)
            .filter_map(|(index, slot)| match slot {
                Slot::Taken { generation, value } => Some((Key { index, generation }, value)),
                Slot::Vacant { .. } => None,
            })
    }

    /// All values with their keys, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| match slot {
                Slot::Taken { generation, value } => Some((
                    Key {
                        index,
                        generation: *generation,
                    },
                    value,
                )),
                Slot::Vacant { .. } => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Table};

    #[test]
    fn a_removed_key_stays_dead_when_its_slot_is_used_again() {
        let mut table = Table::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(first.index, second.index, "the slot is reused");
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn keys_survive_the_way_through_a_word() {
        let key = Key {
            index: u32::MAX - 1,
            generation: 7,
        };
        assert_eq!(Key::from_u64(key.to_u64()), key);
        assert_ne!(
            Key {
                index: 0,
                generation: 1
            }
            .to_u64(),
            0
        );
    }
}
