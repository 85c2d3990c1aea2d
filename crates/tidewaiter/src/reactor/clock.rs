//! Caches clock reads: one costs as much as a short callback.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Reactor;

/// A turn that need not wait skips the system call if the kernel had nothing less than this ago. The call costs
/// as much as a short turn; made once in this time, it costs a few hundredths of it.
const POLL_AGAIN: Duration = Duration::from_micros(10);

/// The cached time, and when the kernel is next worth a poll.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The time at the latest read.
    seen: Cell<Option<Instant>>,
    /// Nothing that may take time has run since the latest read.
    fresh: Cell<bool>,
    /// When to poll the kernel again, after a poll that found nothing.
    poll_again: Cell<Option<Instant>>,
}

impl Clock {
    /// Returns the time at the latest read. The present time is no earlier.
    pub(super) fn seen(&self) -> Option<Instant> {
        self.seen.get()
    }

    /// Notes that the port polled the kernel and found nothing.
    pub(super) fn note_empty_poll(&self, now: Instant) {
        self.poll_again.set(now.checked_add(POLL_AGAIN));
    }

    /// Notes that the kernel delivered something, or may have.
    pub(super) fn note_arrival(&self) {
        self.poll_again.set(None);
    }

    /// Whether the port polled the kernel just before `now`, and nothing has arrived since.
    pub(super) fn was_empty_just_now(&self, now: Instant) -> bool {
        self.poll_again.get().is_some_and(|then| now < then)
    }

    /// Treats the latest read as the present time until [`mark_stale`](Clock::mark_stale).
    pub(super) fn mark_fresh(&self) {
        self.fresh.set(true);
    }

    /// Notes that something runs that may take time.
    pub(super) fn mark_stale(&self) {
        self.fresh.set(false);
    }
}

impl Reactor {
    pub(super) fn clock(&self) -> &Clock {
        &self.core.counters.pace.clock
    }

    /// The time by the reactor's clock: the OS's monotonic clock, or the simulation's. When the owner of the
    /// reactor, of which this is a clone, has been dropped, the clock stands still.
    #[must_use]
    pub fn now(&self) -> Instant {
        let port = self.core.port.borrow();
        let Some(port) = &*port else {
            return self.core.timers.borrow().base();
        };
        let now = port.now();
        self.clock().seen.set(Some(now));
        now
    }

    /// Returns the time for the loop's own decisions, between callbacks. Reads the clock only if the cached
    /// time may be stale.
    pub(super) fn turn_time(&self) -> Instant {
        let clock = self.clock();
        match clock.seen() {
            Some(seen) if clock.fresh.replace(true) => seen,
            _ => self.now(),
        }
    }
}
