//! Waiting for a change of a value that another thread makes: by a future, or blocking.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A value, and those that wait for its changes.
pub(crate) struct Watched<T> {
    value: Mutex<Waited<T>>,
    changed: Condvar,
}

struct Waited<T> {
    value: T,
    wakers: Vec<Waker>,
    /// How many threads block until the next change. To wake none would cost a system call as well.
    blocked: usize,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Watched<T> {
        Watched {
            value: Mutex::new(Waited {
                value,
                wakers: Vec::new(),
                blocked: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waited<T>> {
        // Our own code alone runs under the lock, and does not panic half-way.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value, and wakes all that wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut waited = self.lock();
        let result = change(&mut waited.value);
        let wakers = std::mem::take(&mut waited.wakers);
        let blocked = waited.blocked > 0;
        drop(waited);
        if blocked {
            self.changed.notify_all();
        }
        wakers.into_iter().for_each(Waker::wake);
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
        let waker = context.waker();
        if !waited.wakers.iter().any(|old| old.will_wake(waker)) {
            waited.wakers.push(waker.clone());
        }
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
