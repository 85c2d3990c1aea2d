//! Tasks: futures that the loop polls, on the reactor's own thread.

mod block_on;
mod join;
mod join_set;
mod remote;
mod time;
mod wake;
mod yielding;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Wake};

pub use join::{AbortHandle, JoinError, JoinHandle};
pub use join_set::JoinSet;
pub use remote::RemoteTask;
pub use time::{Elapsed, Interval, MissedTicks, Sleep, Timeout};
pub use yielding::{YieldNow, yield_now};

use super::{Key, Life, Reactor, Remote, Table};
use join::{Arrivals, Boxed, Task};
use wake::{Home, Ready, TaskWaker};

/// How many polls a turn makes before the loop asks the port again, unless more tasks were ready when it began.
const POLLS_MAX: usize = 1024;

/// Something that the loop polls: a task, or the future of [`Reactor::block_on`].
trait Polled {
    /// Polls it. Returns whether it is over, and must leave the table.
    fn poll(&self, reactor: &Reactor) -> Poll<()>;

    /// The loop will never poll it again: drops the future, and tells the task's handle.
    fn lose(&self, reactor: &Reactor, why: JoinError);
}

/// The tasks of one reactor.
pub(super) struct Tasks {
    all: RefCell<Table<Rc<dyn Polled>>>,
    ready: Rc<Ready>,
    /// Made with the first task: most reactors in callback style have none.
    home: RefCell<Option<Home>>,
    /// Whether `block_on` must poll its future before the loop may wait.
    main_woken: Cell<bool>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks {
            all: RefCell::new(Table::default()),
            ready: Rc::default(),
            home: RefCell::new(None),
            main_woken: Cell::new(false),
        }
    }
}

impl Tasks {
    /// Whether the loop has a future to poll, so that it must not wait.
    pub(super) fn are_ready(&self) -> bool {
        self.ready.any() || self.main_woken.get()
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.all.borrow().len()
    }

    fn insert(&self, polled: Rc<dyn Polled>) -> Key {
        self.all.borrow_mut().insert(polled)
    }

    fn remove(&self, key: Key) -> Option<Rc<dyn Polled>> {
        self.all.borrow_mut().remove(key)
    }

    fn waker(&self, key: Key, remote: impl FnOnce() -> Remote) -> Arc<TaskWaker> {
        let mut home = self.home.borrow_mut();
        home.get_or_insert_with(|| Home::new(remote(), &self.ready))
            .waker(key)
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("len", &self.len()).finish()
    }
}

impl Reactor {
    /// Starts a task: the loop polls `future` on the reactor's thread, first in this turn or the next, and then each
    /// time that it was woken.
    ///
    /// The future need not be `Send`, and may hold a [clone](Reactor::clone) of the reactor. The task goes on if the
    /// handle is dropped. A panic ends the task alone: it is logged, and the handle's result is
    /// [`JoinError::Panicked`]. In one turn, tasks that wake each other are polled up to 1024 times before the loop
    /// looks at the port again; a task that wakes itself goes on in the next turn.
    ///
    /// A task lives until its future is done, it is [aborted](JoinHandle::abort), or the reactor has stopped: the
    /// future is then dropped, on this thread. Tasks do not keep [`run`](Reactor::run) from stopping; they are still
    /// polled while the reactor ends what lives on it. On a reactor that has stopped, `future` is dropped at once,
    /// and the handle's result is [`JoinError::Aborted`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.clone();
    /// let sum = reactor.block_on(async {
    ///     let slow = handle.spawn({
    ///         let reactor = handle.clone();
    ///         async move {
    ///             reactor.sleep(Duration::from_millis(2)).await;
    ///             40
    ///         }
    ///     });
    ///     let quick = handle.spawn(async { 2 });
    ///     Ok::<_, tidewaiter::JoinError>(slow.await? + quick.await?)
    /// })??;
    /// assert_eq!(sum, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_at(future, Location::caller())
    }

    /// As [`spawn`](Reactor::spawn), for a task that reports call by this place.
    pub(crate) fn spawn_at<F>(
        &self,
        future: F,
        spawned_at: &'static Location<'static>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        JoinHandle::new(self.start_task(Box::pin(future), spawned_at, None))
    }

    fn start_task<T: 'static>(
        &self,
        future: Boxed<T>,
        spawned_at: &'static Location<'static>,
        set: Option<Weak<Arrivals<T>>>,
    ) -> Rc<Task<T>> {
        let tasks = &self.core.queued.tasks;
        let task = Rc::new(Task::new(self, future, spawned_at, set));
        if self.core.life.get() == Life::Stopped {
            task.lose(self, JoinError::Aborted);
            return task;
        }
        let key = tasks.insert(Rc::clone(&task) as Rc<dyn Polled>);
        let waker = tasks.waker(key, || self.remote());
        waker.wake_by_ref();
        task.begin(waker);
        task
    }

    /// Polls the tasks that are ready, and, up to a limit, those that they wake.
    pub(super) fn run_tasks(&self) {
        if self.core.queued.tasks.ready.any() {
            self.poll_ready();
        }
    }

    /// Polls the tasks that a completion has woken, while its bytes are in the processor's caches. Those that they wake
    /// wait for [`run_tasks`](Reactor::run_tasks), so that the turn goes on.
    #[inline]
    pub(super) fn poll_woken(&self) {
        if self.core.queued.tasks.ready.any() {
            self.poll_those_woken();
        }
    }

    #[inline(never)]
    fn poll_those_woken(&self) {
        self.poll_next(self.core.queued.tasks.ready.woken());
    }

    // Not inlined, so that turns without tasks save no registers for it.
    #[inline(never)]
    fn poll_ready(&self) {
        let count = self.core.queued.tasks.ready.begin_round();
        self.poll_next(count.max(POLLS_MAX));
    }

    #[inline]
    fn poll_next(&self, polls: usize) {
        let ready = &self.core.queued.tasks.ready;
        for _ in 0..polls {
            let Some(key) = ready.next() else { break };
            self.poll_task(key);
        }
        ready.end_round();
    }

    /// Polls one task, unless it is over.
    fn poll_task(&self, key: Key) {
        let tasks = &self.core.queued.tasks;
        let task = tasks.all.borrow().get(key).cloned();
        if let Some(task) = task
            && task.poll(self).is_ready()
        {
            tasks.remove(key);
        }
    }

    /// Notes that another thread woke a task.
    fn task_woken(&self, key: Key) {
        self.core.queued.tasks.ready.push(key);
    }

    /// Drops all tasks, and tells their handles.
    pub(super) fn drop_tasks(&self) {
        let tasks = &self.core.queued.tasks;
        // Takes the table first: dropping a future may start or abort tasks.
        for (_, task) in tasks.all.take().into_entries() {
            task.lose(self, JoinError::Aborted);
        }
        drop(tasks.home.take());
    }
}
