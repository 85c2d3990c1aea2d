//! Calls from other threads, and blocking work on them.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use super::inbox::{Inbox, Sender};
use super::workers::{JobId, Limits, Workers};
use super::{Key, Life, Reactor, Table};
use crate::error::Error;
use crate::panics;
use crate::port::{PortKind, Waker};

/// A call on its way to the loop.
type RemoteCall = Box<dyn FnOnce(&Reactor) + Send>;

/// Delivers a piece of work's result: a boxed `Result<T, WorkLost>`, or `None` when the reactor stops before
/// there is one.
type Deliver = Box<dyn FnOnce(&Reactor, Option<Box<dyn Any + Send>>)>;

/// How long to wait for running work when the reactor stops.
const WORK_DEADLINE: Duration = Duration::from_secs(5);

/// Limits on lookups. A running lookup cannot be ended, however long its name server is silent. One that
/// nothing waits for any more does not count towards the 16 threads, unless 48 others are as stuck.
///
/// At 30 ms each, 16 threads do 16 000 lookups in the 30 s that connecting may take: more need not wait.
const LOOKUPS: Limits = Limits {
    threads: 16,
    replacements: 48,
    waiting: 16 * 1024,
};

/// Limits on calls on files, where the port does not perform them. A disk gains little from more at once.
const FILES: Limits = Limits {
    threads: 8,
    replacements: 0,
    waiting: usize::MAX,
};

/// A handle through which other threads call into the reactor.
///
/// Its methods never block. Calls that one thread sends are made in the order of sending. The handle may
/// outlive the reactor: calls to a reactor that has stopped or was dropped are refused. Clones are equivalent.
///
/// ```
/// use tidewaiter::{Reactor, Remote};
///
/// let reactor = Reactor::new()?;
/// let remote: Remote = reactor.remote();
/// let thread = std::thread::spawn(move || {
///     remote.call(|reactor| println!("{} turns so far", reactor.metrics().turns))?;
///     remote.stop()
/// });
/// reactor.run()?;
/// thread.join().expect("no panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    sender: Sender<RemoteCall>,
    waker: Waker,
    /// Whether the port is simulated, and so all children are.
    simulated: bool,
}

impl Remote {
    /// Queues `callback` to be called on the reactor's thread, by its loop. If the reactor does not run yet,
    /// the call waits until it does.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor has stopped; the callback is dropped. A callback that was accepted
    /// is dropped too, on the reactor's thread, if the reactor ends before the call. [`Error::Port`] in a copy
    /// of the process, made by `fork`, that does not own the reactor.
    pub fn call(&self, callback: impl FnOnce(&Reactor) + Send + 'static) -> Result<(), Error> {
        self.check_process()?;
        self.sender
            .send(Box::new(callback))
            .map_err(|_| Error::Stopped)
    }

    /// Stops the reactor, as [`Reactor::stop`] does on its own thread. Returns at once. A reactor that does not
    /// [run](Reactor::run) yet stops as soon as it does.
    ///
    /// # Errors
    ///
    /// As [`call`](Remote::call).
    pub fn stop(&self) -> Result<(), Error> {
        self.call(Reactor::stop)
    }

    /// Fails if this process is a copy of the one that the reactor belongs to.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.waker.check_process().map_err(Error::Port)
    }

    /// Fails if children of the OS cannot be given to the reactor.
    pub(crate) fn check_spawning(&self) -> io::Result<()> {
        if self.simulated {
            let message = "only the thread of a simulated port can start its children";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        self.waker.check_process()
    }

    /// Ends the current or the next wait of the loop. Several wake-ups may end one wait. This alone of a reactor's calls may be
    /// made in a signal handler, except on a simulated port; a task awaits signals by [`io::Signals`](crate::io::Signals).
    pub fn wake(&self) {
        self.waker.wake();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Why [work given to a thread](Reactor::defer_to_thread) has no result.
///
/// ```
/// use tidewaiter::{Reactor, WorkLost};
///
/// let reactor = Reactor::new()?;
/// let work = || 6 * 7; // on another thread, where it may take its time
/// reactor.defer_to_thread(work, |reactor, result: Result<i32, WorkLost>| {
///     match result {
///         Ok(answer) => println!("{answer}"),
///         Err(lost) => eprintln!("{lost}"),
///     }
///     reactor.stop();
/// });
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkLost {
    /// The work panicked.
    Panicked,
    /// The reactor stopped before the work was done.
    Stopped,
    /// No thread could be started for the work: the OS's error.
    NoThread(io::Error),
}

impl fmt::Display for WorkLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkLost::Panicked => f.write_str("the work panicked"),
            WorkLost::Stopped => f.write_str("the reactor stopped before the work was done"),
            WorkLost::NoThread(error) => write!(f, "the work was not done: {error}"),
        }
    }
}

impl std::error::Error for WorkLost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WorkLost::Panicked | WorkLost::Stopped => None,
            WorkLost::NoThread(error) => Some(error),
        }
    }
}

impl From<WorkLost> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: WorkLost) -> io::Error {
        let kind = match &error {
            WorkLost::Panicked => io::ErrorKind::Other,
            WorkLost::Stopped => io::ErrorKind::ConnectionAborted,
            WorkLost::NoThread(source) => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// The reactor's side of other threads: the calls they send, and the work they do for it.
pub(super) struct OtherThreads {
    pub(super) inbox: Inbox<RemoteCall>,
    /// Storage for the calls of a turn; empty in between.
    pub(super) calls: RefCell<VecDeque<RemoteCall>>,
    waker: Waker,
    workers: Workers,
    /// Separate from the user's work, so that neither waits for the other.
    lookups: Workers,
    /// Calls on files that block. Separate as well, so that the user's work does not hold files up.
    files: Workers,
    /// The callbacks that wait for results from threads.
    pending: RefCell<Table<Deliver>>,
}

impl OtherThreads {
    pub(super) fn new(waker: Waker, workers_max: usize) -> OtherThreads {
        let work = Limits {
            threads: workers_max,
            replacements: 0,
            waiting: usize::MAX,
        };
        OtherThreads {
            inbox: Inbox::new(waker.clone()),
            calls: RefCell::new(VecDeque::new()),
            waker,
            workers: Workers::new(work, "tidewaiter"),
            lookups: Workers::new(LOOKUPS, "tidewaiter-names"),
            files: Workers::new(FILES, "tidewaiter-files"),
            pending: RefCell::new(Table::default()),
        }
    }

    /// Ends the threads once their work is done, because no thread survives a fork.
    pub(super) fn before_fork(&self) -> io::Result<()> {
        let working = self.workers.pause(WORK_DEADLINE) + self.files.pause(WORK_DEADLINE);
        let looking_up = self.lookups.pause(WORK_DEADLINE);
        if working + looking_up == 0 {
            return Ok(());
        }
        self.after_fork();
        let message = format!(
            "{working} threads are still at work, and {looking_up} are still looking up names"
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    }

    pub(super) fn after_fork(&self) {
        self.workers.go_on();
        self.lookups.go_on();
        self.files.go_on();
    }
}

/// A lookup, queued or running on a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    /// The callback that waits for the result.
    pending: Key,
    job: JobId,
}

impl Reactor {
    /// Makes a way into this reactor for other threads.
    #[must_use]
    pub fn remote(&self) -> Remote {
        let threads = &self.core.other_threads;
        Remote {
            sender: threads.inbox.sender(),
            waker: threads.waker.clone(),
            simulated: self.core.settings.port.kind == PortKind::Sim,
        }
    }

    /// Runs `work`, which may block, on a thread of the reactor's pool, and then calls `done` with its result,
    /// from the loop.
    ///
    /// Work beyond the [number of threads](super::ReactorBuilder::workers) waits in a queue, in order; it cannot
    /// be cancelled. When the reactor stops, work not yet begun is dropped, and work under way is awaited for up
    /// to 5 s; after that `done` is called with [`WorkLost::Stopped`], and the thread is left to end by itself.
    ///
    /// `done` is called exactly once, but is dropped uncalled if the reactor is dropped first, or if its threads
    /// had ended already at the time of this call, because the reactor has stopped.
    pub fn defer_to_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Reactor, Result<T, WorkLost>) + 'static,
    ) {
        self.defer_to(&self.core.other_threads.workers, work, done);
    }

    /// As [`defer_to_thread`](Reactor::defer_to_thread), for a call on a file. These have threads of their own.
    pub(crate) fn defer_to_file_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Reactor, Result<T, WorkLost>) + 'static,
    ) {
        self.defer_to(&self.core.other_threads.files, work, done);
    }

    fn defer_to<T: Send + 'static>(
        &self,
        pool: &Workers,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Reactor, Result<T, WorkLost>) + 'static,
    ) {
        let (key, submitted) = self.give_to(pool, work, done);
        let Err(error) = submitted else {
            return;
        };
        if self.core.life.get() == Life::Stopped {
            self.forget_work(key);
        } else {
            let lost = WorkLost::NoThread(error);
            self.soon(move |reactor| reactor.finish_work(key, Some(Box::new(Err::<T, _>(lost)))));
        }
    }

    /// As [`defer_to_thread`](Reactor::defer_to_thread), for a lookup. Lookups have threads of their own.
    ///
    /// # Errors
    ///
    /// The queue of lookups is full, or no thread can be started; `done` is dropped.
    pub(crate) fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Reactor, Result<T, WorkLost>) + 'static,
    ) -> io::Result<Lookup> {
        let (pending, submitted) = self.give_to(&self.core.other_threads.lookups, work, done);
        match submitted {
            Ok(job) => Ok(Lookup { pending, job }),
            Err(error) => {
                self.forget_work(pending);
                Err(error)
            }
        }
    }

    /// Gives up a lookup: drops its `done`, and frees its place in the queue or its share of the threads.
    pub(crate) fn give_up(&self, lookup: Lookup) {
        self.core.other_threads.lookups.give_up(lookup.job);
        self.forget_work(lookup.pending);
    }

    fn forget_work(&self, key: Key) {
        // Drops the callback outside of the borrow.
        let deliver = self.core.other_threads.pending.borrow_mut().remove(key);
        drop(deliver);
    }

    /// Runs `work` on a thread of `pool`, and then calls `done` with the result, from the loop.
    fn give_to<T: Send + 'static>(
        &self,
        pool: &Workers,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Reactor, Result<T, WorkLost>) + 'static,
    ) -> (Key, io::Result<JobId>) {
        let deliver: Deliver = Box::new(move |reactor, result| {
            // The type is right: this function determines both the value's type and the downcast.
            let result = result.and_then(|result| result.downcast().ok());
            done(
                reactor,
                result.map_or(Err(WorkLost::Stopped), |result| *result),
            );
        });
        let key = self.core.other_threads.pending.borrow_mut().insert(deliver);
        let remote = self.remote();
        let job = Box::new(move || {
            let result = panics::catch(work).map_err(|message| {
                log::error!("work given to a thread panicked: {message}");
                WorkLost::Panicked
            });
            // An error means that the reactor has stopped, so nothing takes the result.
            let _ = remote.call(move |reactor| reactor.finish_work(key, Some(Box::new(result))));
        });
        let allowed = self.core.other_threads.waker.check_process();
        let submitted = allowed.and_then(|()| pool.submit(job).map_err(io::Error::from));
        (key, submitted)
    }

    fn finish_work(&self, key: Key, result: Option<Box<dyn Any + Send>>) {
        let deliver = self.core.other_threads.pending.borrow_mut().remove(key);
        if let Some(deliver) = deliver {
            deliver(self, result);
        }
    }

    /// Refuses further calls from other threads, and drops those that wait.
    pub(super) fn refuse_calls(&self) {
        let threads = &self.core.other_threads;
        threads.inbox.close();
        let mut calls = VecDeque::new();
        threads.inbox.drain(&mut calls);
        for call in calls {
            self.drop_guarded("the drop of a call from another thread", call);
        }
    }

    /// Drops the callbacks that wait for results from threads, uncalled.
    pub(super) fn abandon_work(&self) {
        let threads = &self.core.other_threads;
        threads.lookups.shutdown(Duration::ZERO);
        threads.files.shutdown(Duration::ZERO);
        // Takes the table first: dropping a callback may add work to it.
        for (_, deliver) in threads.pending.take().into_entries() {
            self.drop_guarded("the drop of a callback for lost work", deliver);
        }
    }

    /// Ends the threads, and tells the callbacks whose results will not arrive.
    pub(super) fn lose_work(&self) {
        let threads = &self.core.other_threads;
        threads.lookups.shutdown(Duration::ZERO);
        threads.files.shutdown(Duration::ZERO);
        threads.workers.shutdown(WORK_DEADLINE);
        // Delivers the results that arrived in time, and then refuses more.
        self.take_remote_calls();
        self.refuse_calls();
        for (_, deliver) in threads.pending.take().into_entries() {
            self.guard("a callback for lost work", || deliver(self, None));
        }
    }
}
