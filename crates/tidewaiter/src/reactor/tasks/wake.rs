//! Wakers of tasks: without a lock on the reactor's own thread, through its inbox on others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::{Key, Remote};

/// The tasks that were woken, in order.
#[derive(Default)]
pub(super) struct Ready {
    /// How many are in both queues.
    count: Cell<usize>,
    /// Polled in this turn.
    now: RefCell<VecDeque<Key>>,
    /// Polled in the next turn: tasks that woke themselves while they were polled.
    later: RefCell<VecDeque<Key>>,
    /// The task that is being polled, as a word: none is 0.
    current: Cell<u64>,
}

impl Ready {
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.count.get() != 0
    }

    pub(super) fn push(&self, key: Key) {
        let queue = match self.current.get() == key.to_u64() {
            true => &self.later,
            false => &self.now,
        };
        queue.borrow_mut().push_back(key);
        self.count.set(self.count.get() + 1);
    }

    /// How many tasks are ready in this turn.
    pub(super) fn woken(&self) -> usize {
        self.now.borrow().len()
    }

    /// Returns how many tasks are ready at the beginning of a round.
    pub(super) fn begin_round(&self) -> usize {
        let mut now = self.now.borrow_mut();
        now.append(&mut self.later.borrow_mut());
        now.len()
    }

    /// Takes the next task. What it wakes by itself until the next call waits for the next round.
    pub(super) fn next(&self) -> Option<Key> {
        let next = self.now.borrow_mut().pop_front()?;
        self.count.set(self.count.get() - 1);
        self.current.set(next.to_u64());
        Some(next)
    }

    pub(super) fn end_round(&self) {
        self.current.set(0);
    }
}

thread_local! {
    /// The queues of this thread's reactors, each with the mark of its home.
    static QUEUES: RefCell<Vec<(Arc<Mark>, Rc<Ready>)>> = const { RefCell::new(Vec::new()) };
}

/// Identifies a reactor to the wakers of its tasks: by its address, and by being alive.
struct Mark {
    remote: Remote,
}

/// The reactor's side of its wakers. While it exists, wakers find the queue without a lock on this thread.
pub(super) struct Home {
    mark: Arc<Mark>,
}

impl Home {
    pub(super) fn new(remote: Remote, ready: &Rc<Ready>) -> Home {
        let mark = Arc::new(Mark { remote });
        let entry = (Arc::clone(&mark), Rc::clone(ready));
        // An error means that the thread ends: wakers then go through the inbox.
        let _ = QUEUES.try_with(|queues| queues.borrow_mut().push(entry));
        Home { mark }
    }

    pub(super) fn waker(&self, key: Key) -> Arc<TaskWaker> {
        Arc::new(TaskWaker {
            queued: AtomicBool::new(false),
            key,
            mark: Arc::clone(&self.mark),
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let removed = QUEUES.try_with(|queues| {
            let mut queues = queues.borrow_mut();
            let place = queues
                .iter()
                .position(|(mark, _)| Arc::ptr_eq(mark, &self.mark));
            place.map(|place| queues.swap_remove(place))
        });
        drop(removed);
    }
}

/// Wakes one task.
pub(super) struct TaskWaker {
    /// Whether the task is in the queue, or on its way there.
    queued: AtomicBool,
    key: Key,
    mark: Arc<Mark>,
}

impl TaskWaker {
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Notes that a poll begins: the next wake-up queues the task again. What threads did before they woke it is
    /// visible from here on.
    pub(super) fn begin_poll(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }

    /// Queues the task if this is the reactor's thread. Returns whether it is.
    fn wake_here(&self) -> bool {
        let found = QUEUES.try_with(|queues| {
            let queues = queues.borrow();
            let home = queues
                .iter()
                .find(|(mark, _)| Arc::ptr_eq(mark, &self.mark));
            let Some((_, ready)) = home else { return false };
            // If another thread wakes the task between these two steps, it is polled once too often, which is allowed.
            if !self.queued.load(Ordering::Relaxed) {
                self.queued.store(true, Ordering::Relaxed);
                ready.push(self.key);
            }
            true
        });
        found.unwrap_or(false)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.wake_here() && !self.queued.swap(true, Ordering::AcqRel) {
            let key = self.key;
            // An error means that the reactor has ended, and its tasks with it.
            let _ = self
                .mark
                .remote
                .call(move |reactor| reactor.task_woken(key));
        }
    }
}
