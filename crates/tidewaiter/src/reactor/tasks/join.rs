//! A task with its result, and the handles on it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Polled;
use super::wake::TaskWaker;
use crate::reactor::{Core, Reactor};
use crate::spans::Span;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The task panicked, with this message.
    Panicked(String),
    /// [`JoinHandle::abort`] was called, or the reactor stopped, before the task was done.
    Aborted,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(message) => write!(f, "the task panicked: {message}"),
            JoinError::Aborted => f.write_str("the task was aborted"),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    /// An abort is [`Interrupted`](io::ErrorKind::Interrupted). The inner error is the same.
    fn from(error: JoinError) -> io::Error {
        let kind = match error {
            JoinError::Panicked(_) => io::ErrorKind::Other,
            JoinError::Aborted => io::ErrorKind::Interrupted,
        };
        io::Error::new(kind, error)
    }
}

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// The results of the tasks of one set, in the order in which the tasks ended.
pub(super) struct Arrivals<T> {
    results: RefCell<VecDeque<Result<T, JoinError>>>,
    waiting: RefCell<Option<Waker>>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Arrivals<T> {
        Arrivals {
            results: RefCell::default(),
            waiting: RefCell::default(),
        }
    }
}

impl<T> Arrivals<T> {
    fn add(&self, result: Result<T, JoinError>) {
        self.results.borrow_mut().push_back(result);
        wake(&self.waiting);
    }

    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Result<T, JoinError>> {
        let next = self.results.borrow_mut().pop_front();
        match next {
            Some(result) => Poll::Ready(result),
            None => {
                wake_later(&self.waiting, context);
                Poll::Pending
            }
        }
    }
}

/// Wakes what waits. No borrow is held meanwhile, because wakers may be any code.
fn wake(waiting: &RefCell<Option<Waker>>) {
    let waker = waiting.take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Notes what to wake.
fn wake_later(waiting: &RefCell<Option<Waker>>, context: &Context<'_>) {
    let replaced = waiting.replace(Some(context.waker().clone()));
    drop(replaced);
}

/// A task.
pub(super) struct Task<T> {
    reactor: Weak<Core>,
    spawned_at: &'static Location<'static>,
    span: Span,
    /// `None` while it is polled, and once the task is over.
    future: Cell<Option<Boxed<T>>>,
    waker: OnceCell<(Arc<TaskWaker>, Waker)>,
    over: Cell<bool>,
    /// Aborted while it was polled.
    aborted: Cell<bool>,
    /// Set once the task is over, until the handle takes it.
    result: RefCell<Option<Result<T, JoinError>>>,
    /// Wakes the task that awaits the handle.
    joining: RefCell<Option<Waker>>,
    /// Where the result goes, for a task of a set.
    set: Option<Weak<Arrivals<T>>>,
}

impl<T: 'static> Task<T> {
    pub(super) fn new(
        reactor: &Reactor,
        future: Boxed<T>,
        spawned_at: &'static Location<'static>,
        set: Option<Weak<Arrivals<T>>>,
    ) -> Task<T> {
        Task {
            reactor: Rc::downgrade(&reactor.core),
            spawned_at,
            span: Span::task(spawned_at),
            future: Cell::new(Some(future)),
            waker: OnceCell::new(),
            over: Cell::new(false),
            aborted: Cell::new(false),
            result: RefCell::new(None),
            joining: RefCell::new(None),
            set,
        }
    }

    /// Sets what wakes the task.
    pub(super) fn begin(&self, waker: Arc<TaskWaker>) {
        let pair = (Arc::clone(&waker), Waker::from(waker));
        // The cell is empty: this is called once.
        let _ = self.waker.set(pair);
    }

    fn finish(&self, result: Result<T, JoinError>) {
        self.over.set(true);
        match &self.set {
            None => {
                self.result.replace(Some(result));
                wake(&self.joining);
            }
            // Without its set, the result is of no use to anyone.
            Some(set) => {
                if let Some(set) = set.upgrade() {
                    set.add(result);
                }
            }
        }
    }
}

impl<T: 'static> Polled for Task<T> {
    fn poll(&self, reactor: &Reactor) -> Poll<()> {
        let (Some((target, waker)), Some(mut future)) = (self.waker.get(), self.future.take())
        else {
            return Poll::Pending;
        };
        target.begin_poll();
        let mut context = Context::from_waker(waker);
        let polled = reactor.guard_task(self.spawned_at, || {
            self.span.within(|| future.as_mut().poll(&mut context))
        });
        let result = match polled {
            Ok(Poll::Pending) if !self.aborted.get() => {
                self.future.set(Some(future));
                return Poll::Pending;
            }
            Ok(Poll::Pending) => Err(JoinError::Aborted),
            Ok(Poll::Ready(value)) => Ok(value),
            Err(message) => Err(JoinError::Panicked(message)),
        };
        reactor.drop_guarded("the drop of a task's future", future);
        self.finish(result);
        Poll::Ready(())
    }

    fn lose(&self, reactor: &Reactor, why: JoinError) {
        let future = self.future.take();
        reactor.drop_guarded("the drop of a task's future", future);
        if !self.over.get() {
            self.finish(Err(why));
        }
    }
}

/// The calls of a handle that need no type of the result.
trait Abortable {
    fn abort(self: Rc<Self>);
    fn is_over(&self) -> bool;
}

impl<T: 'static> Abortable for Task<T> {
    fn abort(self: Rc<Self>) {
        if self.over.get() || self.aborted.replace(true) {
            return;
        }
        let Some(core) = self.reactor.upgrade() else {
            return;
        };
        let reactor = Reactor { core, owner: false };
        // From the loop: the future's drop is code of the program, and this may be a poll of the future itself.
        reactor.soon(move |reactor| {
            let key = self.waker.get().map(|(target, _)| target.key());
            let removed = key.and_then(|key| reactor.core.queued.tasks.remove(key));
            if removed.is_some() {
                self.lose(reactor, JoinError::Aborted);
            }
        });
    }

    fn is_over(&self) -> bool {
        self.over.get()
    }
}

/// Awaits a task's result, and can abort the task. Dropping the handle leaves the task to itself.
///
/// The handle is a future. Once it has returned the result, it must not be polled again.
///
/// ```
/// let reactor = tidewaiter::Reactor::new()?;
/// let task = reactor.spawn(async { 6 * 7 });
/// let endless = reactor.spawn(std::future::pending::<()>());
/// endless.abort();
/// let (answer, aborted) = reactor.block_on(async { (task.await, endless.await) })?;
/// assert_eq!(answer?, 42);
/// assert!(aborted.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinHandle<T>(Rc<Task<T>>);

impl<T: 'static> JoinHandle<T> {
    pub(super) fn new(task: Rc<Task<T>>) -> JoinHandle<T> {
        JoinHandle(task)
    }

    /// Ends the task: the loop drops its future soon, and the result is [`JoinError::Aborted`]. Does nothing if the
    /// task is over. If it becomes ready in the poll under way, it keeps its result.
    pub fn abort(&self) {
        Rc::clone(&self.0).abort();
    }

    /// Makes a handle that can only abort the task.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(Rc::clone(&self.0) as Rc<dyn Abortable>)
    }

    /// Whether the task is over: done, aborted, or lost in a panic.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.over.get()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.0.result.take();
        match result {
            Some(result) => Poll::Ready(result),
            None => {
                wake_later(&self.0.joining, context);
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("spawned_at", &format_args!("{}", self.0.spawned_at))
            .field("finished", &self.0.over.get())
            .finish()
    }
}

/// Aborts a task. Made by [`JoinHandle::abort_handle`].
///
/// ```
/// use std::time::Duration;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let task = reactor.spawn(std::future::pending::<()>());
/// let abort = task.abort_handle(); // while something else awaits the task
/// reactor.call_later(Duration::from_millis(1), move |_| abort.abort());
/// assert!(reactor.block_on(task)?.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AbortHandle(Rc<dyn Abortable>);

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        Rc::clone(&self.0).abort();
    }

    /// As [`JoinHandle::is_finished`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_over()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("finished", &self.0.is_over())
            .finish()
    }
}
