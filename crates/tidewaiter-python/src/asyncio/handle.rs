//! The Python classes `Handle` and `TimerHandle`: calls that the loop makes, as asyncio knows them.

use std::cell::{Cell, OnceCell, RefCell};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::asyncio::exceptions::leaves_loop;
use crate::asyncio::face::AsyncioLoop;
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::lock::{Locked, WeakList, references};

/// The details of a call that only debug mode keeps.
#[derive(Default)]
struct Origin {
    source_traceback: Option<Py<PyAny>>,
    /// How the call is shown once it was cancelled.
    shown: Option<Py<PyAny>>,
}

/// A callback, its arguments, and the context that it is called in.
struct Call {
    /// Unset until somebody needs it if it has no values: while calls from other threads pile up, the garbage collector then
    /// has one object less to look at for each.
    context: OnceCell<Py<PyAny>>,
    callback: Py<PyAny>,
    /// `None` if there are none. The garbage collector then has one object less to look at.
    args: Option<Py<PyTuple>>,
}

struct State {
    home: Py<AsyncioLoop>,
    /// `None` once the call was cancelled.
    call: RefCell<Option<Call>>,
    origin: RefCell<Option<Box<Origin>>>,
}

/// A call that the loop makes soon.
#[pyclass(frozen, subclass, weakref, module = "tidewaiter._tidewaiter")]
pub(crate) struct Handle(Locked<State>);

/// A call that the loop makes at a given time.
#[pyclass(frozen, extends = Handle, module = "tidewaiter._tidewaiter")]
pub(crate) struct TimerHandle {
    when: f64,
    /// Whether it waits for its time.
    scheduled: Locked<Cell<bool>>,
}

/// Asyncio's own class of this name, whose Python code works with our objects.
fn asyncios<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "asyncio"))?.getattr(name)
}

impl Call {
    /// A call in `context`, or else in a copy of the current context.
    fn new(
        callback: Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Call> {
        let context = match context {
            Some(context) => context,
            None => context::copy_of_current(args.py())?,
        };
        Ok(Call::of(OnceCell::from(context.unbind()), callback, args))
    }

    fn of(
        context: OnceCell<Py<PyAny>>,
        callback: Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> Call {
        Call {
            context,
            callback: callback.unbind(),
            args: (!args.is_empty()).then(|| args.clone().unbind()),
        }
    }

    /// A call from a thread that as a rule has no values in its context.
    fn from_thread(callback: Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> PyResult<Call> {
        let context = context::copy_of_current(args.py())?;
        let kept = match context.is_empty()? {
            true => OnceCell::new(),
            false => OnceCell::from(context.unbind()),
        };
        Ok(Call::of(kept, callback, args))
    }

    /// Another reference to each part, the context included, which must be there.
    fn clone_ref(&self, py: Python<'_>) -> Option<Call> {
        Some(Call {
            context: OnceCell::from(self.context.get()?.clone_ref(py)),
            callback: self.callback.clone_ref(py),
            args: self.args.as_ref().map(|args| args.clone_ref(py)),
        })
    }

    /// Makes the call.
    fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let args = self.args.as_ref().map(|args| args.bind(py));
        let made;
        let context = match self.context.get() {
            Some(context) => context.bind(py),
            None => {
                made = context::empty(py)?;
                &made
            }
        };
        context::call(context, self.callback.bind(py), args)
    }

    fn args<'py>(&self, py: Python<'py>) -> Bound<'py, PyTuple> {
        match &self.args {
            Some(args) => args.bind(py).clone(),
            None => PyTuple::empty(py),
        }
    }
}

impl Handle {
    /// A new handle, or one that is used again.
    pub(super) fn soon<'py>(
        home: &Bound<'py, AsyncioLoop>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        Handle::of_call(home, Call::new(callback, args, context)?)
    }

    /// As [`soon`](Handle::soon), for a call from another thread.
    pub(super) fn from_thread<'py>(
        home: &Bound<'py, AsyncioLoop>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Handle>> {
        Handle::of_call(home, Call::from_thread(callback, args)?)
    }

    fn of_call<'py>(home: &Bound<'py, AsyncioLoop>, call: Call) -> PyResult<Bound<'py, Handle>> {
        let py = home.py();
        let spare = match home.get().debug(py) {
            true => None,
            false => home.get().take_spare(py),
        };
        let Some(spare) = spare else {
            return Bound::new(py, Handle::new_of(home, call)?);
        };
        // Cannot fail: only handles are kept.
        let handle = spare.cast_into::<Handle>()?;
        handle.get().0.get(py).call.replace(Some(call));
        Ok(handle)
    }

    /// A call of `callback(*args)` in `context`, or else in a copy of the current context.
    pub(super) fn of<'py>(
        home: &Bound<'py, AsyncioLoop>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Handle> {
        Handle::new_of(home, Call::new(callback, args, context)?)
    }

    fn new_of(home: &Bound<'_, AsyncioLoop>, call: Call) -> PyResult<Handle> {
        let py = home.py();
        let origin = match home.get().debug(py) {
            true => Some(Box::new(Origin {
                source_traceback: Some(home.call_method0(intern!(py, "_origin"))?.unbind()),
                shown: None,
            })),
            false => None,
        };
        Ok(Handle(Locked::new(State {
            home: home.clone().unbind(),
            call: RefCell::new(Some(call)),
            origin: RefCell::new(origin),
        })))
    }

    /// Returns a part of the call, unless that was cancelled.
    fn part<R>(&self, py: Python<'_>, part: impl FnOnce(&Call) -> R) -> Option<R> {
        let call = self.0.get(py).call.borrow();
        call.as_ref().map(part)
    }

    /// The whole call, unless that was cancelled.
    fn call(&self, py: Python<'_>) -> PyResult<Option<Call>> {
        match self.part(py, |call| call.clone_ref(py)) {
            Some(None) => {
                self.need_context(py)?;
                Ok(self.part(py, |call| call.clone_ref(py)).flatten())
            }
            call => Ok(call.flatten()),
        }
    }

    /// Makes the context, if it is not there.
    fn need_context(&self, py: Python<'_>) -> PyResult<()> {
        if self.part(py, |call| call.context.get().is_none()) == Some(true) {
            // Made outside of a borrow, because that may run any code, which may make it first.
            let context = context::empty(py)?.unbind();
            let _not_needed = self.part(py, |call| call.context.set(context));
        }
        Ok(())
    }

    fn callback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.part(py, |call| call.callback.bind(py).clone())
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
    let state = handle.get().0.get(py);
    // The handle may be cancelled meanwhile.
    let Some(call) = handle.get().call(py)? else {
        return Ok(());
    };
    let home = state.home.bind(py);
    if home.get().debug(py) {
        let made = home.call_method1(intern!(py, "_make_debugged"), (handle,));
        return made.map(drop);
    }
    let hooks = &event_loop.hooks;
    let named = || call.callback.bind(py).clone();
    let made = hooks.timed(named, "", |named, _| named, || call.make(py));
    drop(call);
    if let Err(error) = made {
        return failed(handle, error);
    }
    if may_be_reused(handle)? {
        let home = home.clone();
        let call = state.call.take();
        drop(call);
        // The drop may have run any code, but none that could find the handle.
        state.origin.take();
        home.get().keep_spare(object.clone());
    }
    Ok(())
}

/// Whether the program has lost a handle whose call is being made.
fn may_be_reused(handle: &Bound<'_, Handle>) -> PyResult<bool> {
    static WEAK_LIST: PyOnceLock<WeakList> = PyOnceLock::new();
    let py = handle.py();
    // The queue's reference, which it drops next.
    if references(py, handle.as_unbound()) != 1 || !handle.is_exact_instance_of::<Handle>() {
        return Ok(false);
    }
    let weak_list = WEAK_LIST.get_or_try_init(py, || WeakList::of(&py.get_type::<Handle>()))?;
    Ok(!weak_list.has_some(handle))
}

/// Makes the call of a handle that is asyncio's own.
pub(super) fn make_other(_: &Loop, handle: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handle.py();
    if !handle.getattr(intern!(py, "_cancelled"))?.is_truthy()? {
        handle.call_method0(intern!(py, "_run"))?;
    }
    Ok(())
}

/// Has the loop report what a call raised. Returns the exceptions that are to leave the loop.
fn failed(handle: &Bound<'_, Handle>, error: PyErr) -> PyResult<()> {
    let py = handle.py();
    if leaves_loop(py, &error) {
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
    fn new<'py>(
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        r#loop: &Bound<'py, AsyncioLoop>,
        context: Option<Bound<'py, PyAny>>,
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
        self.need_context(py)?;
        let context = self.part(py, |call| {
            call.context.get().map(|one| one.bind(py).clone())
        });
        Ok(context.flatten())
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        asyncios(slf.py(), "Handle")?.call_method1("__repr__", (slf,))
    }

    // Asyncio's own code reads these.

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> Bound<'py, AsyncioLoop> {
        self.0.get(py).home.bind(py).clone()
    }

    #[getter]
    fn _context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get_context(py)
    }

    #[getter]
    fn _callback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.callback(py)
    }

    #[getter]
    fn _args<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyTuple>> {
        self.part(py, |call| call.args(py))
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
        let Some(call) = slf.get().call(py)? else {
            return Ok(());
        };
        match call.make(py) {
            Ok(_) => Ok(()),
            Err(error) => failed(slf, error),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        if let Ok(call) = state.call.try_borrow()
            && let Some(call) = &*call
        {
            visit.call(call.context.get())?;
            visit.call(&call.callback)?;
            visit.call(&call.args)?;
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
            let (one, another) = (slf.as_super().get(), other.as_super().get());
            let callbacks = (one.callback(py), another.callback(py));
            let same = match callbacks {
                (Some(one), Some(another)) => one.eq(another)?,
                (None, None) => true,
                _ => false,
            };
            Ok(when == others && same && one._args(py).into_pyobject(py)?.eq(another._args(py))?)
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
