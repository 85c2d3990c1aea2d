//! Ends a port's wait early, from any thread.

use std::fmt;
use std::io;

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

/// The kernel's part of a wake-up.
///
/// Must neither block nor allocate, because signal handlers call it too.
pub(crate) trait Notify: Send + Sync {
    /// Makes the current or the next wait return. Returns false if the OS refuses; the next call
    /// tries again.
    fn notify(&self) -> bool;
}

use crate::os::Origin;

struct Shared {
    /// Whether a wake-up is under way that the port has not acknowledged.
    pending: AtomicBool,
    notify: Box<dyn Notify>,
}

/// Ends the current, or else the next, [`Port::wait`](super::Port::wait), from any thread.
///
/// Waking never blocks. Several wake-ups may end one wait together, but none is lost: everything that a
/// thread did before it called [`wake`](Waker::wake) is visible to the port's thread after the wait that
/// the wake-up ended. Waking a port that is gone does nothing.
///
/// ```
/// use tidewaiter::port::{Port, PortOptions, Waker};
///
/// let mut port = Port::open(&PortOptions::default())?;
/// let waker: Waker = port.waker();
/// let thread = std::thread::spawn(move || waker.wake());
/// port.wait(None, &mut Vec::new())?;
/// thread.join().expect("no panic");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
    /// The process that the port belongs to.
    origin: Option<std::sync::Arc<Origin>>,
}

impl Waker {
    pub(crate) fn new(notify: Box<dyn Notify>) -> Waker {
        Waker {
            shared: Arc::new(Shared {
                pending: AtomicBool::new(false),
                notify,
            }),
            origin: None,
        }
    }

    /// Returns this waker for a port of that origin.
    pub(super) fn of(self, origin: Option<std::sync::Arc<Origin>>) -> Waker {
        Waker { origin, ..self }
    }

    /// Returns an error in a forked copy of the process that the port belongs to.
    pub(crate) fn check_process(&self) -> io::Result<()> {
        self.origin.as_ref().map_or(Ok(()), |origin| origin.check())
    }

    /// Ends the port's wait. Safe to call from a signal handler, except for the waker of a simulated port.
    /// Does nothing in a copy, made by `fork`, of the process that the port belongs to.
    pub fn wake(&self) {
        if self
            .origin
            .as_ref()
            .is_some_and(|origin| origin.is_elsewhere())
        {
            return;
        }
        // Release: the acknowledging thread sees everything that this thread wrote before.
        if !self.shared.pending.swap(true, Ordering::AcqRel) && !self.shared.notify.notify() {
            // No notification is under way, so later wake-ups must send one.
            self.shared.pending.store(false, Ordering::Release);
        }
    }

    /// Notes that the port saw the notification: later wake-ups need another one.
    ///
    /// Call it before looking at the results that the wake-ups announced.
    pub(crate) fn acknowledge(&self) {
        // A swap instead of a store reads the wakers' writes, and so sees everything they did
        // before.
        self.shared.pending.swap(false, Ordering::AcqRel);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

#[cfg(test)]
mod calling {
    use super::{Notify, Waker};

    struct Calling<F>(F);

    impl<F: Fn() + Send + Sync> Notify for Calling<F> {
        fn notify(&self) -> bool {
            (self.0)();
            true
        }
    }

    impl Waker {
        /// Returns a waker without a port, for tests of its callers.
        pub(crate) fn calling(notify: impl Fn() + Send + Sync + 'static) -> Waker {
            Waker::new(Box::new(Calling(notify)))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Notify, Waker};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Refuses the first calls, and counts all.
    struct Refusing {
        calls: Arc<AtomicUsize>,
        refused: usize,
    }

    impl Notify for Refusing {
        fn notify(&self) -> bool {
            self.calls.fetch_add(1, Ordering::SeqCst) >= self.refused
        }
    }

    #[test]
    fn a_wake_up_that_the_os_refused_does_not_swallow_later_ones() {
        let calls = Arc::new(AtomicUsize::new(0));
        let waker = Waker::new(Box::new(Refusing {
            calls: Arc::clone(&calls),
            refused: 2,
        }));
        for _ in 0..5 {
            waker.wake();
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn wakes_before_the_port_took_note_are_one() {
        let notified = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&notified);
        let waker = Waker::calling(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        waker.wake();
        waker.clone().wake();
        assert_eq!(notified.load(Ordering::SeqCst), 1);
        waker.acknowledge();
        waker.wake();
        assert_eq!(notified.load(Ordering::SeqCst), 2);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Waker;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// Goal: after the wait that a wake-up ended, everything that the waking thread wrote before is
    /// visible; no wake-up is lost (loom would report the wait as a deadlock), and none notifies
    /// twice.
    /// Method: relaxed writes, so that only the waker orders them.
    #[test]
    fn loom_a_wake_up_is_never_lost_and_shows_what_came_before() {
        const WAKERS: usize = 2;
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let rings = Arc::new((Mutex::new(0), Condvar::new()));
            let ring = Arc::clone(&rings);
            let waker = Waker::calling(move || {
                *ring.0.lock().unwrap() += 1;
                ring.1.notify_one();
            });
            let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            for thread in 0..WAKERS {
                let (waker, written) = (waker.clone(), Arc::clone(&written));
                thread::spawn(move || {
                    written[thread].store(1, Ordering::Relaxed);
                    waker.wake();
                });
            }
            let all_seen = || written.iter().all(|flag| flag.load(Ordering::Relaxed) == 1);
            while !all_seen() {
                let mut count = rings.0.lock().unwrap();
                while *count == 0 {
                    count = rings.1.wait(count).unwrap();
                }
                assert_eq!(*count, 1, "wake-ups coalesce until one is acknowledged");
                *count = 0;
                drop(count);
                waker.acknowledge();
            }
        });
    }
}
