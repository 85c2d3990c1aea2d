//! Futures that wait for a time.

use std::cell::{Cell, RefCell};
use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::reactor::delayed::after;
use crate::reactor::repeating::next_due;
use crate::reactor::{DelayedCall, Reactor};

/// The state that a sleep and its timer share.
#[derive(Default)]
struct Alarm {
    rang: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Waits for a time. Made by [`Reactor::sleep`]. Dropping it cancels its timer.
///
/// ```
/// use std::time::Duration;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let before = reactor.now();
/// reactor.block_on(reactor.sleep(Duration::from_millis(2)))?;
/// assert!(reactor.now() - before >= Duration::from_millis(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    timer: DelayedCall,
    alarm: Rc<Alarm>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.alarm.rang.get() {
            return Poll::Ready(());
        }
        let mut waker = self.alarm.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.timer.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("due", &self.timer.due())
            .finish()
    }
}

impl Reactor {
    /// Waits for `delay` from this call on, by the reactor's clock, as exactly as
    /// [`call_later`](Reactor::call_later) does. On a reactor that has stopped, it never ends.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        let alarm = Rc::new(Alarm::default());
        let rings = Rc::clone(&alarm);
        let timer = self.call_later(delay, move |_| {
            rings.rang.set(true);
            let waker = rings.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Sleep { timer, alarm }
    }

    /// Gives `future` this much time from this call on. If it is not done by then, it is dropped, and the result is
    /// [`Elapsed`]. A future that is ready at its last poll wins.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let handle = reactor.clone();
    /// let late = reactor.block_on(async {
    ///     handle.timeout(Duration::from_millis(1), std::future::pending::<()>()).await
    /// })?;
    /// assert!(late.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout {
            limit,
            sleep: self.sleep(limit),
            future: Some(Box::pin(future)),
        }
    }

    /// Makes ticks of this period, at least one nanosecond. The first tick is due at once.
    #[must_use]
    pub fn interval(&self, period: Duration) -> Interval {
        Interval {
            reactor: self.clone(),
            period: period.max(Duration::from_nanos(1)),
            due: self.now(),
            missed: MissedTicks::default(),
        }
    }
}

/// A [timeout](Reactor::timeout) has passed.
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::Elapsed;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let slow = reactor.timeout(Duration::from_millis(1), std::future::pending::<()>());
/// let late: Result<(), Elapsed> = reactor.block_on(slow)?;
/// assert_eq!(late.unwrap_err().to_string(), "not done within 1ms");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    limit: Duration,
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.limit)
    }
}

impl error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// A future with a limit. Made by [`Reactor::timeout`].
///
/// ```
/// use std::time::Duration;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let answer = reactor.timeout(Duration::from_secs(60), async { 42 });
/// assert_eq!(reactor.block_on(answer)?, Ok(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Timeout<F> {
    limit: Duration,
    sleep: Sleep,
    /// `None` once it is over.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            self.future = None;
            return Poll::Ready(Ok(output));
        }
        if Pin::new(&mut self.sleep).poll(context).is_pending() {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(Err(Elapsed { limit: self.limit }))
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// How an [`Interval`] treats ticks that are overdue by a period or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Returns them one after another, without waiting, until none is overdue.
    #[default]
    Burst,
    /// Returns one at once; the next is due a period after that.
    Delay,
    /// Returns one at once, and the next at the next multiple of the period since the first.
    Skip,
}

/// Ticks with a period. Made by [`Reactor::interval`].
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::MissedTicks;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let period = Duration::from_millis(2);
/// let mut ticks = reactor.interval(period).missed_ticks(MissedTicks::Skip);
/// reactor.block_on(async {
///     let first = ticks.tick().await; // at once
///     let second = ticks.tick().await;
///     assert!(second - first >= period);
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Interval {
    reactor: Reactor,
    period: Duration,
    due: Instant,
    missed: MissedTicks,
}

impl Interval {
    /// Sets what happens to missed ticks. The default is [`MissedTicks::Burst`].
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Interval {
        self.missed = missed;
        self
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick, and returns when it was due, by the reactor's clock. Dropping the future loses no
    /// tick.
    pub async fn tick(&mut self) -> Instant {
        let now = self.reactor.now();
        if self.due > now {
            self.reactor.sleep(self.due.duration_since(now)).await;
        }
        let (due, now) = (self.due, self.reactor.now());
        self.due = self.following(due, now);
        due
    }

    /// When the tick after the one that was `due` is due.
    fn following(&self, due: Instant, now: Instant) -> Instant {
        let next = after(due, self.period);
        if next > now {
            return next;
        }
        match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Delay => after(now, self.period),
            MissedTicks::Skip => next_due(due, now, self.period),
        }
    }
}
