//! Runs the loop until one future is done.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::wake::TaskWaker;
use super::{JoinError, Polled};
use crate::error::Error;
use crate::reactor::Reactor;

/// The future of `block_on`, in the table of tasks: it is polled between turns, because it may borrow from the
/// caller.
struct Main;

impl Polled for Main {
    fn poll(&self, reactor: &Reactor) -> Poll<()> {
        reactor.core.queued.tasks.main_woken.set(true);
        Poll::Pending
    }

    fn lose(&self, _: &Reactor, _: JoinError) {}
}

impl Reactor {
    /// Runs the loop until `future` is done, and returns its result. The future may borrow from the caller.
    ///
    /// The loop runs as in [`run`](Reactor::run): startup triggers are called, and signals stop the reactor. When the
    /// future is done, everything else on the reactor, tasks included, stays as it is, and the reactor may run again.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor [stops](Reactor::stop) or [crashes](Reactor::crash) before the future is done,
    /// or has stopped before;
    /// [`Error::Running`] when called from a callback or a task of the same reactor; [`Error::Port`] when the port
    /// fails. The future is dropped.
    ///
    /// # Panics
    ///
    /// When the future does; the reactor may run again.
    ///
    /// ```
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let word = String::from("borrowed");
    /// let length = reactor.block_on(async { word.len() })?;
    /// assert_eq!(length, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        self.start()?;
        let run = BlockingRun::begin(self);
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&run.waker));
        let mut context = Context::from_waker(&waker);
        loop {
            if self.core.queued.tasks.main_woken.replace(false) {
                run.waker.begin_poll();
                self.core.in_turn.set(true);
                let polled = future.as_mut().poll(&mut context);
                self.core.in_turn.set(false);
                if let Poll::Ready(output) = polled {
                    // If the port fails, the next run says so.
                    let _ = self.send_written();
                    return Ok(output);
                }
            }
            if self.turn_of_run()?.is_some() {
                return Err(Error::Stopped);
            }
        }
    }
}

/// A run of the loop for `block_on`. Dropping it ends the run, also when the future panics.
struct BlockingRun<'a> {
    reactor: &'a Reactor,
    waker: Arc<TaskWaker>,
}

impl BlockingRun<'_> {
    fn begin(reactor: &Reactor) -> BlockingRun<'_> {
        let tasks = &reactor.core.queued.tasks;
        let key = tasks.insert(Rc::new(Main));
        tasks.main_woken.set(true);
        let waker = tasks.waker(key, || reactor.remote());
        BlockingRun { reactor, waker }
    }
}

impl Drop for BlockingRun<'_> {
    fn drop(&mut self) {
        let tasks = &self.reactor.core.queued.tasks;
        tasks.main_woken.set(false);
        tasks.remove(self.waker.key());
        self.reactor.end_run();
    }
}
