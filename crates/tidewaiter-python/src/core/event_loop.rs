//! The event loop: a reactor, and the Python objects that it calls.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slab::Slab;
use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, Transport};

use crate::core::failures::os_error;
use crate::core::forks::ForkState;
use crate::core::hooks::Hooks;
use crate::core::lock::Waiting;
use crate::core::watch::Watched;
use crate::twisted::child::Child;
use crate::twisted::context::Context;
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
    /// Connections that are to end after the next wait.
    pub(crate) ending: RefCell<Vec<Bridge>>,
    pub(super) context: RefCell<Option<Rc<Context>>>,
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
            ending: RefCell::default(),
            context: RefCell::default(),
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

    /// Calls `call` with the context that `named` returns on top of the thread's stack of contexts.
    pub(crate) fn in_context<R>(
        &self,
        py: Python<'_>,
        named: impl FnOnce(&Context) -> PyResult<Py<PyDict>>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        // Clone instead of borrowing: making Python objects may start a garbage collection, which reads `context`.
        let context = self.context.borrow().clone();
        let stack = match context {
            Some(context) => Some(context.push(py, named(&context)?)?),
            None => None,
        };
        let result = call();
        if let Some(stack) = stack {
            stack.pop()?;
        }
        result
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
        match self.context.try_borrow() {
            Ok(context) => context
                .as_ref()
                .map_or(Ok(()), |context| context.traverse(visit)),
            Err(_) => Ok(()),
        }
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
