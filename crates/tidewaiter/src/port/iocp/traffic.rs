//! How much a handle has received lately, which decides how much memory its receives get.

/// A receive that has waited for this many turns is idle, and may lose its memory.
pub(super) const IDLE_TURNS: u64 = 1024;
/// A handle is busy after receiving this many times without being idle in between. It gets a small
/// buffer in advance after receiving few bytes this many times in a row.
const STREAK: u8 = 4;
/// A receive of fewer bytes than this counts as small; the small buffers have this size: a page.
pub(super) const SMALL_BYTES: usize = 4096;
/// A surge ends after receiving no more than this, so many times in a row.
const CALM_BYTES: usize = 16 * 1024;
const CALM_TIMES: u8 = 8;

/// A handle's recent traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    /// Whether it fills the usual buffers, and the number of calm receives in a row.
    pub(super) wide: bool,
    calm: u8,
    /// The turn of the last receive, the number of receives without being idle in between, and the
    /// number of small receives in a row (both up to `STREAK`).
    turn: u64,
    busy: u8,
    small: u8,
}

impl Traffic {
    pub(super) fn is_busy(self) -> bool {
        self.busy == STREAK
    }

    /// Whether a small buffer in advance suffices.
    pub(super) fn is_small(self) -> bool {
        self.small == STREAK && !self.wide
    }

    /// Records `bytes` received in a turn; with `full`, they filled the memory.
    pub(super) fn note(&mut self, turn: u64, bytes: usize, full: bool) {
        self.calm = if bytes <= CALM_BYTES {
            self.calm.saturating_add(1)
        } else {
            0
        };
        self.wide = match self.wide {
            true => self.calm < CALM_TIMES,
            false => full && !self.is_small(),
        };
        let idle = turn - self.turn > IDLE_TURNS;
        self.busy = if idle { 0 } else { STREAK.min(self.busy + 1) };
        let small = bytes < SMALL_BYTES;
        self.small = if small { STREAK.min(self.small + 1) } else { 0 };
        self.turn = turn;
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM_BYTES, CALM_TIMES, IDLE_TURNS, SMALL_BYTES, STREAK, Traffic};

    #[test]
    fn what_pauses_is_not_busy_until_it_comes_often_again() {
        let mut traffic = Traffic::default();
        for turn in 0..100 {
            traffic.note(turn * (IDLE_TURNS + 1), 1, false);
            assert!(!traffic.is_busy(), "it is idle in between");
        }
        let from = traffic.turn;
        for time in 1..=u64::from(STREAK) {
            assert!(!traffic.is_busy());
            traffic.note(from + time * IDLE_TURNS, 1, false);
        }
        assert!(traffic.is_busy());
        traffic.note(traffic.turn + IDLE_TURNS + 1, 1, false);
        assert!(!traffic.is_busy());
    }

    #[test]
    fn little_memory_is_for_what_brings_little() {
        let mut traffic = Traffic::default();
        for _ in 0..STREAK {
            assert!(!traffic.is_small());
            traffic.note(0, SMALL_BYTES - 1, false);
        }
        assert!(traffic.is_small());
        traffic.note(0, SMALL_BYTES, true);
        assert!(
            !traffic.is_small() && !traffic.wide,
            "there was little memory"
        );
    }

    #[test]
    fn what_fills_the_usual_memory_gets_more_until_it_is_calm() {
        let mut traffic = Traffic::default();
        traffic.note(0, CALM_BYTES, false);
        assert!(!traffic.wide);
        traffic.note(0, CALM_BYTES + 1, true);
        for _ in 0..100 {
            for _ in 1..CALM_TIMES {
                traffic.note(0, CALM_BYTES, false);
            }
            traffic.note(0, CALM_BYTES + 1, false);
            assert!(traffic.wide, "it brings much now and then");
        }
        for _ in 0..CALM_TIMES {
            assert!(traffic.wide);
            traffic.note(0, 1, false);
        }
        assert!(!traffic.wide);
    }
}
