//! Looks at the clock, and what makes them unnecessary: one costs as much as a short callback does.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Reactor;

/// A turn that need not wait leaves the kernel alone if it was asked in vain less than this ago. To ask costs as much as
/// a short turn; once in this time, it is a few hundredths of it.
const ASK_AGAIN: Duration = Duration::from_micros(10);

/// What the loop knows of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The time at the latest look.
    seen: Cell<Option<Instant>>,
    /// Nothing that takes time has been done since.
    fresh: Cell<bool>,
    /// When to ask the kernel again, which had nothing when it was last asked.
    ask_again: Cell<Option<Instant>>,
}

impl Clock {
    /// The time at the latest look: it is no earlier than this.
    pub(super) fn seen(&self) -> Option<Instant> {
        self.seen.get()
    }

    /// The port has asked the kernel, and nothing came of it.
    pub(super) fn asked_in_vain(&self, now: Instant) {
        self.ask_again.set(now.checked_add(ASK_AGAIN));
    }

    /// Something came from the kernel, or may have.
    pub(super) fn something_came(&self) {
        self.ask_again.set(None);
    }

    /// The port asked the kernel just before `now`, and nothing has come since.
    pub(super) fn just_asked_in_vain(&self, now: Instant) -> bool {
        self.ask_again.get().is_some_and(|then| now < then)
    }

    /// What was done since the latest look took no time that matters.
    pub(super) fn count_from_here(&self) {
        self.fresh.set(true);
    }

    /// Something is done that may take time.
    pub(super) fn spend(&self) {
        self.fresh.set(false);
    }
}

impl Reactor {
    pub(super) fn clock(&self) -> &Clock {
        &self.core.counters.pace.clock
    }

    /// The time by the reactor's clock: the OS's monotonic clock, or the simulation's. When the reactor itself,
    /// of which this is a clone, has been dropped, the clock stands still.
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

    /// The time as the loop needs it, between callbacks.
    pub(super) fn turn_time(&self) -> Instant {
        let clock = self.clock();
        match clock.seen() {
            Some(seen) if clock.fresh.replace(true) => seen,
            _ => self.now(),
        }
    }
}
