//! Calls that are repeated.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::delayed::after;
use super::{DelayedCall, Reactor};

/// A call that the loop repeats until it is cancelled. Made by [`Reactor::call_every`].
///
/// Clones refer to the same call, which goes on if all are dropped.
///
/// ```
/// use std::time::Duration;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let ticks = reactor.call_every(Duration::from_millis(1), |_| println!("tick"));
/// reactor.call_later(Duration::from_millis(5), move |reactor| {
///     ticks.cancel();
///     reactor.stop();
/// });
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RepeatedCall {
    inner: Rc<Inner>,
}

type Callback = Box<dyn FnMut(&Reactor)>;

struct Inner {
    period: Duration,
    callback: RefCell<Option<Callback>>,
    next: RefCell<Option<DelayedCall>>,
    cancelled: Cell<bool>,
}

impl Reactor {
    /// Calls `callback` each `period`, at least one nanosecond, the first time a period from now. It is called at
    /// multiples of the period since this call, without adding up delays; one that is so late that the next is due is
    /// left out. A panic in it is logged, and ends the repetition. When the reactor has stopped, the callback is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let mut left = 3;
    /// let repeated = reactor.call_every(Duration::from_millis(1), move |reactor| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         reactor.stop();
    ///     }
    /// });
    /// reactor.run()?;
    /// repeated.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call_every(
        &self,
        period: Duration,
        callback: impl FnMut(&Reactor) + 'static,
    ) -> RepeatedCall {
        let inner = Rc::new(Inner {
            period: period.max(Duration::from_nanos(1)),
            callback: RefCell::new(Some(Box::new(callback))),
            next: RefCell::new(None),
            cancelled: Cell::new(false),
        });
        let first = after(self.now(), inner.period);
        inner.schedule(self, first);
        RepeatedCall { inner }
    }
}

impl Inner {
    fn schedule(self: &Rc<Self>, reactor: &Reactor, due: Instant) {
        let inner = Rc::clone(self);
        let delay = due.saturating_duration_since(reactor.now());
        let call = reactor.call_later(delay, move |reactor| inner.call(reactor, due));
        self.next.replace(Some(call));
    }

    fn call(self: &Rc<Self>, reactor: &Reactor, due: Instant) {
        // Taken out, so that the callback may cancel the repetition, and is not called again after a panic.
        let Some(mut callback) = self.callback.take() else {
            return;
        };
        callback(reactor);
        if self.cancelled.get() {
            return;
        }
        self.callback.replace(Some(callback));
        self.schedule(reactor, next_due(due, reactor.now(), self.period));
    }
}

/// The first multiple of the period after `due` that is later than `now`.
pub(super) fn next_due(due: Instant, now: Instant, period: Duration) -> Instant {
    let next = after(due, period);
    if next > now {
        return next;
    }
    let late = now.saturating_duration_since(due).as_nanos() % period.as_nanos();
    let late = u64::try_from(late).map_or(Duration::ZERO, Duration::from_nanos);
    after(now, period.saturating_sub(late))
}

impl RepeatedCall {
    /// Ends the repetition, and drops the callback, once it is not running. Does nothing if it has ended.
    pub fn cancel(&self) {
        self.inner.cancelled.set(true);
        let next = self.inner.next.take();
        if let Some(next) = next {
            next.cancel();
        }
        let callback = self.inner.callback.take();
        drop(callback);
    }

    /// Whether the repetition goes on.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let next = self.inner.next.borrow();
        !self.inner.cancelled.get() && next.as_ref().is_some_and(DelayedCall::is_active)
    }
}

impl fmt::Debug for RepeatedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatedCall")
            .field("period", &self.inner.period)
            .field("active", &self.is_active())
            .finish()
    }
}
