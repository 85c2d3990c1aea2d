//! Wake-ups of a port's thread, by wakers and by other ports of its world.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use crate::port::waker::Notify;

/// Wakes the thread of a port.
#[derive(Debug)]
pub(super) struct ThreadNotify {
    woken: AtomicBool,
    /// The thread that waits.
    thread: Mutex<Thread>,
}

impl ThreadNotify {
    pub(super) fn of_this_thread() -> ThreadNotify {
        ThreadNotify {
            woken: AtomicBool::new(false),
            thread: Mutex::new(std::thread::current()),
        }
    }

    /// Notes that this thread is about to wait; it may differ from the one that made the port. Call
    /// it before looking at any state that a waker announces.
    pub(super) fn attach_to_this_thread(&self) {
        *self.thread() = std::thread::current();
    }

    fn thread(&self) -> MutexGuard<'_, Thread> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the port check the world again, without counting as a wake-up.
    pub(super) fn recheck(&self) {
        let thread = self.thread();
        if thread.id() != std::thread::current().id() {
            thread.unpark();
        }
    }

    /// Whether the waker was used since the last call.
    pub(super) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until a wake-up, a call of `recheck`, or the time `end`; possibly for less.
    pub(super) fn park_until(&self, end: Instant) {
        debug_assert_eq!(self.thread().id(), std::thread::current().id());
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}

impl Notify for Arc<ThreadNotify> {
    fn notify(&self) -> bool {
        self.woken.store(true, Ordering::Release);
        self.thread().unpark();
        true
    }
}
