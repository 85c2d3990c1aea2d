//! How a future waits for what the loop does.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The waker of the one future that waits for an event. It is kept after the event, because the same task waits again as a
/// rule.
#[derive(Default)]
pub(super) struct Waiting {
    waits: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Waiting {
    /// Wakes what waits. The cell is empty meanwhile: a waker may be any code, and wait again.
    pub(super) fn wake(&self) {
        if !self.waits.replace(false) {
            return;
        }
        let Some(waker) = self.waker.take() else {
            return;
        };
        waker.wake_by_ref();
        if !self.waits.get() {
            self.waker.set(Some(waker));
        }
    }

    pub(super) fn wait<T>(&self, context: &Context<'_>) -> Poll<T> {
        let waker = context.waker();
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
        self.waits.set(true);
        Poll::Pending
    }
}

/// The wakers of several futures that wait for an event. It wakes all of them: each then looks whether it can go on.
#[derive(Default)]
pub(super) struct Waiters(RefCell<Vec<Waker>>);

impl Waiters {
    pub(super) fn wake(&self) {
        // Not at once: waking may add a waker.
        for waker in self.0.take() {
            waker.wake();
        }
    }

    pub(super) fn wait<T>(&self, context: &Context<'_>) -> Poll<T> {
        let waker = context.waker();
        let known = self.0.borrow().iter().any(|old| old.will_wake(waker));
        if !known {
            let waker = waker.clone();
            self.0.borrow_mut().push(waker);
        }
        Poll::Pending
    }
}

/// A value that a callback gives and a future waits for.
struct Slot<T> {
    value: RefCell<Option<T>>,
    /// Whether the callback was dropped.
    over: Cell<bool>,
    waiting: Waiting,
}

/// The callback's side of a value. Dropping it tells the future that there will be none.
pub(super) struct Giver<T>(Rc<Slot<T>>);

/// The future's side of a value.
pub(super) struct Taker<T>(Rc<Slot<T>>);

/// Both sides of a value.
pub(super) fn value<T>() -> (Giver<T>, Taker<T>) {
    let slot = Rc::new(Slot {
        value: RefCell::new(None),
        over: Cell::new(false),
        waiting: Waiting::default(),
    });
    (Giver(Rc::clone(&slot)), Taker(slot))
}

impl<T> Giver<T> {
    pub(super) fn give(self, value: T) {
        self.0.value.replace(Some(value));
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.waiting.wake();
    }
}

impl<T> Taker<T> {
    /// Waits for the value; `None` if the callback was dropped without giving one.
    pub(super) async fn take(self) -> Option<T> {
        poll_fn(|context| match self.0.over.get() {
            true => Poll::Ready(self.0.value.take()),
            false => self.0.waiting.wait(context),
        })
        .await
    }
}
