//! Calls that become ready at a given time, by a clock of floating-point seconds.
//!
//! The calls are in a heap; the reactor has one timer, for the first of them. Cancelled calls stay in the heap until
//! they come first or are the majority.

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::{DelayedCall, Reactor};

use crate::core::hooks::Hook;

/// A heap with fewer cancelled calls than this is not worth sweeping.
const SWEEP_MIN: usize = 100;

/// Queues the call that an object stands for on the loop `L`, because it is due.
pub(crate) type Fire<L> = for<'py> fn(&L, Bound<'py, PyAny>);

/// A call and when it is due. Calls that are due at the same time are made in the order in which they were added.
pub(super) struct TimedCall<L> {
    due: f64,
    number: u64,
    pub(super) object: Py<PyAny>,
    pub(super) fire: Fire<L>,
}

impl<L> Ord for TimedCall<L> {
    /// The greatest is the first that is due, because `BinaryHeap` yields the greatest first.
    fn cmp(&self, other: &TimedCall<L>) -> Ordering {
        let by_time = other.due.total_cmp(&self.due);
        by_time.then(other.number.cmp(&self.number))
    }
}

impl<L> PartialOrd for TimedCall<L> {
    fn partial_cmp(&self, other: &TimedCall<L>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<L> PartialEq for TimedCall<L> {
    fn eq(&self, other: &TimedCall<L>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<L> Eq for TimedCall<L> {}

/// Python's monotonic clock, as the reactor's clock shows it.
struct Clock {
    base: Instant,
    at_base: f64,
}

/// The reactor's timer for the first call.
struct Armed {
    due: f64,
    timer: DelayedCall,
}

/// The calls that become ready later.
pub(crate) struct Timers<L> {
    heap: RefCell<BinaryHeap<TimedCall<L>>>,
    next_number: Cell<u64>,
    /// How many calls in the heap were cancelled.
    cancelled: Cell<usize>,
    clock: OnceCell<Clock>,
    /// Called as `clock()` in the place of our clock, if Python has set it.
    replaced: Hook,
    armed: RefCell<Option<Armed>>,
    alarm: Rc<Alarm>,
    /// How many calls became ready.
    fired: Cell<u64>,
}

/// The marks that the reactor's timer sets.
#[derive(Default)]
struct Alarm {
    /// Calls may be due: the next turn looks for them first.
    look: Cell<bool>,
    /// How often the reactor's timer fired.
    rung: Cell<u64>,
}

impl<L> Timers<L> {
    pub(super) fn new() -> Timers<L> {
        Timers {
            heap: RefCell::default(),
            next_number: Cell::default(),
            cancelled: Cell::default(),
            clock: OnceCell::new(),
            replaced: Hook::default(),
            armed: RefCell::default(),
            alarm: Rc::default(),
            fired: Cell::default(),
        }
    }

    /// How many calls wait, and how many became ready, given those numbers for all of the reactor's timers.
    pub(super) fn counts(&self, timers: usize, fired: u64) -> (usize, u64) {
        let armed = self.armed.borrow();
        let ours = armed.as_ref().is_some_and(|first| first.timer.is_active());
        let waiting = self.heap.borrow().len() - self.cancelled.get();
        (
            timers - usize::from(ours) + waiting,
            fired - self.alarm.rung.get() + self.fired.get(),
        )
    }

    /// Has the calls follow `clock`, or our own clock if that is `None`. To be followed by a look for due calls.
    pub(super) fn replace_clock(&self, clock: Option<Py<PyAny>>) {
        self.replaced.set(clock);
        self.alarm.look.set(true);
    }

    pub(super) fn clock_is_replaced(&self) -> bool {
        self.replaced.is_set()
    }

    fn clock(&self, py: Python<'_>) -> PyResult<&Clock> {
        if let Some(clock) = self.clock.get() {
            return Ok(clock);
        }
        let time = py.import(intern!(py, "time"))?;
        let at_base = time.call_method0(intern!(py, "monotonic"))?.extract()?;
        let base = Instant::now();
        Ok(self.clock.get_or_init(|| Clock { base, at_base }))
    }

    /// The time by our clock: what Python's `time.monotonic` returns.
    pub(crate) fn our_time(&self, py: Python<'_>) -> PyResult<f64> {
        let clock = self.clock(py)?;
        Ok(clock.at_base + clock.base.elapsed().as_secs_f64())
    }

    /// The time that the calls follow.
    pub(crate) fn time(&self, py: Python<'_>) -> PyResult<f64> {
        match self.replaced.get(py) {
            Some(clock) => clock.call0()?.extract(),
            None => self.our_time(py),
        }
    }

    pub(super) fn push(&self, due: f64, object: Py<PyAny>, fire: Fire<L>) {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.heap.borrow_mut().push(TimedCall {
            due,
            number,
            object,
            fire,
        });
    }

    /// When the first call is due.
    pub(super) fn first(&self) -> Option<f64> {
        self.heap.borrow().peek().map(|timed| timed.due)
    }

    /// Takes the first call, if it is due.
    pub(super) fn pop_due(&self, now: f64) -> Option<TimedCall<L>> {
        let mut heap = self.heap.borrow_mut();
        heap.peek().filter(|timed| timed.due <= now)?;
        self.fired.set(self.fired.get() + 1);
        heap.pop()
    }

    /// Has the reactor's timer fire at `due`, which is `delay` from now, or earlier.
    pub(super) fn arm(&self, reactor: &Reactor, due: f64, delay: Duration) {
        let mut armed = self.armed.borrow_mut();
        match &mut *armed {
            Some(first) if first.due <= due && first.timer.is_active() => {}
            Some(first) if first.timer.reset(delay) => first.due = due,
            _ => {
                let alarm = Rc::clone(&self.alarm);
                let timer = reactor.call_later(delay, move |reactor| {
                    alarm.look.set(true);
                    alarm.rung.set(alarm.rung.get() + 1);
                    reactor.skip_wait();
                });
                *armed = Some(Armed { due, timer });
            }
        }
    }

    /// Has the turn look for due calls after its events.
    pub(super) fn note_due(&self) {
        self.alarm.look.set(true);
    }

    /// Whether calls may be due.
    pub(super) fn take_due(&self) -> bool {
        let due = self.alarm.look.replace(false);
        due || self.clock_is_replaced()
    }

    /// Notes that a call in the heap was cancelled. Drops all that were, if they are the majority; `lives` tells the
    /// others from them.
    pub(crate) fn note_cancelled(&self, py: Python<'_>, lives: impl Fn(&Bound<'_, PyAny>) -> bool) {
        let cancelled = self.cancelled.get() + 1;
        self.cancelled.set(cancelled);
        if cancelled < SWEEP_MIN || cancelled * 2 < self.heap.borrow().len() {
            return;
        }
        let all = self.heap.take().into_iter();
        let (left, dropped): (Vec<_>, Vec<_>) = all.partition(|timed| lives(timed.object.bind(py)));
        self.heap.replace(left.into());
        self.cancelled.set(0);
        drop(dropped);
    }

    /// Notes that the call that was taken had been cancelled.
    pub(crate) fn forget_cancelled(&self) {
        self.cancelled.set(self.cancelled.get() - 1);
        self.fired.set(self.fired.get() - 1);
    }

    /// Drops all calls.
    pub(crate) fn clear(&self) {
        self.cancelled.set(0);
        self.replaced.set(None);
        let dropped = self.heap.take();
        drop(dropped);
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.replaced.traverse(visit)?;
        match self.heap.try_borrow() {
            Ok(heap) => heap.iter().try_for_each(|timed| visit.call(&timed.object)),
            Err(_) => Ok(()),
        }
    }
}
