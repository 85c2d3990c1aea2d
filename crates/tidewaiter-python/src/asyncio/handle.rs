//! The Python classes `Handle` and `TimerHandle`: calls that the loop makes, as asyncio knows them.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::asyncio::face::AsyncioLoop;
use crate::core::event_loop::Loop;
use crate::core::lock::Locked;

/// What only debug mode knows of a call.
#[derive(Default)]
struct Origin {
    source_traceback: Option<Py<PyAny>>,
    /// How the call is shown once it was cancelled.
    shown: Option<Py<PyAny>>,
}

struct State {
    home: Py<AsyncioLoop>,
    /// `(context, callback, *args)`; `None` once the call was cancelled.
    call: RefCell<Option<Py<PyTuple>>>,
    origin: RefCell<Option<Box<Origin>>>,
}

/// A call that the loop makes soon.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Handle(Locked<State>);

/// A call that the loop makes at a given time.
#[pyclass(frozen, extends = Handle, module = "tidewaiter._tidewaiter")]
pub(crate) struct TimerHandle {
    when: f64,
    /// Whether it waits for its time.
    scheduled: Locked<Cell<bool>>,
}

/// Returns `module.name`, which is looked up once.
fn known<'py>(
    cell: &'static PyOnceLock<Py<PyAny>>,
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let found = cell.get_or_try_init(py, || {
        let mut found = py.import(module)?.into_any();
        for part in name.split('.') {
            found = found.getattr(part)?;
        }
        Ok::<_, PyErr>(found.unbind())
    })?;
    Ok(found.bind(py))
}

/// `contextvars.Context.run`, the method of the class.
pub(super) fn context_run(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    known(&RUN, py, "contextvars", "Context.run")
}

pub(super) fn current_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    known(&COPY, py, "contextvars", "copy_context")?.call0()
}

/// Asyncio's own class of this name, whose Python code works with our objects.
fn asyncios<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "asyncio"))?.getattr(name)
}

impl Handle {
    /// A call of `callback(*args)` in `context`, or else in a copy of the current context.
    pub(super) fn of(
        home: &Bound<'_, AsyncioLoop>,
        callback: Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Handle> {
        let py = home.py();
        let context = match context {
            Some(context) => context,
            None => current_context(py)?,
        };
        let call = match args.len() {
            0 => PyTuple::new(py, [context, callback])?,
            1 => PyTuple::new(py, [context, callback, args.get_item(0)?])?,
            _ => {
                let mut parts = vec![context, callback];
                parts.extend(args.iter());
                PyTuple::new(py, parts)?
            }
        };
        let origin = match home.get().debug(py) {
            true => Some(Box::new(Origin {
                source_traceback: Some(home.call_method0(intern!(py, "_origin"))?.unbind()),
                shown: None,
            })),
            false => None,
        };
        Ok(Handle(Locked::new(State {
            home: home.clone().unbind(),
            call: RefCell::new(Some(call.unbind())),
            origin: RefCell::new(origin),
        })))
    }

    fn call<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyTuple>> {
        let call = self.0.get(py).call.borrow();
        call.as_ref().map(|call| call.bind(py).clone())
    }

    fn origin<'py>(
        &self,
        py: Python<'py>,
        part: impl Fn(&Origin) -> &Option<Py<PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        let origin = self.0.get(py).origin.borrow();
        let part = part(origin.as_ref()?);
        part.as_ref().map(|part| part.bind(py).clone())
    }

    pub(super) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.0.get(py).call.borrow().is_none()
    }
}

/// Makes the call of a handle.
pub(super) fn make(event_loop: &Loop, object: &Bound<'_, PyAny>) -> PyResult<()> {
    // Cannot fail: only handles are queued with this function.
    let handle = object.cast::<Handle>()?;
    let py = handle.py();
    let Some(call) = handle.get().call(py) else {
        return Ok(());
    };
    let home = handle.get().0.get(py).home.bind(py);
    let debug = home.get().debug(py);
    if debug {
        return home
            .call_method1(intern!(py, "_make_debugged"), (handle,))
            .map(drop);
    }
    let hooks = &event_loop.hooks;
    let named = || {
        call.get_item(1)
            .unwrap_or_else(|_| handle.clone().into_any())
    };
    let made = hooks.timed(
        named,
        "",
        |named, _| named,
        || context_run(py)?.call1(&call),
    );
    match made {
        Ok(_) => Ok(()),
        Err(error) => failed(handle, error),
    }
}

/// Has the loop report what a call raised. Returns the exceptions that are to leave the loop.
fn failed(handle: &Bound<'_, Handle>, error: PyErr) -> PyResult<()> {
    let py = handle.py();
    if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
        return Err(error);
    }
    let home = handle.get().0.get(py).home.bind(py);
    let exception = error.into_value(py);
    home.call_method1(intern!(py, "_call_failed"), (handle, exception))?;
    Ok(())
}

#[pymethods]
impl Handle {
    #[new]
    #[pyo3(signature = (callback, args, r#loop, context=None))]
    fn new(
        callback: Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        r#loop: &Bound<'_, AsyncioLoop>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Handle> {
        Handle::of(r#loop, callback, args, context)
    }

    /// The class that `isinstance` sees besides this one.
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        asyncios(py, "Handle")
    }

    /// Cancels the call, unless it was made.
    pub(super) fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().0.get(py);
        if slf.get().is_cancelled(py) {
            return Ok(());
        }
        let debug = state.home.get().debug(py);
        // Debug mode shows the call later on, when its parts are gone.
        let shown = match debug {
            true => Some(
                asyncios(py, "Handle")?
                    .call_method1("__repr__", (slf,))?
                    .unbind(),
            ),
            false => None,
        };
        let call = state.call.take();
        drop(call);
        if let Some(shown) = shown {
            let mut origin = state.origin.borrow_mut();
            origin.get_or_insert_default().shown = Some(shown);
        }
        Ok(())
    }

    fn cancelled(&self, py: Python<'_>) -> bool {
        self.is_cancelled(py)
    }

    /// The context that the call is made in.
    fn get_context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.call(py).map(|call| call.get_item(0)).transpose()
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        asyncios(slf.py(), "Handle")?.call_method1("__repr__", (slf,))
    }

    // What asyncio's own code reads of a handle.

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> Bound<'py, AsyncioLoop> {
        self.0.get(py).home.bind(py).clone()
    }

    #[getter]
    fn _context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get_context(py)
    }

    #[getter]
    fn _callback<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.call(py).map(|call| call.get_item(1)).transpose()
    }

    #[getter]
    fn _args<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyTuple>> {
        self.call(py).map(|call| call.get_slice(2, call.len()))
    }

    #[getter]
    fn _cancelled(&self, py: Python<'_>) -> bool {
        self.is_cancelled(py)
    }

    #[getter]
    fn _source_traceback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.origin(py, |origin| &origin.source_traceback)
    }

    #[getter]
    fn _repr<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.origin(py, |origin| &origin.shown)
    }

    fn _repr_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        asyncios(slf.py(), "Handle")?.call_method1("_repr_info", (slf,))
    }

    /// Makes the call at once, as the loop does.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().call(py) {
            Some(call) => match context_run(py)?.call1(&call) {
                Ok(_) => Ok(()),
                Err(error) => failed(slf, error),
            },
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        if let Ok(call) = state.call.try_borrow() {
            visit.call(&*call)?;
        }
        let Ok(origin) = state.origin.try_borrow() else {
            return Ok(());
        };
        match &*origin {
            Some(origin) => visit.call(&origin.source_traceback),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            (state.call.take(), state.origin.take())
        });
        drop(cleared);
    }
}

impl TimerHandle {
    /// Schedules a call. `now` is the present time.
    pub(super) fn schedule<'py>(
        handle: Handle,
        event_loop: &Loop,
        py: Python<'py>,
        when: f64,
        now: f64,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let timer = TimerHandle {
            when,
            scheduled: Locked::new(Cell::new(true)),
        };
        let timer = Bound::new(py, PyClassInitializer::from(handle).add_subclass(timer))?;
        let object = timer.clone().into_any().unbind();
        event_loop.fire_at(when, now, object, fire);
        Ok(timer)
    }
}

/// Whether a timer was not cancelled.
fn lives(object: &Bound<'_, PyAny>) -> bool {
    let handle = object.cast::<Handle>();
    handle.is_ok_and(|handle| !handle.get().is_cancelled(object.py()))
}

/// Queues the call of a timer, unless it was cancelled.
fn fire(event_loop: &Loop, object: Bound<'_, PyAny>) {
    if !lives(&object) {
        event_loop.timers.forget_cancelled();
        return;
    }
    if let Ok(timer) = object.cast::<TimerHandle>() {
        timer.get().scheduled.get(object.py()).set(false);
    }
    event_loop.make_soon(object.unbind(), make);
}

#[pymethods]
impl TimerHandle {
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        asyncios(py, "TimerHandle")
    }

    /// Cancels the call, unless it was made.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let handle = slf.as_super();
        if handle.get().is_cancelled(py) {
            return Ok(());
        }
        Handle::cancel(handle)?;
        if slf.get().scheduled.get(py).replace(false) {
            let home = handle.get().0.get(py).home.get();
            if let Some(event_loop) = home.event_loop(py) {
                event_loop.timers.note_cancelled(py, lives);
            }
        }
        Ok(())
    }

    /// When the call is due, by the loop's clock.
    fn when(&self) -> f64 {
        self.when
    }

    #[getter]
    fn _when(&self) -> f64 {
        self.when
    }

    #[getter]
    fn _scheduled(&self, py: Python<'_>) -> bool {
        self.scheduled.get(py).get()
    }

    fn _repr_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let info = Handle::_repr_info(slf.as_super())?;
        let at = if slf.as_super().get().is_cancelled(slf.py()) {
            2
        } else {
            1
        };
        info.call_method1("insert", (at, format!("when={}", slf.get().when)))?;
        Ok(info)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.when.into_pyobject(py)?.hash()
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        operation: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Ok(other) = other.cast::<TimerHandle>() else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let (when, others) = (slf.get().when, other.get().when);
        let same = || -> PyResult<bool> {
            let (call, others_call) = (
                slf.as_super().get().call(py),
                other.as_super().get().call(py),
            );
            Ok(when == others
                && match (call, others_call) {
                    (Some(one), Some(other)) => one
                        .get_slice(1, one.len())
                        .eq(other.get_slice(1, other.len()))?,
                    (None, None) => true,
                    _ => false,
                })
        };
        let holds = match operation {
            CompareOp::Lt => when < others,
            CompareOp::Gt => when > others,
            CompareOp::Le => when < others || same()?,
            CompareOp::Ge => when > others || same()?,
            CompareOp::Eq => same()?,
            CompareOp::Ne => !same()?,
        };
        Ok(holds.into_pyobject(py)?.to_owned().into_any())
    }
}
