//! Tasks that other threads start and await.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::JoinError;
use crate::reactor::{Reactor, Remote};

impl Remote {
    /// Starts a task on the reactor's thread, from any thread: the future that `make` returns, which stays there and need
    /// not be `Send`. The returned [`RemoteTask`] is `Send`, and is awaited in whatever runtime the caller has.
    ///
    /// If the reactor does not run yet, the task waits until it does. The task goes on if the handle is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::{Reactor, ReactorGroup};
    ///
    /// // A reactor on a thread of its own, for a program with another runtime.
    /// let group = ReactorGroup::start(1, &Reactor::builder().signals(false))?;
    /// let slept = group.remotes()[0].spawn(|reactor| {
    ///     let reactor = reactor.clone();
    ///     async move {
    ///         let begun = reactor.now();
    ///         reactor.sleep(Duration::from_millis(2)).await;
    ///         reactor.now() - begun
    ///     }
    /// });
    /// # let block_on = |task| Reactor::new().unwrap().block_on(task).unwrap();
    /// let slept = block_on(slept)?; // or `slept.await?` in a task of the other runtime
    /// assert!(slept >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The result is [`JoinError::Aborted`] if the reactor stops before the task is done, or has stopped before, and
    /// [`JoinError::Panicked`] if `make` or the task panicked.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        make: impl FnOnce(&Reactor) -> F + Send + 'static,
    ) -> RemoteTask<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let spawned_at = std::panic::Location::caller();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut report = Report(Some(Arc::clone(&shared)));
        // An error means that the reactor has stopped. The report is dropped then, which says so.
        let _ = self.call(move |reactor| {
            let task = match reactor.catch("the beginning of a task", || make(reactor)) {
                Ok(future) => reactor.spawn_at(future, spawned_at),
                Err(message) => return report.tell(Err(JoinError::Panicked(message))),
            };
            reactor.spawn_at(async move { report.tell(task.await) }, spawned_at);
        });
        RemoteTask { shared }
    }
}

/// The result of a task, on its way to another thread.
struct Shared<T> {
    result: Option<Result<T, JoinError>>,
    waiting: Option<Waker>,
}

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared {
            result: None,
            waiting: None,
        }
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the result. If it is dropped before, that is the result.
struct Report<T>(Option<Arc<Mutex<Shared<T>>>>);

impl<T> Report<T> {
    fn tell(&mut self, result: Result<T, JoinError>) {
        let Some(shared) = self.0.take() else { return };
        let waiting = {
            let mut shared = lock(&shared);
            shared.result = Some(result);
            shared.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        self.tell(Err(JoinError::Aborted));
    }
}

/// Awaits the result of a task on another thread. Made by [`Remote::spawn`].
///
/// Once it has returned the result, it must not be polled again.
///
/// ```
/// use tidewaiter::Reactor;
///
/// let here = Reactor::new()?;
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let other = std::thread::spawn(move || {
///     let reactor = Reactor::new().expect("the machine has a port");
///     sender.send(reactor.remote()).expect("the other thread waits");
///     reactor.run()
/// });
/// let there = receiver.recv()?;
/// let task = there.spawn(|reactor| {
///     let reactor = reactor.clone();
///     async move { reactor.metrics().panics }
/// });
/// assert_eq!(here.block_on(task)??, 0);
/// there.stop()?;
/// other.join().expect("no panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct RemoteTask<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Future for RemoteTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker().clone();
        let mut shared = lock(&self.shared);
        if let Some(result) = shared.result.take() {
            return Poll::Ready(result);
        }
        let replaced = shared.waiting.replace(waker);
        // Dropping a waker may be any code, so not under the lock.
        drop(shared);
        drop(replaced);
        Poll::Pending
    }
}

impl<T> fmt::Debug for RemoteTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = lock(&self.shared).result.is_some();
        f.debug_struct("RemoteTask")
            .field("finished", &finished)
            .finish()
    }
}
