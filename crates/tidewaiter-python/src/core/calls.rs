//! Adds ready and timed calls to a loop. Every thread that holds the interpreter lock may do so.

use std::time::Duration;

use pyo3::prelude::*;

use crate::core::event_loop::{Loop, duration};
use crate::core::ready::Make;
use crate::core::timers::Fire;

/// A call that is due this soon, in seconds, is not worth a sleep: falling asleep and waking up takes as long.
const TOO_SOON_TO_SLEEP: f64 = 10e-6;

impl Loop {
    /// Queues a call for the end of the current or the next turn, which then does not wait.
    pub(crate) fn make_soon(&self, object: Py<PyAny>, make: Make<Loop>) {
        self.ready.push(object, make);
        if self.waiting.now() {
            self.remote.wake();
        } else {
            // After the wait of a turn, the call is made before the next wait anyway.
            self.reactor.skip_wait_of_turn();
        }
    }

    /// Ends the current wait, or else makes the next one end at once.
    pub(crate) fn do_not_wait(&self) {
        if self.waiting.now() {
            self.remote.wake();
        } else {
            self.reactor.skip_wait();
        }
    }

    /// Has `fire` called once `due` has come, by the loop's clock. `now` is the present time.
    pub(crate) fn fire_at(&self, due: f64, now: f64, object: Py<PyAny>, fire: Fire<Loop>) {
        // NaN comes last.
        let due = if due.is_nan() { f64::INFINITY } else { due };
        self.timers.push(due, object, fire);
        if self.waiting.now() {
            // The loop waits in another thread. Once it is awake, it arms its timer itself.
            self.look_for_due();
        } else {
            self.arm(due, now);
        }
    }

    /// Has timed calls follow `clock`, or our own clock if that is `None`.
    pub(crate) fn follow_clock(&self, clock: Option<Py<PyAny>>) {
        self.timers.replace_clock(clock);
        self.do_not_wait();
    }

    fn look_for_due(&self) {
        self.timers.note_due();
        self.do_not_wait();
    }

    /// Has the loop look for calls that are due at `due`.
    fn arm(&self, due: f64, now: f64) {
        if self.timers.clock_is_replaced() {
            // Each turn looks at that clock.
        } else if due - now <= TOO_SOON_TO_SLEEP {
            self.look_for_due();
        } else {
            self.timers.arm(&self.reactor, due, duration(due - now));
        }
    }

    /// How long a turn may wait, at most `limit`. The reactor's own timer keeps the time of our own clock.
    pub(super) fn wait_limit(
        &self,
        py: Python<'_>,
        limit: Option<Duration>,
    ) -> PyResult<Option<Duration>> {
        if !self.timers.clock_is_replaced() {
            return Ok(limit);
        }
        let Some(due) = self.timers.first() else {
            return Ok(limit);
        };
        let left = duration(due - self.timers.time(py)?);
        Ok(Some(limit.map_or(left, |limit| limit.min(left))))
    }

    /// Makes the calls that are due or ready, at the beginning of a turn.
    pub(super) fn make_ready_calls(&self, py: Python<'_>) -> PyResult<()> {
        if self.timers.take_due() && self.timers.first().is_some() {
            self.queue_due(py)?;
        }
        // In a child that a call forked, the others are the parent's.
        self.ready.make_all(py, self, || self.is_copy())
    }

    fn queue_due(&self, py: Python<'_>) -> PyResult<()> {
        let now = self.timers.time(py)?;
        while let Some(timed) = self.timers.pop_due(now) {
            (timed.fire)(self, timed.object.into_bound(py));
        }
        if let Some(due) = self.timers.first() {
            self.arm(due, now);
        }
        Ok(())
    }
}
