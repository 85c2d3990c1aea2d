//! The end of the interpreter, while loops run in daemon threads.
//!
//! A thread that asks for the interpreter lock after that is ended by Python in a way that does not go through
//! Rust's frames, but aborts the process. So those that run a loop are kept from asking: the interpreter
//! calls `end` before it ends, and from then on they stay where they wait, as Python's own threads do from
//! 3.14 on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::prelude::*;
use tidewaiter::Remote;

/// How long the interpreter waits for loops in other threads to come to their next wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of loops that run.
struct Known {
    /// The thread of each loop that runs, and how it is woken.
    running: Vec<(ThreadId, Remote)>,
    /// Who ends the interpreter.
    ender: Option<ThreadId>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    running: Vec::new(),
    ender: None,
});
static STAYED: Condvar = Condvar::new();
/// Whether there is an ender: so that threads look for it only then.
static OVER: AtomicBool = AtomicBool::new(false);

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread runs a loop, until it is dropped.
pub(crate) struct Running(ThreadId);

impl Running {
    pub(crate) fn begin(remote: &Remote) -> Running {
        let thread = thread::current().id();
        known().running.push((thread, remote.clone()));
        Running(thread)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        leave(&mut known(), self.0);
    }
}

fn leave(known: &mut Known, thread: ThreadId) {
    // The latest: loops may be nested, if not their turns.
    if let Some(at) = known.running.iter().rposition(|(each, _)| *each == thread) {
        known.running.remove(at);
    }
    STAYED.notify_all();
}

/// Keeps this thread, which has no interpreter lock now, for ever, if the interpreter ends in another one.
pub(crate) fn stay_if_over() {
    if !OVER.load(Ordering::Acquire) {
        return;
    }
    let thread = thread::current().id();
    let mut known = known();
    if known.ender.is_none_or(|ender| ender == thread) {
        return;
    }
    leave(&mut known, thread);
    drop(known);
    loop {
        thread::park();
    }
}

/// This process is a copy, in which no other thread lives on.
pub(crate) fn forget_others() {
    let thread = thread::current().id();
    known().running.retain(|(each, _)| *each == thread);
}

/// To be called when the interpreter is about to end.
#[pyfunction]
#[pyo3(name = "_end")]
pub(crate) fn end(py: Python<'_>) {
    py.detach(|| {
        let thread = thread::current().id();
        let mut known = known();
        known.ender = Some(thread);
        OVER.store(true, Ordering::Release);
        for (_, remote) in &known.running {
            remote.wake();
        }
        let others = |known: &mut Known| known.running.iter().any(|(each, _)| *each != thread);
        // Whoever takes longer than that runs Python code, not ours.
        let waited = STAYED.wait_timeout_while(known, PATIENCE, others);
        drop(waited);
    });
}
