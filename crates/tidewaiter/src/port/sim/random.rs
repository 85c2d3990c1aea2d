//! Random numbers from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The generator SplitMix64: a counter whose bits are mixed. Equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which must not be zero.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below zero");
        let product = u128::from(self.next()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the upper half of 128 bits")
    }

    /// An index into a list of length `len`, which must not be zero.
    pub(super) fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).expect("a length fits into 64 bits");
        usize::try_from(self.below(len)).expect("less than a length")
    }

    /// True with `probability`: never at 0.0 or below, always at 1.0 or above.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        let word = u32::try_from(self.below(1 << 32)).expect("less than 2^32");
        f64::from(word) < probability * 4_294_967_296.0
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let width = range.end().saturating_sub(*range.start());
        if width.is_zero() {
            // A number is drawn all the same, so that what follows does not depend on the range.
            self.next();
            return *range.start();
        }
        let nanoseconds = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX - 1);
        let more = Duration::from_nanos(self.below(nanoseconds.saturating_add(1)));
        range.start().saturating_add(more)
    }

    /// Shuffles `list`; every order is equally likely.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let other = self.index(end + 1);
            list.swap(end, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use std::time::Duration;

    #[test]
    fn equal_seeds_give_equal_numbers_and_others_give_others() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn certainties_are_certain_and_halves_are_halves() {
        let mut random = Random::new(1);
        assert!((0..100).all(|_| random.chance(1.0) && !random.chance(0.0)));
        let heads = (0..1000).filter(|_| random.chance(0.5)).count();
        assert!((400..600).contains(&heads), "{heads} of 1000");
    }

    #[test]
    fn spans_lie_within_their_range() {
        let mut random = Random::new(1);
        let range = Duration::from_millis(3)..=Duration::from_millis(5);
        assert!((0..100).all(|_| range.contains(&random.duration(&range))));
        let none = Duration::ZERO..=Duration::ZERO;
        assert_eq!(random.duration(&none), Duration::ZERO);
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut list: Vec<u32> = (0..50).collect();
        Random::new(3).shuffle(&mut list);
        assert_ne!(list, (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
    }
}
