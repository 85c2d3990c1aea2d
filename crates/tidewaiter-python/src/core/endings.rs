//! Handles the end of the interpreter while loops run in other threads.
//!
//! A loop that waits at the port has released the interpreter lock. It must not take the lock again once the
//! interpreter has ended: Python has freed its record of the thread, and in a program that embeds Python, the lock may
//! belong to a new interpreter by then. Such a thread blocks forever instead. [`exits`](super::exits) handles threads
//! that Python ends in the middle of a callback.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pyo3::prelude::*;

/// Whether the interpreter is ending or has ended.
static OVER: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread ends the interpreter. It may go on: exit handlers may use a loop.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Blocks this thread forever. The thread must hold neither the interpreter lock nor any other lock.
pub(crate) fn stay() -> ! {
    loop {
        thread::park();
    }
}

/// Blocks this thread forever if another thread ends the interpreter. The thread must not hold the interpreter lock.
pub(crate) fn stay_if_over() {
    if OVER.load(Ordering::Acquire) && !ENDS.get() {
        stay();
    }
}

/// Called in a forked child, where the thread that was ending the interpreter may not exist.
pub(crate) fn forget_others() {
    OVER.store(ENDS.get(), Ordering::Release);
}

/// To be called when the interpreter is about to end.
#[pyfunction]
#[pyo3(name = "_end")]
pub(crate) fn end() {
    ENDS.set(true);
    OVER.store(true, Ordering::Release);
}
