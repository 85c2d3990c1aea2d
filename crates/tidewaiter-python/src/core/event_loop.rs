//! The event loop: a reactor, and the Python objects that it calls.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use slab::Slab;
use tidewaiter::port::PortKind;
use tidewaiter::{Error, Reactor, Transport};

use crate::core::failures::os_error;
use crate::core::forks::ForkState;
use crate::core::hooks::Hooks;
use crate::core::lock::Waiting;
use crate::core::watch::Watched;
use crate::twisted::child::Child;
use crate::twisted::context::LogContext;
use crate::twisted::stream::{Bridge, Stream};
use crate::twisted::timer::DelayedCall;

/// A reactor, and the tables of the Python objects that it calls.
///
/// The reactor's callbacks hold only a weak reference to this, and find Python's objects in its tables. The garbage
/// collector thus sees every reference, and dropping the loop drops all of them.
pub(crate) struct Loop {
    pub(crate) reactor: Reactor,
    pub(crate) hooks: Hooks,
    pub(crate) fork_state: ForkState,
    pub(crate) timers: RefCell<Slab<Py<DelayedCall>>>,
    pub(crate) watched: RefCell<Slab<Watched>>,
    pub(crate) streams: RefCell<Slab<Py<Stream>>>,
    pub(crate) listeners: RefCell<Slab<Py<PyAny>>>,
    pub(crate) children: RefCell<Slab<Py<Child>>>,
    /// An accepted connection, while Python makes the object for it.
    pub(crate) accepted: RefCell<Option<(Transport, Bridge)>>,
    /// Calls to make after the next wait.
    after_wait: RefCell<Vec<Box<dyn FnOnce()>>>,
    pub(crate) log: Rc<LogContext>,
    /// How many calls from other threads were made.
    pub(crate) thread_calls: Cell<u64>,
    /// Whether `run` must check before the next turn if its owner has stopped.
    pub(super) interrupted: Cell<bool>,
    pub(crate) waiting: Arc<Waiting>,
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
            let kind: PortKind = name.parse().map_err(PyValueError::new_err::<String>)?;
            builder = builder.port(kind);
        }
        let reactor = builder
            .build()
            .map_err(|error| os_error("no completion port", &error))?;
        Ok(Loop {
            reactor,
            hooks: Hooks::default(),
            fork_state: ForkState::default(),
            timers: RefCell::default(),
            watched: RefCell::default(),
            streams: RefCell::default(),
            listeners: RefCell::default(),
            children: RefCell::default(),
            accepted: RefCell::default(),
            after_wait: RefCell::default(),
            log: Rc::default(),
            thread_calls: Cell::default(),
            interrupted: Cell::new(false),
            waiting,
        })
    }

    /// Raises if this thread may not use the loop now.
    pub(crate) fn check_thread(&self) -> PyResult<()> {
        self.fork_state.check_process()?;
        if self.waiting.now() {
            return Err(PyRuntimeError::new_err(
                "the reactor waits in another thread: only callFromThread may be called from this one",
            ));
        }
        self.fork_state.take_up_in_child(&self.reactor)
    }

    /// Whether this process is a forked child, and the loop belongs to the parent.
    pub(crate) fn is_copy(&self) -> bool {
        self.fork_state.is_copy()
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
}

impl Loop {
    /// Visits the Python objects in the tables. It skips a table that is being changed; the objects in it then live
    /// until a later collection.
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(visit)?;
        visit_all(&self.timers, |call| visit.call(call))?;
        visit_all(&self.watched, |watched| visit.call(&watched.callback))?;
        visit_all(&self.streams, |stream| visit.call(stream))?;
        visit_all(&self.listeners, |listener| visit.call(listener))?;
        visit_all(&self.children, |child| visit.call(child))?;
        self.log.traverse(visit)
    }
}

fn visit_all<T>(
    table: &RefCell<Slab<T>>,
    visit: impl Fn(&T) -> Result<(), PyTraverseError>,
) -> Result<(), PyTraverseError> {
    match table.try_borrow() {
        Ok(table) => table.iter().try_for_each(|(_, entry)| visit(entry)),
        Err(_) => Ok(()),
    }
}

/// Converts seconds to a duration. A value that is too large, or not a number, becomes the longest duration.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
