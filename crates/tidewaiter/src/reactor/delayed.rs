//! Delayed calls.

use std::fmt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::timers::TimerKey;
use super::{Core, Life, Reactor};

/// A pending call to be made at a later time. Dropping this value does not cancel the call. Clones refer to the
/// same call.
///
/// ```
/// use std::time::Duration;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let call = reactor.call_later(Duration::from_secs(60), |reactor| reactor.stop());
/// assert!(call.is_active());
/// call.reset(Duration::from_millis(1)); // sooner, as it turns out
/// reactor.run()?;
/// assert!(!call.is_active() && !call.cancel());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DelayedCall {
    core: Weak<Core>,
    key: TimerKey,
}

impl Reactor {
    /// Calls `callback` once, from the loop, no earlier than `delay` from now.
    ///
    /// A delay of zero means the next turn. Calls due at the same time are made in the order in which they were
    /// requested. A call may be late by the time that other callbacks take, by the resolution of the OS's timers
    /// (about 50 µs on Linux, up to 16 ms on Windows), and by the
    /// [slack](super::ReactorBuilder::timer_slack). When the reactor has stopped, pending calls are dropped
    /// unmade; so is a call requested after that.
    pub fn call_later(
        &self,
        delay: Duration,
        callback: impl FnOnce(&Reactor) + 'static,
    ) -> DelayedCall {
        let deadline = self.deadline(delay);
        let key = self
            .core
            .timers
            .borrow_mut()
            .insert(deadline, Box::new(callback));
        let call = DelayedCall {
            core: Rc::downgrade(&self.core),
            key,
        };
        if self.core.life.get() == Life::Stopped {
            call.cancel();
        }
        call
    }

    /// The delayed calls that are pending, in the order in which they are due. Takes time in proportion to their
    /// number.
    #[must_use]
    pub fn delayed_calls(&self) -> Vec<DelayedCall> {
        let keys = self.core.timers.borrow().sorted_keys();
        let call = |key| DelayedCall {
            core: Rc::downgrade(&self.core),
            key,
        };
        keys.into_iter().map(call).collect()
    }

    /// The time `delay` from now, or the end of time.
    fn deadline(&self, delay: Duration) -> Instant {
        after(self.now(), delay)
    }
}

/// The time `delay` from `then`, or the end of time.
pub(super) fn after(then: Instant, delay: Duration) -> Instant {
    // A thousand years: beyond the reach of any of our clocks, and in range for all of them.
    let end = Duration::from_secs(1000 * 365 * 86_400);
    then.checked_add(delay.min(end)).unwrap_or(then)
}

impl DelayedCall {
    /// Cancels the call, and drops its callback. Returns whether it was still pending.
    pub fn cancel(&self) -> bool {
        let Some(core) = self.core.upgrade() else {
            return false;
        };
        let removed = core.timers.borrow_mut().remove(self.key);
        removed.is_some()
    }

    /// Makes the call due `delay` from now instead. Returns whether it was still pending; if not, nothing changes.
    pub fn reset(&self, delay: Duration) -> bool {
        let Some(core) = self.core.upgrade() else {
            return false;
        };
        let reactor = Reactor { core, owner: false };
        if !self.is_active() {
            return false;
        }
        let deadline = reactor.deadline(delay);
        reactor
            .core
            .timers
            .borrow_mut()
            .reschedule(self.key, deadline)
    }

    /// Makes the call due `by` later than it was. Returns whether it was still pending; if not, nothing changes.
    pub fn delay(&self, by: Duration) -> bool {
        let (Some(core), Some(due)) = (self.core.upgrade(), self.due()) else {
            return false;
        };
        let later = after(due, by);
        core.timers.borrow_mut().reschedule(self.key, later)
    }

    /// Whether the call is still pending: neither made, nor cancelled, nor dropped by a reactor that ended. False
    /// while the call is being made.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.due().is_some()
    }

    /// When the call is due, by the reactor's clock; `None` when it is not pending.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.core.upgrade()?.timers.borrow().deadline(self.key)
    }
}

impl fmt::Debug for DelayedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedCall")
            .field("due", &self.due())
            .finish()
    }
}
