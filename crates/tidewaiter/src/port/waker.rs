//! Ending a port's wait early, from any thread.

use std::fmt;

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The kernel's part of a wake-up: makes the current or the next wait return.
///
/// Must neither block nor allocate: it is called from signal handlers too.
pub(crate) trait Notify: Send + Sync {
    /// Makes the current or the next wait return.
    fn notify(&self);
}

struct Shared {
    /// A wake-up is under way that the port has not yet taken note of.
    pending: AtomicBool,
    notify: Box<dyn Notify>,
}

/// Ends the current, or else the next, [`Port::wait`](super::Port::wait), from any thread.
///
/// Waking never blocks. Wake-ups that come before the port took note of an earlier one are one with
/// it; none is lost: whatever a thread did before `wake` is visible to the port's thread after the
/// wait that the wake-up ended. Waking a port that is gone does nothing.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    pub(crate) fn new(notify: Box<dyn Notify>) -> Waker {
        Waker {
            shared: Arc::new(Shared {
                pending: AtomicBool::new(false),
                notify,
            }),
        }
    }

    /// Ends the port's wait. Safe to call from a signal handler.
    pub fn wake(&self) {
        // Release: what this thread wrote before is seen by the one that acknowledges.
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            self.shared.notify.notify();
        }
    }

    /// The port saw the notification: wake-ups from here on need another one.
    ///
    /// To be called before anything that the wake-ups announced is looked at.
    pub(crate) fn acknowledge(&self) {
        // A swap, not a store: it reads what the wakers wrote, and so sees all they did before.
        self.shared.pending.swap(false, Ordering::AcqRel);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
