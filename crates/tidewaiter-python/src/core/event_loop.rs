//! The event loop: a reactor, and the Python objects that it calls.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use tidewaiter::port::{ParsePortKindError, PortKind};
use tidewaiter::{Error, Reactor, Remote};

use crate::core::failures::{no_turn, os_error};
use crate::core::forks::ForkState;
use crate::core::hooks::Hooks;
use crate::core::lock::Waiting;
use crate::core::ready::ReadyCalls;
use crate::core::table::Table;
use crate::core::timers::Timers;

/// A reactor, and the Python objects that it calls.
pub(crate) struct Loop {
    pub(crate) reactor: Reactor,
    pub(crate) hooks: Hooks,
    pub(crate) fork_state: ForkState,
    pub(crate) objects: Table,
    pub(crate) ready: ReadyCalls<Loop>,
    pub(crate) timers: Timers<Loop>,
    /// Calls to make after the next wait.
    after_wait: RefCell<Vec<Box<dyn FnOnce()>>>,
    /// How many calls from other threads were made.
    pub(crate) thread_calls: Cell<u64>,
    /// How many descriptors and handles of the application's are watched.
    pub(crate) watches: Cell<usize>,
    pub(crate) waiting: Arc<Waiting>,
    pub(super) remote: Remote,
}

impl Loop {
    /// Opens the port with this name, by default the one that the environment names or the machine's best.
    pub(crate) fn open(port: Option<&str>) -> PyResult<Loop> {
        let waiting = Arc::new(Waiting::default());
        let released = Arc::clone(&waiting);
        let mut builder = Reactor::builder()
            .signals(false)
            .around_wait(move |wait| released.release(wait));
        if let Some(name) = port {
            let kind: PortKind = name.parse().map_err(|problem: ParsePortKindError| {
                PyValueError::new_err(problem.to_string())
            })?;
            builder = builder.port(kind);
        }
        let reactor = builder
            .build()
            .map_err(|error| os_error("no completion port", &error))?;
        let remote = reactor.remote();
        Ok(Loop {
            reactor,
            hooks: Hooks::default(),
            fork_state: ForkState::default(),
            objects: Table::default(),
            ready: ReadyCalls::new(),
            timers: Timers::new(),
            after_wait: RefCell::default(),
            thread_calls: Cell::default(),
            watches: Cell::default(),
            waiting,
            remote,
        })
    }

    /// Raises if this thread may not use the loop now.
    pub(crate) fn check_thread(&self) -> PyResult<()> {
        self.fork_state.check_process()?;
        if self.waiting.now() {
            return Err(PyRuntimeError::new_err(
                "the reactor waits in another thread: only call_from_thread and wake may be called from this one",
            ));
        }
        self.fork_state.take_up_in_child(&self.reactor)
    }

    /// Whether this process is a forked child, and the loop belongs to the parent.
    pub(crate) fn is_copy(&self) -> bool {
        self.fork_state.is_copy()
    }

    /// Sends what was written since the last turn, for a loop that makes no turns for now.
    pub(crate) fn send_written(&self) -> PyResult<()> {
        if self.is_copy() {
            return Ok(());
        }
        let sent = self.reactor.send_written();
        sent.map_err(|error| no_turn(&error))
    }

    /// Makes `call` after the next wait, once the events that the wait brings were handled. The current turn ends
    /// without waiting, and the next one does not wait for events either.
    pub(crate) fn after_next_wait(&self, call: impl FnOnce() + 'static) {
        self.after_wait.borrow_mut().push(Box::new(call));
        self.reactor.crash();
    }

    /// Makes one turn of the reactor, waiting no longer than `limit`.
    pub(super) fn iterate(&self, limit: Option<Duration>) -> Result<(), Error> {
        let calls = self.after_wait.take();
        let limit = if calls.is_empty() {
            limit
        } else {
            Some(Duration::ZERO)
        };
        let turned = self.reactor.iterate(limit);
        for call in calls {
            call();
        }
        turned
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(visit)?;
        self.ready.traverse(visit)?;
        self.timers.traverse(visit)?;
        self.objects.traverse(visit)
    }
}

/// Converts seconds to a duration. A value that is too large, or not a number, becomes the longest duration.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
