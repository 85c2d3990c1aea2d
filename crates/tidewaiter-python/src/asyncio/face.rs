//! The Python class `AsyncioLoop`: the part of asyncio's event loop that must be fast. Its calls are in `calls.rs`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::port::RawDescriptor;

use crate::asyncio::streams::spares::Spares;
use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::exits::UnwindGuard;
use crate::core::lock::Locked;

#[derive(Default)]
struct State {
    core: OnceCell<Py<Core>>,
    /// `run_forever` ends after this turn.
    stopping: Cell<bool>,
    /// `run_forever` leaves all turns to us.
    all_turns: Cell<bool>,
    closed: Cell<bool>,
    debug: Cell<bool>,
    /// The numbers of the sockets that transports use.
    numbers: RefCell<HashSet<RawDescriptor>>,
    /// A program or a subclass has replaced `call_soon`.
    call_soon_replaced: Cell<bool>,
    task_factory: RefCell<Option<Py<PyAny>>>,
    /// `{"loop": self}`, with which futures and tasks are made.
    named: RefCell<Option<Py<PyDict>>>,
    /// Handles that were used and that nothing else refers to, kept for their allocations.
    spare: RefCell<Vec<Py<PyAny>>>,
    stream_spares: Spares,
}

/// The maximum number of handles kept for reuse: as many as another thread queues while it holds the interpreter lock.
const SPARE_MAX: usize = 4096;

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

    /// Returns a handle to be used again, if there is one.
    pub(super) fn take_spare<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let spare = self.0.get(py).spare.borrow_mut().pop();
        spare.map(|handle| handle.into_bound(py))
    }

    /// Takes a handle for reuse, to which this is the only reference.
    pub(super) fn keep_spare(&self, handle: Bound<'_, PyAny>) {
        let state = self.0.get(handle.py());
        let mut spare = state.spare.borrow_mut();
        if spare.len() < SPARE_MAX && !state.closed.get() {
            spare.push(handle.unbind());
        }
    }

    /// Objects of streams that are kept for reuse.
    pub(super) fn stream_spares<'a>(&'a self, py: Python<'a>) -> &'a Spares {
        &self.0.get(py).stream_spares
    }

    pub(super) fn has_task_factory(&self, py: Python<'_>) -> bool {
        self.0.get(py).task_factory.borrow().is_some()
    }

    /// Whether a program or a subclass has replaced `call_soon`.
    pub(super) fn is_call_soon_replaced(&self, py: Python<'_>) -> bool {
        self.0.get(py).call_soon_replaced.get()
    }

    pub(super) fn is_closed(&self, py: Python<'_>) -> bool {
        self.0.get(py).closed.get()
    }

    /// The arguments `{"loop": self}`.
    pub(super) fn named<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        let named = &slf.get().0.get(py).named;
        if let Some(named) = &*named.borrow() {
            return Ok(named.bind(py).clone());
        }
        let made = PyDict::new(py);
        made.set_item(intern!(py, "loop"), slf)?;
        named.replace(Some(made.clone().unbind()));
        Ok(made)
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

    /// Makes one turn, or as many as it takes until the loop was told to stop, if `_make_all_turns` says so.
    fn _run_once(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core(py)?;
        let event_loop = core.enter(py)?;
        let state = self.0.get(py);
        let _guard = UnwindGuard::begin();
        if state.stopping.get() {
            event_loop.reactor.skip_wait();
        }
        loop {
            let turned = core.one_turn(py, &event_loop, None);
            if turned.is_err() || state.stopping.get() || !state.all_turns.get() {
                event_loop.send_written()?;
                return turned;
            }
        }
    }

    /// From here on, `_run_once` makes all turns. Asyncio's code would call it for each, at the cost of a short turn.
    fn _make_all_turns(&self, py: Python<'_>, all: bool) {
        self.0.get(py).all_turns.set(all);
    }

    /// Has `run_forever` return at the end of this turn.
    fn stop(&self, py: Python<'_>) {
        self.0.get(py).stopping.set(true);
        if let Some(event_loop) = self.event_loop(py)
            && event_loop.check_thread().is_ok()
        {
            event_loop.reactor.skip_wait();
        }
    }

    /// Drops all calls that were not made.
    fn _drop_calls(&self, py: Python<'_>) {
        if let Some(event_loop) = self.event_loop(py) {
            event_loop.ready.clear();
            event_loop.timers.clear();
        }
        self.forget();
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

    #[getter(_call_soon_replaced)]
    fn call_soon_replaced(&self, py: Python<'_>) -> bool {
        self.is_call_soon_replaced(py)
    }

    #[setter(_call_soon_replaced)]
    fn set_call_soon_replaced(&self, py: Python<'_>, replaced: bool) {
        self.0.get(py).call_soon_replaced.set(replaced);
    }

    /// Whether debug mode is on. Asyncio's futures and tasks ask for it when they are made.
    fn get_debug(&self, py: Python<'_>) -> bool {
        self.debug(py)
    }

    #[getter]
    fn _task_factory<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let factory = self.0.get(py).task_factory.borrow();
        factory.as_ref().map(|factory| factory.bind(py).clone())
    }

    #[setter(_task_factory)]
    fn set_task_factory(&self, py: Python<'_>, factory: Option<Py<PyAny>>) {
        let replaced = self.0.get(py).task_factory.replace(factory);
        drop(replaced);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        if let Some(core) = state.core.get() {
            visit.call(core)?;
        }
        if let Ok(factory) = state.task_factory.try_borrow() {
            visit.call(&*factory)?;
        }
        if let Ok(named) = state.named.try_borrow() {
            visit.call(&*named)?;
        }
        state.stream_spares.traverse(&visit)?;
        match state.spare.try_borrow() {
            Ok(spare) => spare.iter().try_for_each(|handle| visit.call(handle)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.forget();
        let factory = Python::attach(|py| self.0.get(py).task_factory.take());
        drop(factory);
    }
}

impl AsyncioLoop {
    /// Drops what is kept for reuse.
    fn forget(&self) {
        let dropped = Python::attach(|py| {
            let state = self.0.get(py);
            state.stream_spares.clear();
            (state.spare.take(), state.named.take())
        });
        drop(dropped);
    }
}
