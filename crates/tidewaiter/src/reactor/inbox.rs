//! The way in from other threads: a queue that wakes the port.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};

#[cfg(loom)]
use loom::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::port::Waker;

/// The inbox is closed; here is the value back.
pub(crate) struct Closed<T>(pub(crate) T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed")
    }
}

struct Queue<T> {
    values: VecDeque<T>,
    closed: bool,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Whether the queue may hold something. Set and cleared under the lock; read without it, so that
    /// the consumer takes no lock for an empty queue.
    filled: AtomicBool,
    waker: Waker,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing of the users' runs under the lock, so a panic elsewhere left the queue whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
