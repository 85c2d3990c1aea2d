//! A queue through which other threads reach the loop. Sending wakes the port.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;

#[cfg(loom)]
use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
};

use crate::port::Waker;

/// The inbox is closed; this returns the value.
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
    /// Whether the queue holds something. Written under the lock, and read without it, so that the consumer
    /// takes no lock when nothing was sent.
    filled: AtomicBool,
    /// Whether the consumer waits or is about to. While it does not, senders need not wake it: it checks the
    /// queue again before it waits.
    waiting: AtomicBool,
    waker: Waker,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // No user code runs under the lock, so a panic elsewhere left the queue consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The consumer's half of the queue. Closes the queue when dropped.
pub(crate) struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Inbox<T> {
    /// Makes an open inbox. Its senders wake the port of `waker`.
    pub(crate) fn new(waker: Waker) -> Inbox<T> {
        Inbox {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    values: VecDeque::new(),
                    closed: false,
                }),
                filled: AtomicBool::new(false),
                waiting: AtomicBool::new(false),
                waker,
            }),
        }
    }

    /// Makes a sender, to be cloned and given to other threads.
    pub(crate) fn sender(&self) -> Sender<T> {
        Sender {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether nothing has been sent, so that the consumer may wait. From here on, sending wakes the port.
    ///
    /// Call this before each wait that may block.
    pub(crate) fn may_wait(&self) -> bool {
        self.shared.waiting.store(true, Ordering::Relaxed);
        // Pairs with the fence in `send`: either we see that the queue is filled, or the sender sees that we
        // wait.
        fence(Ordering::SeqCst);
        !self.shared.filled.load(Ordering::Relaxed)
    }

    /// Appends to `into` all values sent before the wait that just ended, in the order of sending.
    ///
    /// Takes no lock when nothing was sent. Call this after each wait. A value sent later keeps the next wait
    /// from blocking, or ends it.
    pub(crate) fn drain(&self, into: &mut VecDeque<T>) {
        self.shared.waiting.store(false, Ordering::Relaxed);
        // Relaxed is enough: the pair of a sender's `wake` and the port's acknowledgement makes the sender's
        // earlier store visible here. The lock guards the values.
        if !self.shared.filled.load(Ordering::Relaxed) {
            return;
        }
        let mut queue = self.shared.lock();
        self.shared.filled.store(false, Ordering::Relaxed);
        if into.is_empty() {
            // Swaps the two allocations, so that neither has to grow again.
            std::mem::swap(into, &mut queue.values);
        } else {
            into.append(&mut queue.values);
        }
    }

    /// Refuses all values from here on. Those sent before can still be drained.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.close();
        let mut rest = VecDeque::new();
        // Drops the values after the lock is released, because they may own senders of this very inbox.
        self.drain(&mut rest);
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// The sending half of the queue, for any thread.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Appends `value`, and wakes the port if it waits and no earlier sender has woken it.
    ///
    /// # Errors
    ///
    /// [`Closed`] returns the value.
    pub(crate) fn send(&self, value: T) -> Result<(), Closed<T>> {
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(Closed(value));
        }
        let first = queue.values.is_empty();
        queue.values.push_back(value);
        if first {
            self.shared.filled.store(true, Ordering::Relaxed);
        }
        drop(queue);
        // If the queue was not empty, the sender of its first value wakes the port.
        if first {
            fence(Ordering::SeqCst);
            if self.shared.waiting.load(Ordering::Relaxed) {
                self.shared.waker.wake();
            }
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Closed, Inbox};
    use crate::port::Waker;
    use std::collections::VecDeque;
    use std::sync::mpsc;
    use std::thread;

    fn silent() -> Waker {
        Waker::calling(|| {})
    }

    #[test]
    fn drained_values_are_appended_in_the_order_of_sending() {
        let inbox = Inbox::new(silent());
        let (one, two) = (inbox.sender(), inbox.sender());
        one.send(1).unwrap();
        two.send(2).unwrap();
        let mut taken = VecDeque::from([0]);
        inbox.drain(&mut taken);
        one.send(3).unwrap();
        inbox.drain(&mut taken);
        inbox.drain(&mut taken);
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn a_closed_inbox_returns_the_value_and_keeps_earlier_ones() {
        let inbox = Inbox::new(silent());
        let sender = inbox.sender();
        sender.send("before").unwrap();
        inbox.close();
        assert!(matches!(sender.send("after"), Err(Closed("after"))));
        let mut taken = VecDeque::new();
        inbox.drain(&mut taken);
        assert_eq!(taken, ["before"]);
    }

    /// Sends to its own inbox when dropped, as a user's closure may do.
    struct SendsWhenDropped(super::Sender<Option<SendsWhenDropped>>, mpsc::Sender<bool>);

    impl Drop for SendsWhenDropped {
        fn drop(&mut self) {
            self.1.send(self.0.send(None).is_err()).unwrap();
        }
    }

    #[test]
    fn dropping_the_inbox_drops_its_values_outside_the_lock() {
        let inbox = Inbox::new(silent());
        let sender = inbox.sender();
        let (report, reports) = mpsc::channel();
        let parting = SendsWhenDropped(sender.clone(), report);
        sender.send(Some(parting)).unwrap();
        drop(inbox);
        assert_eq!(reports.try_recv(), Ok(true), "refused, and not deadlocked");
    }

    /// Goal: no value of many threads is lost, with a consumer that only drains when woken.
    #[test]
    fn values_of_many_threads_all_arrive() {
        let (bell, rings) = mpsc::channel();
        let waker = Waker::calling(move || bell.send(()).expect("the consumer still listens"));
        let inbox = Inbox::new(waker.clone());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let sender = inbox.sender();
                thread::spawn(move || {
                    for number in 0..1000 {
                        sender.send((thread, number)).unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; 4];
        let mut taken = VecDeque::new();
        while next != [1000; 4] {
            if inbox.may_wait() {
                rings.recv().unwrap();
                waker.acknowledge();
            }
            inbox.drain(&mut taken);
            for (thread, number) in taken.drain(..) {
                assert_eq!(number, next[thread]);
                next[thread] += 1;
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        drop(rings);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Inbox;
    use crate::port::Waker;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;
    use std::collections::VecDeque;

    /// A port that can only wait to be woken.
    struct Bell {
        rung: Arc<(Mutex<bool>, Condvar)>,
        waker: Waker,
    }

    impl Bell {
        fn new() -> Bell {
            let rung = Arc::new((Mutex::new(false), Condvar::new()));
            let ring = Arc::clone(&rung);
            let waker = Waker::calling(move || {
                *ring.0.lock().unwrap() = true;
                ring.1.notify_one();
            });
            Bell { rung, waker }
        }

        fn wait(&self) {
            let mut rung = self.rung.0.lock().unwrap();
            while !*rung {
                rung = self.rung.1.wait(rung).unwrap();
            }
            *rung = false;
            drop(rung);
            self.waker.acknowledge();
        }
    }

    /// Goal: in every interleaving, each value arrives once, each sender's values in order, and the consumer
    /// never waits while a value is there (loom reports that as a deadlock).
    fn all_arrive(senders: usize, values_each: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let bell = Bell::new();
            let inbox = Inbox::new(bell.waker.clone());
            for name in 0..senders {
                let sender = inbox.sender();
                thread::spawn(move || {
                    for number in 0..values_each {
                        sender.send((name, number)).unwrap();
                    }
                });
            }
            let mut next = vec![0; senders];
            let mut taken = VecDeque::new();
            while next.iter().any(|&count| count < values_each) {
                if inbox.may_wait() {
                    bell.wait();
                }
                inbox.drain(&mut taken);
                for (name, number) in taken.drain(..) {
                    assert_eq!(number, next[name]);
                    next[name] += 1;
                }
            }
        });
    }

    #[test]
    fn loom_values_of_one_sender_all_arrive() {
        all_arrive(1, 3);
    }

    #[test]
    fn loom_values_of_two_senders_all_arrive() {
        all_arrive(2, 2);
    }

    #[test]
    fn loom_values_of_three_senders_all_arrive() {
        all_arrive(3, 1);
    }

    /// Goal: a value sent while the inbox closes is either drained or returned, never lost.
    #[test]
    fn loom_closing_loses_nothing() {
        loom::model(|| {
            let bell = Bell::new();
            let inbox = Inbox::new(bell.waker.clone());
            let sender = inbox.sender();
            let thread = thread::spawn(move || {
                (0..2)
                    .filter(|&number| sender.send(number).is_ok())
                    .collect::<VecDeque<_>>()
            });
            inbox.close();
            let mut taken = VecDeque::new();
            inbox.drain(&mut taken);
            let accepted = thread.join().unwrap();
            assert_eq!(taken, accepted);
        });
    }
}
