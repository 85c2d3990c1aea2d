//! A bounded pool of threads for work that blocks or computes, which no completion port can do.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::panics;

/// How long a thread waits for work before it ends.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Names the callback in the log when its drop panics.
const WAITING_JOB: &str = "the drop of work that no thread had begun";

/// A closure that a worker runs once.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Identifies a job within its pool, and no job of another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(u64);

/// The limits of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of threads for jobs; at least one.
    pub(crate) threads: usize,
    /// The number of additional threads, each of which replaces one whose job was given up.
    pub(crate) replacements: usize,
    /// The number of jobs that may wait for a thread.
    pub(crate) waiting: usize,
}

/// Why a job was refused. The job is dropped.
#[derive(Debug)]
pub(crate) enum SubmitError {
    /// The pool was shut down.
    Stopped,
    /// The queue is full: this many jobs wait.
    Full(usize),
    /// There is no thread, and the OS refuses to start one.
    NoThread(io::Error),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubmitError::Stopped => f.write_str("the worker pool has been shut down"),
            SubmitError::Full(waiting) => write!(f, "{waiting} others wait for a thread already"),
            SubmitError::NoThread(error) => {
                write!(f, "cannot start a thread for the worker pool: {error}")
            }
        }
    }
}

impl std::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SubmitError::Stopped | SubmitError::Full(_) => None,
            SubmitError::NoThread(error) => Some(error),
        }
    }
}

impl From<SubmitError> for io::Error {
    fn from(error: SubmitError) -> io::Error {
        let kind = match &error {
            SubmitError::Stopped => io::ErrorKind::Other,
            SubmitError::Full(_) => io::ErrorKind::QuotaExceeded,
            SubmitError::NoThread(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

struct State {
    /// The jobs that wait for a thread, in ascending order.
    jobs: VecDeque<(JobId, Job)>,
    next_id: JobId,
    /// The jobs that threads run, except those that were given up.
    running: Vec<JobId>,
    /// The number of threads.
    threads: usize,
    /// How many of them have no job: they wait for one, or were just started and will look for one.
    idle: usize,
    /// How many of them run a job that was given up.
    given_up: usize,
    /// The handles to join at shutdown. A thread that ends before that removes its own handle.
    handles: Vec<JoinHandle<()>>,
    /// While true, no thread begins a job.
    paused: bool,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when there is a job, or a reason to end.
    work: Condvar,
    /// Signalled when a thread has ended.
    ended: Condvar,
    limits: Limits,
    name: String,
    idle_limit: Duration,
}

impl Shared {
    /// How many threads the limits allow at present.
    fn threads_max(&self, state: &State) -> usize {
        self.limits.threads + state.given_up.min(self.limits.replacements)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs or is dropped under the lock, so a panic elsewhere left the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool of threads. A thread starts when there is a job for it, and ends after ten seconds without one. Jobs
/// beyond the number of threads wait, in order.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Makes a pool without threads. `name` becomes the name of its threads.
    pub(crate) fn new(limits: Limits, name: &str) -> Workers {
        Workers::with_idle_limit(limits, name, IDLE_LIMIT)
    }

    fn with_idle_limit(mut limits: Limits, name: &str, idle_limit: Duration) -> Workers {
        limits.threads = limits.threads.max(1);
        Workers {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    next_id: JobId(0),
                    running: Vec::new(),
                    threads: 0,
                    idle: 0,
                    given_up: 0,
                    handles: Vec::new(),
                    paused: false,
                    stopped: false,
                }),
                work: Condvar::new(),
                ended: Condvar::new(),
                limits,
                name: name.to_owned(),
                idle_limit,
            }),
        }
    }

    /// Appends `job` to the queue. A panic in it is logged and ends the job alone.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; a job that is refused is dropped. If the OS refuses to start another thread, this is no
    /// error as long as the pool has one.
    pub(crate) fn submit(&self, job: Job) -> Result<JobId, SubmitError> {
        let mut state = self.shared.lock();
        // The parameter `job` outlives the guard, so a refused job is dropped after the lock is released.
        if state.stopped {
            return Err(SubmitError::Stopped);
        }
        let waiting = state.jobs.len();
        if waiting >= self.shared.limits.waiting {
            return Err(SubmitError::Full(waiting));
        }
        let id = state.next_id;
        state.next_id = JobId(id.0 + 1);
        state.jobs.push_back((id, job));
        self.shared.work.notify_one();
        let Err(error) = self.start_threads(&mut state) else {
            return Ok(id);
        };
        if state.threads > 0 {
            log::debug!(
                "pool {:?} goes on with {} threads, because no further one can be started: {error}",
                self.shared.name,
                state.threads
            );
            return Ok(id);
        }
        // Without a thread, no other job can be waiting.
        let refused = state.jobs.pop_back();
        drop(state);
        drop(refused);
        Err(SubmitError::NoThread(error))
    }

    /// Gives up a job whose result is not wanted any more. A waiting job is dropped. A running job cannot be
    /// ended, but a replacement for its thread may be started.
    pub(crate) fn give_up(&self, id: JobId) {
        let mut state = self.shared.lock();
        if let Ok(place) = state.jobs.binary_search_by_key(&id, |(id, _)| *id) {
            let dropped = state.jobs.remove(place);
            drop(state);
            panics::drop_caught(WAITING_JOB, dropped);
        } else if let Some(place) = state.running.iter().position(|running| *running == id) {
            state.running.swap_remove(place);
            state.given_up += 1;
            if let Err(error) = self.start_threads(&mut state) {
                log::debug!("a pool cannot start a thread: {error}");
            }
        }
    }

    /// Starts threads for the waiting jobs, as far as the limits allow.
    fn start_threads(&self, state: &mut State) -> io::Result<()> {
        // Each idle thread will take one of these jobs, including any that it was already woken for.
        while !state.paused
            && state.jobs.len() > state.idle
            && state.threads < self.shared.threads_max(state)
        {
            let shared = Arc::clone(&self.shared);
            let handle = thread::Builder::new()
                .name(self.shared.name.clone())
                .spawn(move || work(&shared))?;
            state.handles.push(handle);
            state.threads += 1;
            state.idle += 1;
        }
        Ok(())
    }

    /// Ends all threads once their jobs are done, and waits for that up to `patience`; jobs submitted meanwhile
    /// wait. Returns how many threads still run a job after that. If any do, the pool goes on.
    pub(crate) fn pause(&self, patience: Duration) -> usize {
        let mut state = self.shared.lock();
        state.paused = true;
        self.shared.work.notify_all();
        let (mut state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, patience, |state| state.threads > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let handles = std::mem::take(&mut state.handles);
        let left = state.threads;
        drop(state);
        for handle in handles {
            // Joining an ended thread makes sure that it is gone for the OS, too.
            if left == 0 || handle.is_finished() {
                join(handle);
            }
        }
        if left > 0 {
            self.go_on();
        }
        left
    }

    /// Resumes after a pause: starts threads for the jobs that wait.
    pub(crate) fn go_on(&self) {
        let mut state = self.shared.lock();
        state.paused = false;
        if let Err(error) = self.start_threads(&mut state) {
            // The next submission tries again.
            log::warn!("a pool cannot start a thread: {error}");
        }
    }

    /// Refuses further jobs, drops those that wait, and waits up to `patience` for those that run.
    ///
    /// Returns how many threads still run a job after that: they are left to end by themselves.
    pub(crate) fn shutdown(&self, patience: Duration) -> usize {
        let mut state = self.shared.lock();
        state.stopped = true;
        let dropped = std::mem::take(&mut state.jobs);
        drop(state);
        self.shared.work.notify_all();
        for job in dropped {
            panics::drop_caught(WAITING_JOB, job);
        }
        let (mut state, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.lock(), patience, |state| state.threads > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let handles = std::mem::take(&mut state.handles);
        let left = state.threads;
        drop(state);
        for handle in handles {
            // Joining an ended thread makes sure that it is gone for the OS, too.
            if left == 0 || handle.is_finished() {
                join(handle);
            }
        }
        left
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Workers")
            .field("threads", &state.threads)
            .field("limits", &self.shared.limits)
            .field("waiting", &state.jobs.len())
            .field("given_up", &state.given_up)
            .finish_non_exhaustive()
    }
}

/// The main function of a pool's thread.
fn work(shared: &Shared) {
    let mut state = shared.lock();
    state.idle -= 1;
    loop {
        let surplus = state.threads > shared.threads_max(&state);
        if (state.paused || surplus) && !state.stopped {
            break;
        }
        if let Some((id, job)) = state.jobs.pop_front() {
            state.running.push(id);
            drop(state);
            run(job, &shared.name);
            state = shared.lock();
            match state.running.iter().position(|running| *running == id) {
                Some(place) => drop(state.running.swap_remove(place)),
                None => state.given_up -= 1,
            }
            continue;
        }
        if state.stopped {
            break;
        }
        state.idle += 1;
        let (guard, waited) = shared
            .work
            .wait_timeout(state, shared.idle_limit)
            .unwrap_or_else(PoisonError::into_inner);
        state = guard;
        state.idle -= 1;
        if waited.timed_out() && state.jobs.is_empty() {
            break;
        }
    }
    end(shared, state);
}

/// Removes this thread from the pool's state.
fn end(shared: &Shared, mut state: MutexGuard<'_, State>) {
    state.threads -= 1;
    if !state.stopped && !state.paused {
        let this = thread::current().id();
        // Dropping the handle detaches this thread, which is about to end.
        state.handles.retain(|handle| handle.thread().id() != this);
    }
    drop(state);
    shared.ended.notify_all();
}

/// Runs a job, and catches its panic.
fn run(job: Job, pool: &str) {
    if let Err(message) = panics::catch(job) {
        log::error!("a job of pool {pool:?} panicked: {message}");
    }
}

fn join(handle: JoinHandle<()>) {
    if let Err(panic) = handle.join() {
        log::error!("a pool's thread panicked");
        panics::discard(panic);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{JobId, Limits, SubmitError, Workers};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread;
    use std::time::Duration;

    /// Far longer than any step of these tests takes: a test that waits this long fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Limits with this many threads, and no other limit.
    fn threads(count: usize) -> Limits {
        Limits {
            threads: count,
            replacements: 0,
            waiting: usize::MAX,
        }
    }

    /// A job that reports when it begins, and goes on when told.
    struct Held {
        id: JobId,
        begun: Receiver<()>,
        go: Sender<()>,
    }

    fn hold(workers: &Workers) -> Held {
        let (begin, begun) = mpsc::channel();
        let (go, going) = mpsc::channel();
        let id = workers.submit(Box::new(move || {
            let _ = begin.send(());
            let _ = going.recv();
        }));
        let id = id.unwrap();
        Held { id, begun, go }
    }

    /// The number of threads, and of jobs that wait for one.
    fn counts(workers: &Workers) -> (usize, usize) {
        let state = workers.shared.lock();
        (state.threads, state.jobs.len())
    }

    fn wait_until_threads_are(workers: &Workers, count: usize) {
        let shared = &workers.shared;
        let (_state, waited) = shared
            .ended
            .wait_timeout_while(shared.lock(), PATIENCE, |state| state.threads != count)
            .unwrap();
        assert!(!waited.timed_out(), "{workers:?}");
    }

    #[test]
    fn threads_are_started_up_to_the_limit_and_further_jobs_wait() {
        let workers = Workers::new(threads(2), "test");
        assert_eq!(counts(&workers).0, 0);
        let held: Vec<Held> = (0..2).map(|_| hold(&workers)).collect();
        for job in &held {
            job.begun.recv().unwrap();
        }
        let third = hold(&workers);
        assert_eq!(counts(&workers), (2, 1));
        held[1].go.send(()).unwrap();
        third.begun.recv().unwrap();
        assert_eq!(counts(&workers), (2, 0));
        drop((held, third));
        assert_eq!(workers.shutdown(PATIENCE), 0);
    }

    #[test]
    fn one_thread_runs_jobs_in_order_under_the_pools_name() {
        let workers = Workers::new(threads(1), "orderly");
        let (report, reports) = mpsc::channel();
        for number in 0..100 {
            let report = report.clone();
            let job = move || {
                let name = thread::current().name().map(str::to_owned);
                report.send((number, name)).unwrap();
            };
            workers.submit(Box::new(job)).unwrap();
        }
        for number in 0..100 {
            let expected = (number, Some("orderly".to_owned()));
            assert_eq!(reports.recv(), Ok(expected));
        }
    }

    #[test]
    fn a_panicking_job_ends_alone() {
        let workers = Workers::new(threads(1), "test");
        workers
            .submit(Box::new(|| panic!("a deliberate panic it")))
            .unwrap();
        let next = hold(&workers);
        next.begun.recv().unwrap();
        assert_eq!(counts(&workers).0, 1);
    }

    #[test]
    fn idle_threads_end_and_new_work_starts_new_ones() {
        let workers = Workers::with_idle_limit(threads(3), "test", Duration::from_millis(1));
        for _ in 0..2 {
            let held: Vec<Held> = (0..3).map(|_| hold(&workers)).collect();
            for job in &held {
                job.begun.recv().unwrap();
            }
            assert_eq!(counts(&workers).0, 3);
            drop(held);
            wait_until_threads_are(&workers, 0);
            assert!(workers.shared.lock().handles.is_empty());
        }
    }

    #[test]
    fn a_pause_ends_the_threads_and_keeps_the_jobs() {
        let workers = Workers::new(threads(2), "test");
        let running = hold(&workers);
        running.begun.recv().unwrap();
        assert_eq!(
            workers.pause(Duration::ZERO),
            1,
            "it goes on: one is at work"
        );
        let waiting = hold(&workers);
        waiting.begun.recv().unwrap();
        drop((running, waiting));
        assert_eq!(workers.pause(PATIENCE), 0);
        assert!(workers.shared.lock().handles.is_empty());
        let later = hold(&workers);
        assert_eq!(counts(&workers), (0, 1), "it waits, without a thread");
        workers.go_on();
        later.begun.recv().unwrap();
        assert_eq!(counts(&workers), (1, 0));
    }

    #[test]
    fn shutdown_drops_what_waits_awaits_what_runs_and_refuses_more() {
        let workers = Workers::new(threads(1), "test");
        let running = hold(&workers);
        running.begun.recv().unwrap();
        let waiting = hold(&workers);
        assert_eq!(workers.shutdown(Duration::ZERO), 1, "one is still running");
        assert!(waiting.begun.recv().is_err(), "dropped, never begun");
        let refused = workers.submit(Box::new(|| ()));
        assert!(matches!(refused, Err(SubmitError::Stopped)));
        running.go.send(()).unwrap();
        assert_eq!(workers.shutdown(PATIENCE), 0);
    }

    #[test]
    fn a_job_that_is_given_up_before_it_begins_is_dropped_at_once() {
        let workers = Workers::new(threads(1), "test");
        let running = hold(&workers);
        running.begun.recv().unwrap();
        let [first, second, third] = [(); 3].map(|()| hold(&workers));
        workers.give_up(second.id);
        workers.give_up(second.id);
        assert!(second.begun.recv().is_err(), "dropped, never begun");
        assert_eq!(counts(&workers), (1, 2));
        drop(running);
        first.begun.recv().unwrap();
        drop(first);
        third.begun.recv().unwrap();
    }

    #[test]
    fn a_running_job_that_is_given_up_is_replaced_within_the_limit() {
        let limits = Limits {
            replacements: 1,
            ..threads(1)
        };
        let workers = Workers::new(limits, "test");
        let [first, second, third] = [(); 3].map(|()| hold(&workers));
        first.begun.recv().unwrap();
        workers.give_up(first.id);
        second.begun.recv().unwrap();
        // Both threads run jobs that were given up, so no further thread is started.
        workers.give_up(second.id);
        assert_eq!(counts(&workers), (2, 1));
        // The first thread to finish its job takes the next one.
        drop(first);
        third.begun.recv().unwrap();
        drop(second);
        wait_until_threads_are(&workers, 1);
        drop(third);
        assert_eq!(workers.shutdown(PATIENCE), 0);
    }

    #[test]
    fn a_job_beyond_the_queue_is_refused_and_dropped() {
        let limits = Limits {
            waiting: 2,
            ..threads(1)
        };
        let workers = Workers::new(limits, "test");
        let running = hold(&workers);
        running.begun.recv().unwrap();
        let waiting = [(); 2].map(|()| hold(&workers));
        let (owned, observed) = mpsc::channel::<()>();
        let refused = workers.submit(Box::new(move || drop(owned)));
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), "2 others wait for a thread already");
        assert!(observed.recv().is_err());
        workers.give_up(waiting[0].id);
        hold(&workers);
    }
}
