//! A set of tasks whose results come in the order in which the tasks end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::rc::Rc;

use super::join::{AbortHandle, Arrivals, JoinError, JoinHandle};
use crate::reactor::Reactor;

/// Tasks of one reactor that belong together. Dropping the set aborts those that are not over.
///
/// ```
/// use tidewaiter::{JoinSet, Reactor};
///
/// let reactor = Reactor::new()?;
/// let mut squares = JoinSet::new(&reactor);
/// let total = reactor.block_on(async {
///     for number in 1..=3 {
///         squares.spawn(async move { number * number });
///     }
///     let mut total = 0;
///     while let Some(square) = squares.join_next().await {
///         total += square.unwrap_or(0);
///     }
///     total
/// })?;
/// assert_eq!(total, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinSet<T> {
    reactor: Reactor,
    tasks: Vec<AbortHandle>,
    arrivals: Rc<Arrivals<T>>,
    /// How many results are still to be returned.
    left: usize,
}

impl<T: 'static> JoinSet<T> {
    /// Makes an empty set of tasks on this reactor.
    #[must_use]
    pub fn new(reactor: &Reactor) -> JoinSet<T> {
        JoinSet {
            reactor: reactor.clone(),
            tasks: Vec::new(),
            arrivals: Rc::default(),
            left: 0,
        }
    }

    /// Starts a task in the set, as [`Reactor::spawn`] does.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) -> AbortHandle {
        if self.tasks.len() > 2 * self.left + 16 {
            self.tasks.retain(|task| !task.is_finished());
        }
        let arrivals = Some(Rc::downgrade(&self.arrivals));
        let task = self
            .reactor
            .start_task(Box::pin(future), Location::caller(), arrivals);
        let handle = JoinHandle::new(task);
        let abort = handle.abort_handle();
        self.tasks.push(abort.clone());
        self.left += 1;
        abort
    }

    /// Waits for the next task to end, and returns its result; `None` once the set is empty. Dropping the future
    /// loses no result.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        if self.left == 0 {
            return None;
        }
        let result = poll_fn(|context| self.arrivals.poll_next(context)).await;
        self.left -= 1;
        Some(result)
    }
}

impl<T> JoinSet<T> {
    /// How many tasks there are whose results [`join_next`](JoinSet::join_next) has not returned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether all results were returned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Aborts all tasks that are not over. Their results are [`JoinError::Aborted`].
    pub fn abort_all(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.left).finish()
    }
}
