//! The Python class `StreamWaiter`: the future that a task awaits until a stream reader has something for it.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple, PyType};

use crate::asyncio::exceptions::report;
use crate::asyncio::face::AsyncioLoop;
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::lock::Locked;

enum Outcome {
    Pending,
    /// It has a result, which is always `None`.
    Finished,
    Failed(Py<PyAny>),
    /// With the message of the cancellation.
    Cancelled(Option<Py<PyAny>>),
}

/// A callback and its context.
type Callback = (Py<PyAny>, Py<PyAny>);

struct State {
    home: Py<AsyncioLoop>,
    outcome: RefCell<Outcome>,
    callbacks: RefCell<Vec<Callback>>,
    /// Asyncio's mark of a future that was awaited.
    blocking: Cell<bool>,
}

/// A future for tasks to wait for. What tasks do with a future costs less than with asyncio's own: the loop is told of
/// the result directly.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct StreamWaiter(Locked<State>);

impl StreamWaiter {
    /// A future that a task is about to await: a new one, or one that is used again.
    pub(super) fn awaited(home: &Py<AsyncioLoop>, py: Python<'_>) -> PyResult<Py<StreamWaiter>> {
        if let Some(waiter) = home.get().stream_spares(py).waiters.take(py) {
            // Cannot fail: only such futures are kept there.
            let waiter = waiter.cast_into::<StreamWaiter>()?;
            let state = waiter.get().state(py);
            state.outcome.replace(Outcome::Pending);
            state.blocking.set(true);
            return Ok(waiter.unbind());
        }
        let state = State {
            home: home.clone_ref(py),
            outcome: RefCell::new(Outcome::Pending),
            callbacks: RefCell::default(),
            blocking: Cell::new(true),
        };
        Py::new(py, StreamWaiter(Locked::new(state)))
    }

    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }

    pub(super) fn is_pending(&self, py: Python<'_>) -> bool {
        matches!(*self.state(py).outcome.borrow(), Outcome::Pending)
    }

    /// Gives the future its outcome, and has its callbacks called.
    fn end(slf: &Bound<'_, Self>, outcome: Outcome) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        let pending = state.outcome.replace(outcome);
        drop(pending);
        let home = state.home.get();
        let event_loop = home.open(py)?;
        if state.callbacks.borrow().len() == 1 && !home.debug(py) {
            event_loop.make_soon(slf.clone().into_any().unbind(), call_back);
            return Ok(());
        }
        let callbacks = state.callbacks.take();
        for callback in callbacks {
            Self::call_soon(slf, callback)?;
        }
        Ok(())
    }

    /// Has the loop make a call, as asyncio's futures do.
    fn call_soon(slf: &Bound<'_, Self>, (callback, context): Callback) -> PyResult<()> {
        let py = slf.py();
        let home = slf.get().state(py).home.bind(py);
        let named = PyDict::new(py);
        named.set_item(intern!(py, "context"), context)?;
        home.call_method(intern!(py, "call_soon"), (callback, slf), Some(&named))
            .map(drop)
    }

    /// Gives the future its result, unless it is done.
    pub(super) fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().is_pending(slf.py()) {
            true => Self::end(slf, Outcome::Finished),
            false => Ok(()),
        }
    }

    /// Gives the future an exception, unless it is done.
    pub(super) fn fail(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        match slf.get().is_pending(slf.py()) {
            true => Self::end(slf, Outcome::Failed(exception.clone().unbind())),
            false => Ok(()),
        }
    }
}

impl StreamWaiter {
    /// What a callback gets in place of the future, if that makes no difference: tasks only ask for the result, and
    /// take that of asyncio's own futures without a call.
    fn told_to<'py>(&self, callback: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static TASK: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = callback.py();
        let state = self.state(py);
        if !matches!(*state.outcome.borrow(), Outcome::Finished)
            || !callback.is_exact_instance_of::<PyCFunction>()
        {
            return Ok(None);
        }
        let task = callback.getattr(intern!(py, "__self__"))?;
        if !task.get_type().is(TASK.import(py, "asyncio", "Task")?) {
            return Ok(None);
        }
        let spares = state.home.get().stream_spares(py);
        let make = || AsyncioLoop::create_future(state.home.bind(py));
        spares.done(py, make).map(Some)
    }
}

/// Calls the one callback of a future that is done.
fn call_back(event_loop: &Loop, object: &Bound<'_, PyAny>) -> PyResult<()> {
    // Cannot fail: only these futures are queued with this function.
    let waiter = object.cast::<StreamWaiter>()?;
    let py = waiter.py();
    let state = waiter.get().state(py);
    let called = state.callbacks.borrow_mut().pop();
    let Some((callback, context)) = called else {
        return Ok(());
    };
    let callback = callback.into_bound(py);
    let done = waiter.get().told_to(&callback)?;
    let argument = done.as_ref().unwrap_or(waiter.as_any());
    let args = PyTuple::new(py, [argument])?;
    let made = event_loop.hooks.timed(
        || callback.clone(),
        "",
        |named, _| named,
        || context::call(context.bind(py), &callback, Some(&args)),
    );
    drop(args);
    match made {
        Ok(_) => {
            state.home.get().stream_spares(py).waiters.keep(waiter);
            Ok(())
        }
        Err(error) => {
            let message = format!("Exception in callback {callback}");
            report(&state.home, py, &message, error, &[])
        }
    }
}

/// Asyncio's exception of this name.
fn asyncios_error(py: Python<'_>, name: &str, argument: Option<Py<PyAny>>) -> PyResult<PyErr> {
    let class = py.import("asyncio.exceptions")?.getattr(name)?;
    let exception = match argument {
        Some(argument) => class.call1((argument,))?,
        None => class.call0()?,
    };
    Ok(PyErr::from_value(exception))
}

fn invalid_state(py: Python<'_>, message: &str) -> PyResult<PyErr> {
    let message = message.into_pyobject(py)?.into_any().unbind();
    asyncios_error(py, "InvalidStateError", Some(message))
}

#[pymethods]
impl StreamWaiter {
    /// The class that `isinstance` sees.
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import(intern!(py, "asyncio"))?
            .getattr(intern!(py, "Future"))
    }

    #[getter]
    fn _asyncio_future_blocking(&self, py: Python<'_>) -> bool {
        self.state(py).blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, py: Python<'_>, blocking: bool) {
        self.state(py).blocking.set(blocking);
    }

    fn get_loop(&self, py: Python<'_>) -> Py<AsyncioLoop> {
        self.state(py).home.clone_ref(py)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<AsyncioLoop> {
        self.get_loop(py)
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let context = match context {
            Some(context) => context,
            None => context::copy_of_current(py)?.unbind(),
        };
        if !slf.get().is_pending(py) {
            return Self::call_soon(slf, (callback, context));
        }
        let callbacks = &slf.get().state(py).callbacks;
        callbacks.borrow_mut().push((callback, context));
        Ok(())
    }

    fn remove_done_callback(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let callbacks = self.state(py).callbacks.take();
        let (mut kept, count) = (Vec::new(), callbacks.len());
        for (known, context) in callbacks {
            if !known.bind(py).eq(callback)? {
                kept.push((known, context));
            }
        }
        let removed = count - kept.len();
        self.state(py).callbacks.replace(kept);
        Ok(removed)
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        if !slf.get().is_pending(slf.py()) {
            return Ok(false);
        }
        Self::end(slf, Outcome::Cancelled(msg))?;
        Ok(true)
    }

    fn cancelled(&self, py: Python<'_>) -> bool {
        matches!(*self.state(py).outcome.borrow(), Outcome::Cancelled(_))
    }

    fn done(&self, py: Python<'_>) -> bool {
        !self.is_pending(py)
    }

    pub(super) fn result(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.state(py).outcome.borrow() {
            Outcome::Finished => Ok(()),
            Outcome::Pending => Err(invalid_state(py, "Result is not set.")?),
            Outcome::Failed(exception) => Err(PyErr::from_value(exception.bind(py).clone())),
            Outcome::Cancelled(message) => {
                let message = message.as_ref().map(|message| message.clone_ref(py));
                Err(asyncios_error(py, "CancelledError", message)?)
            }
        }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if let Outcome::Failed(exception) = &*self.state(py).outcome.borrow() {
            return Ok(Some(exception.clone_ref(py)));
        }
        if self.is_pending(py) {
            return Err(invalid_state(py, "Exception is not set.")?);
        }
        self.result(py).map(|()| None)
    }

    fn set_result(slf: &Bound<'_, Self>, result: &Bound<'_, PyAny>) -> PyResult<()> {
        if !result.is_none() {
            return Err(PyValueError::new_err("its result is always None"));
        }
        Self::check_pending(slf)?;
        Self::wake(slf)
    }

    fn set_exception(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::check_pending(slf)?;
        Self::fail(slf, exception)
    }

    // Asyncio's own code reads these to show a future.

    #[getter]
    fn _state(&self, py: Python<'_>) -> &'static str {
        match *self.state(py).outcome.borrow() {
            Outcome::Pending => "PENDING",
            Outcome::Cancelled(_) => "CANCELLED",
            Outcome::Finished | Outcome::Failed(_) => "FINISHED",
        }
    }

    #[getter]
    fn _callbacks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let shown = PyList::empty(py);
        for (callback, context) in self.state(py).callbacks.borrow().iter() {
            shown.append(PyTuple::new(py, [callback, context])?)?;
        }
        Ok(shown)
    }

    #[getter]
    fn _result(&self) -> Option<Py<PyAny>> {
        None
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &*self.state(py).outcome.borrow() {
            Outcome::Failed(exception) => Some(exception.clone_ref(py)),
            _ => None,
        }
    }

    #[getter]
    fn _source_traceback(&self) -> Option<Py<PyAny>> {
        None
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let parts = py
            .import("asyncio.base_futures")?
            .call_method1("_future_repr_info", (slf,))?;
        let joined = " ".into_pyobject(py)?.call_method1("join", (parts,))?;
        format!("<Future {joined}>")
            .into_pyobject(py)
            .map(Bound::into_any)
            .map_err(Into::into)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        if let Ok(outcome) = state.outcome.try_borrow() {
            match &*outcome {
                Outcome::Failed(exception) => visit.call(exception)?,
                Outcome::Cancelled(message) => visit.call(message)?,
                Outcome::Pending | Outcome::Finished => {}
            }
        }
        let Ok(callbacks) = state.callbacks.try_borrow() else {
            return Ok(());
        };
        callbacks.iter().try_for_each(|(callback, context)| {
            visit.call(callback)?;
            visit.call(context)
        })
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.state(py);
            let outcome = match state.outcome.try_borrow_mut() {
                Ok(mut outcome) => Some(std::mem::replace(&mut *outcome, Outcome::Finished)),
                Err(_) => None,
            };
            (state.callbacks.take(), outcome)
        });
        drop(cleared);
    }
}

impl StreamWaiter {
    fn check_pending(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().is_pending(slf.py()) {
            true => Ok(()),
            false => Err(invalid_state(slf.py(), "invalid state")?),
        }
    }
}
