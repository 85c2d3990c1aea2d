//! State that belongs to whoever holds the interpreter lock, and the one place that lets go of it.
//!
//! A reactor is for one thread at a time. Python's lock says which one that is: everything here is
//! entered with it held. It is released in one place only, around a wait that may block; a thread that
//! then comes in is turned away by [`Waiting`], since the waiting thread is inside the port.

#![expect(
    unsafe_code,
    reason = "the compiler does not know that the interpreter lock serializes all access"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::endings;

/// A value that is reached with the interpreter lock held.
pub(crate) struct Locked<T>(T);

// SAFETY: a reference to the value is had only from `get`, for which the caller holds the interpreter
// lock, or from `&mut self`; the lock makes one thread's accesses visible to the next one's.
unsafe impl<T> Send for Locked<T> {}
// SAFETY: as for `Send`: there is one lock, so no two threads are in `get` at the same time. The lock is
// released inside of a borrow only around waits, where `Waiting` keeps others away.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Locked<T> {
        Locked(value)
    }

    pub(crate) fn get<'a>(&'a self, _lock: Python<'a>) -> &'a T {
        &self.0
    }

    /// For the garbage collector's visits, which hold the lock and have no token for it.
    pub(crate) fn visited(&self) -> &T {
        &self.0
    }
}

/// Whether a thread waits at the port without the interpreter lock.
#[derive(Default)]
pub(crate) struct Waiting(AtomicBool);

impl Waiting {
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets other threads run Python while `wait` runs.
    pub(crate) fn release(&self, wait: &mut dyn FnMut()) {
        struct Carried<'a>(&'a mut dyn FnMut());
        // SAFETY: it is called by this very thread: `detach` asks for `Send` so that nothing that
        // belongs to the interpreter is used without the lock, and a port's wait uses nothing of it.
        unsafe impl Send for Carried<'_> {}
        impl Carried<'_> {
            fn call(self) {
                (self.0)();
            }
        }
        let carried = Carried(wait);
        Python::attach(|py| {
            self.0.store(true, Ordering::Relaxed);
            py.detach(move || {
                carried.call();
                endings::stay_if_over();
            });
            self.0.store(false, Ordering::Relaxed);
        });
    }
}
