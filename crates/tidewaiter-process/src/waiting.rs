//! Waiting for a change of a value that another thread makes: by a future, or blocking.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A value, and those that wait for its changes.
#[derive(Default)]
pub(crate) struct Watched<T> {
    value: Mutex<Waited<T>>,
    changed: Condvar,
}

#[derive(Default)]
struct Waited<T> {
    value: T,
    /// Most values have one waiter: it takes no allocation.
    waker: Option<Waker>,
    other_wakers: Vec<Waker>,
    /// How many threads block until the next change. To wake none would cost a system call as well.
    blocked: usize,
}

impl<T> Waited<T> {
    fn add(&mut self, waker: &Waker) {
        let mut known = self.waker.iter().chain(&self.other_wakers);
        if known.any(|old| old.will_wake(waker)) {
            return;
        }
        match &mut self.waker {
            none @ None => *none = Some(waker.clone()),
            Some(_) => self.other_wakers.push(waker.clone()),
        }
    }
}

impl<T> Watched<T> {
    fn lock(&self) -> MutexGuard<'_, Waited<T>> {
        // Our own code alone runs under the lock, and does not panic half-way.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value, and wakes all that wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.change_and_wake_if(|value| (change(value), true))
    }

    /// Changes the value, and wakes all that wait if `change` says so.
    pub(crate) fn change_and_wake_if<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let mut waited = self.lock();
        let (result, wakes) = change(&mut waited.value);
        if !wakes {
            return result;
        }
        let first = waited.waker.take();
        let others = std::mem::take(&mut waited.other_wakers);
        let blocked = waited.blocked > 0;
        drop(waited);
        if blocked {
            self.changed.notify_all();
        }
        first.into_iter().chain(others).for_each(Waker::wake);
        result
    }

    /// Looks at the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Waits until `look` returns something.
    pub(crate) fn poll<R>(
        &self,
        context: &Context<'_>,
        look: impl FnOnce(&mut T) -> Option<R>,
    ) -> Poll<R> {
        let mut waited = self.lock();
        if let Some(result) = look(&mut waited.value) {
            return Poll::Ready(result);
        }
        waited.add(context.waker());
        Poll::Pending
    }

    /// As [`poll`](Watched::poll), blocking.
    pub(crate) fn wait<R>(&self, mut look: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut waited = self.lock();
        loop {
            if let Some(result) = look(&mut waited.value) {
                return result;
            }
            waited.blocked += 1;
            let woken = self.changed.wait(waited);
            waited = woken.unwrap_or_else(PoisonError::into_inner);
            waited.blocked -= 1;
        }
    }
}
