//! Measures how long the loop is busy: whole turns, and single callbacks.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::Reactor;
use super::clock::Clock;
use crate::os::Address;

/// The number of classes of durations.
const CLASSES: usize = 32;

/// How long turns took. A turn lasts from the end of one wait to the beginning of the next. An event that
/// occurs in between is noticed only after the turn.
///
/// Durations are counted in 32 classes, each twice as long as the one before: below 1 µs, below 2 µs, below 4
/// µs, and so on.
///
/// ```
/// let reactor = tidewaiter::Reactor::new()?;
/// reactor.block_on(async { tidewaiter::yield_now().await })?;
/// let times = reactor.metrics().turn_times;
/// println!("{} turns, 99 % of them within {:?}", times.count(), times.percentile(99));
/// assert!(times.percentile(99) <= times.max());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    classes: [u64; CLASSES],
    total: Duration,
    max: Duration,
}

impl TurnTimes {
    fn add(&mut self, elapsed: Duration) {
        let bits = u64::BITS - saturating_micros(elapsed).leading_zeros();
        let class = usize::try_from(bits).map_or(CLASSES - 1, |bits| bits.min(CLASSES - 1));
        self.classes[class] += 1;
        self.total = self.total.saturating_add(elapsed);
        self.max = self.max.max(elapsed);
    }

    /// The number of turns measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// The total duration of the turns.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The duration of the longest turn; zero if there was none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The duration that this percentage of the turns did not exceed: the upper end of a class, hence up to
    /// twice the exact value. Zero if there were no turns; `percent` above 100 counts as 100.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Duration {
        let share = u128::from(self.count()) * u128::from(percent.min(100));
        let rank = share.div_ceil(100);
        let mut seen = 0;
        for (end, count) in self.classes() {
            seen += u128::from(count);
            if seen >= rank {
                return end.min(self.max);
            }
        }
        self.max
    }

    /// The upper end of each class, and how many turns fell into it, shortest first. The last class has no
    /// upper end; the longest turn stands for it.
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let ends = (0_u32..).map(|class| Duration::from_micros(1 << class));
        let last = self.classes.len() - 1;
        let counts = self.classes.iter().copied().enumerate();
        ends.zip(counts).map(move |(end, (class, count))| {
            let end = if class == last { self.max } else { end };
            (end, count)
        })
    }
}

fn saturating_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A callback that took longer than the limit of
/// [`ReactorBuilder::slow_callback`](super::ReactorBuilder::slow_callback).
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::{Reactor, SlowCallback};
///
/// let report = |slow: &SlowCallback| eprintln!("{slow}"); // "a delayed call took 30ms"
/// let reactor = Reactor::builder()
///     .slow_callback(Duration::from_millis(20), report)
///     .build()?;
/// # drop(reactor);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlowCallback {
    /// The kind of callback: "a protocol", "a delayed call", "a call from another thread", …
    pub what: &'static str,
    /// The peer's address, if the callback belongs to a connection.
    pub peer: Option<Address>,
    /// Where the program started the task, if it was the poll of a task.
    pub spawned_at: Option<&'static Location<'static>>,
    /// How long the callback took.
    pub elapsed: Duration,
}

impl fmt::Display for SlowCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took {:?}", self.what, self.elapsed)?;
        if let Some(peer) = &self.peer {
            write!(f, " for {peer}")?;
        }
        match self.spawned_at {
            Some(place) => write!(f, ", spawned at {place}"),
            None => Ok(()),
        }
    }
}

/// The limit on a callback's duration, and the program's report for callbacks that exceed it.
pub(super) struct SlowLimit {
    pub(super) limit: Duration,
    pub(super) report: Box<dyn Fn(&SlowCallback) + Send + Sync>,
}

/// The times from which the loop computes durations.
#[derive(Debug, Default)]
pub(super) struct Pace {
    times: RefCell<TurnTimes>,
    pub(super) clock: Clock,
    /// When the last wait ended.
    since: Cell<Option<Instant>>,
    /// When the last callback ended, or when the loop began to make callbacks.
    mark: Cell<Option<Instant>>,
}

impl Pace {
    pub(super) fn times(&self) -> TurnTimes {
        self.times.borrow().clone()
    }

    /// Ends the measured turn: a wait begins at `now`.
    pub(super) fn before_wait(&self, now: Instant) {
        if let Some(since) = self.since.take() {
            let elapsed = now.saturating_duration_since(since);
            self.times.borrow_mut().add(elapsed);
        }
    }

    pub(super) fn after_wait(&self, now: Instant) {
        self.since.set(Some(now));
        self.mark.set(Some(now));
    }

    /// Forgets the turn under way, because the loop rests outside of any turn.
    pub(super) fn discard_turn(&self) {
        self.since.set(None);
    }
}

impl Reactor {
    /// Starts the time of the next callback: what ran before is not counted.
    pub(super) fn mark_time(&self) {
        if self.core.settings.slow.is_some() {
            self.core.counters.pace.mark.set(Some(self.now()));
        }
    }

    /// Reports a callback that just ended if it was slow. If it ran within another one, the outer one's time
    /// restarts here.
    pub(super) fn report_if_slow(
        &self,
        what: &'static str,
        peer: impl FnOnce() -> Option<Address>,
        spawned_at: Option<&'static Location<'static>>,
    ) {
        let Some(slow) = &self.core.settings.slow else {
            return;
        };
        // The reactor has no clock after its owner was dropped.
        let Some(now) = self.core.port.borrow().as_ref().map(crate::port::Port::now) else {
            return;
        };
        let Some(mark) = self.core.counters.pace.mark.replace(Some(now)) else {
            return;
        };
        let elapsed = now.saturating_duration_since(mark);
        if elapsed > slow.limit {
            let peer = peer();
            let callback = SlowCallback {
                what,
                peer,
                spawned_at,
                elapsed,
            };
            // A panic was logged.
            let _ = self.catch("the report of a slow callback", || (slow.report)(&callback));
            self.mark_time();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, TurnTimes};
    use std::time::Duration;

    #[test]
    fn durations_fall_into_classes_by_powers_of_two() {
        let mut times = TurnTimes::default();
        assert_eq!((times.count(), times.percentile(99)), (0, Duration::ZERO));
        for micros in [0, 1, 2, 3, 4, 1000] {
            times.add(Duration::from_micros(micros));
        }
        times.add(Duration::MAX);
        let taken: Vec<_> = times.classes().filter(|(_, count)| *count > 0).collect();
        let micros = Duration::from_micros;
        let expected = [
            (micros(1), 1),
            (micros(2), 1),
            (micros(4), 2),
            (micros(8), 1),
            (micros(1024), 1),
            (Duration::MAX, 1),
        ];
        assert_eq!(taken, expected);
        assert_eq!(times.classes().count(), CLASSES);
        assert_eq!(times.count(), 7);
        assert_eq!((times.total(), times.max()), (Duration::MAX, Duration::MAX));
    }

    #[test]
    fn percentiles_are_upper_ends_and_never_above_the_longest() {
        let mut times = TurnTimes::default();
        for _ in 0..98 {
            times.add(Duration::from_micros(3));
        }
        times.add(Duration::from_micros(100));
        times.add(Duration::from_micros(1100));
        assert_eq!(times.percentile(50), Duration::from_micros(4));
        assert_eq!(times.percentile(98), Duration::from_micros(4));
        assert_eq!(times.percentile(99), Duration::from_micros(128));
        assert_eq!(times.percentile(100), Duration::from_micros(1100));
    }
}
