//! The end of the interpreter, while loops run in other threads than the one that ends it.
//!
//! A loop that waits at the port without the interpreter lock must not ask for it afterwards: Python has freed what it
//! knew of the thread, and in a program that embeds Python the lock may belong to the next interpreter by then. So such a
//! thread stays where it waits, for ever. A thread in the middle of a callback is Python's to end: see
//! [`exits`](crate::exits).

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pyo3::prelude::*;

/// Whether the interpreter ends.
static OVER: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread ends it. That one goes on: exit handlers may use a loop.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Blocks this thread for ever. It must hold neither the interpreter lock nor another one.
pub(crate) fn stay() -> ! {
    loop {
        thread::park();
    }
}

/// Keeps this thread, which has no interpreter lock now, if the interpreter ends in another one.
pub(crate) fn stay_if_over() {
    if OVER.load(Ordering::Acquire) && !ENDS.get() {
        stay();
    }
}

/// This process is a copy, in which the thread that ended the interpreter does not live on.
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
