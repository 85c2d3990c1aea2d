//! The Python class `AsyncioLoop`: the part of asyncio's event loop that must be fast. Its calls are in `calls.rs`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::port::RawDescriptor;

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::exits::UnwindGuard;
use crate::core::lock::Locked;

#[derive(Default)]
struct State {
    core: OnceCell<Py<Core>>,
    /// `run_forever` ends after this turn.
    stopping: Cell<bool>,
    closed: Cell<bool>,
    debug: Cell<bool>,
    /// The numbers of the sockets that transports use.
    numbers: RefCell<HashSet<RawDescriptor>>,
}

/// Calls soon and later, and the turns of the loop. To be subclassed, before asyncio's own `BaseEventLoop`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct AsyncioLoop(Locked<State>);

impl AsyncioLoop {
    /// The numbers of the sockets that transports use.
    pub(super) fn numbers<'a>(&'a self, py: Python<'a>) -> &'a RefCell<HashSet<RawDescriptor>> {
        &self.0.get(py).numbers
    }

    pub(super) fn debug(&self, py: Python<'_>) -> bool {
        self.0.get(py).debug.get()
    }

    fn core<'a>(&'a self, py: Python<'a>) -> PyResult<&'a Core> {
        let core = self.0.get(py).core.get();
        let core = core.ok_or_else(|| {
            PyRuntimeError::new_err("the loop was not initialized: call Loop.__init__")
        })?;
        Ok(core.get())
    }

    /// The loop, if it was not closed. Threads other than its own may only queue calls.
    pub(super) fn event_loop(&self, py: Python<'_>) -> Option<Rc<Loop>> {
        self.core(py).ok()?.event_loop(py)
    }

    /// The loop, if it is open.
    pub(super) fn open(&self, py: Python<'_>) -> PyResult<Rc<Loop>> {
        let core = self.core(py)?;
        match core.event_loop(py) {
            Some(event_loop) if !self.0.get(py).closed.get() => Ok(event_loop),
            _ => Err(PyRuntimeError::new_err("Event loop is closed")),
        }
    }
}

#[pymethods]
impl AsyncioLoop {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> AsyncioLoop {
        AsyncioLoop(Locked::new(State::default()))
    }

    /// Gives the loop the core that it runs on, once.
    fn _attach(&self, py: Python<'_>, core: Py<Core>) -> PyResult<()> {
        let state = self.0.get(py);
        let attached = state.core.set(core);
        attached.map_err(|_| PyRuntimeError::new_err("the loop was initialized before"))
    }

    /// Seconds by the clock of Python's `time.monotonic`.
    fn time(&self, py: Python<'_>) -> PyResult<f64> {
        match self.event_loop(py) {
            Some(event_loop) => event_loop.timers.our_time(py),
            None => py.import("time")?.call_method0("monotonic")?.extract(),
        }
    }

    /// From here on, calls are due by `clock()`, or by the loop's own clock if that is `None`.
    fn _follow_clock(&self, py: Python<'_>, clock: Option<Py<PyAny>>) -> PyResult<()> {
        let event_loop = self.open(py)?;
        event_loop.follow_clock(clock);
        Ok(())
    }

    /// Makes turns until the loop was told to stop. Asyncio calls this again and again until then.
    fn _run_once(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core(py)?;
        let event_loop = core.enter(py)?;
        let stopping = &self.0.get(py).stopping;
        let _guard = UnwindGuard::begin();
        if stopping.get() {
            event_loop.reactor.skip_wait();
        }
        loop {
            let turned = core.one_turn(py, &event_loop, None);
            if turned.is_err() || stopping.get() {
                event_loop.send_written()?;
                return turned;
            }
        }
    }

    /// Has `run_forever` return at the end of this turn.
    fn stop(&self, py: Python<'_>) {
        self.0.get(py).stopping.set(true);
    }

    /// Drops all calls that were not made.
    fn _drop_calls(&self, py: Python<'_>) {
        if let Some(event_loop) = self.event_loop(py) {
            event_loop.ready.clear();
            event_loop.timers.clear();
        }
    }

    // State that `BaseEventLoop` keeps in attributes, and that is read in each turn or each call.

    #[getter]
    fn _stopping(&self, py: Python<'_>) -> bool {
        self.0.get(py).stopping.get()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, py: Python<'_>, stopping: bool) {
        self.0.get(py).stopping.set(stopping);
    }

    #[getter]
    fn _closed(&self, py: Python<'_>) -> bool {
        self.0.get(py).closed.get()
    }

    #[setter(_closed)]
    fn set_closed(&self, py: Python<'_>, closed: bool) {
        self.0.get(py).closed.set(closed);
    }

    #[getter]
    fn _debug(&self, py: Python<'_>) -> bool {
        self.0.get(py).debug.get()
    }

    #[setter(_debug)]
    fn set_debug(&self, py: Python<'_>, debug: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.get(py).debug.set(debug.is_truthy()?);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.visited().core.get() {
            Some(core) => visit.call(core),
            None => Ok(()),
        }
    }
}
