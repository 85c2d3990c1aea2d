//! The Python class `DelayedCall`, with the attributes that Twisted's own class shows.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::core::event_loop::{Loop, duration};
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};
use crate::twisted::face::{Face, TwistedLoop};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Called,
    Cancelled,
}

/// When a call is due.
#[derive(Clone, Copy)]
enum Time {
    /// The time by the loop's clock. Python rarely asks for a call's time, so we convert it to wall-clock time only
    /// then: reading a second clock for each call would cost as much as a short callback.
    Due(Instant),
    /// The time that Python was shown or has set: seconds since the epoch.
    Shown(f64),
}

/// A callable and its arguments.
struct Call {
    callable: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

/// The library's timer of a call, and the call's place in the loop's table.
struct Armed {
    timer: tidewaiter::DelayedCall,
    slot: Slot<DelayedCall>,
}

struct State {
    face: Weak<Face>,
    armed: OnceCell<Armed>,
    time: Cell<Time>,
    fate: Cell<Fate>,
    call: RefCell<Option<Call>>,
    /// Attributes that Python has set on the object, made with the first one. Most calls have none, and a dictionary
    /// for each would cost more than the rest of the call.
    attributes: RefCell<Option<Py<PyDict>>>,
}

/// Attributes of the class that an object may override. All others of the class are read-only.
const SETTABLE: [&str; 3] = ["creator", "_repr", "seconds"];

/// A call that the loop makes at a given time.
#[pyclass(frozen, weakref, module = "tidewaiter._tidewaiter")]
pub(crate) struct DelayedCall(Locked<State>);

/// Seconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "Twisted shows the time of delayed calls by the wall clock; the library fires them by its own"
)]
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The wall-clock time at `due`.
fn shown(due: Instant) -> f64 {
    let mut attempts_left = 3;
    loop {
        let before = Instant::now();
        let wall = now();
        attempts_left -= 1;
        // Read both clocks again if the thread was interrupted between the two reads.
        if before.elapsed() < Duration::from_micros(10) || attempts_left == 0 {
            let left = due.saturating_duration_since(before).as_secs_f64();
            return wall + left - before.saturating_duration_since(due).as_secs_f64();
        }
    }
}

impl DelayedCall {
    /// Schedules a call to be made no earlier than `delay` seconds from now.
    fn arm(
        py: Python<'_>,
        event_loop: &Rc<Loop>,
        face: &Rc<Face>,
        delay: f64,
        call: Call,
    ) -> PyResult<Py<DelayedCall>> {
        if delay.is_nan() || delay < 0.0 {
            let message = format!("{delay} is not greater than or equal to 0 seconds");
            return Err(PyAssertionError::new_err(message));
        }
        let state = State {
            face: Rc::downgrade(face),
            armed: OnceCell::new(),
            // Set below, once the timer is armed.
            time: Cell::new(Time::Shown(0.0)),
            fate: Cell::new(Fate::Pending),
            call: RefCell::new(Some(call)),
            attributes: RefCell::new(None),
        };
        let delayed = Bound::new(py, DelayedCall(Locked::new(state)))?;
        if let Some(origin) = face.debug.origin(py)? {
            delayed
                .get()
                .set_attribute(intern!(py, "creator"), &origin)?;
        }
        let slot = Slot::new(event_loop, &delayed);
        let fired = slot.clone();
        let timer = event_loop
            .reactor
            .call_later(duration(delay), move |_| fired.call_last("", fire));
        let state = delayed.get().0.get(py);
        let due = timer
            .due()
            .map_or_else(|| Time::Shown(now() + delay), Time::Due);
        state.time.set(due);
        // `set` cannot fail: the cell is empty until here.
        let _ = state.armed.set(Armed { timer, slot });
        Ok(delayed.unbind())
    }
}

/// Makes a call that is due.
fn fire<'py>(delayed: &Bound<'py, DelayedCall>) -> PyResult<Bound<'py, PyAny>> {
    let py = delayed.py();
    let state = delayed.get().0.get(py);
    state.fate.set(Fate::Called);
    let (callable, args, kwargs) = {
        let call = state.call.borrow();
        let Some(call) = call.as_ref() else {
            return Ok(py.None().into_bound(py));
        };
        let kwargs = call.kwargs.as_ref().map(|kwargs| kwargs.bind(py).clone());
        (
            call.callable.bind(py).clone(),
            call.args.bind(py).clone(),
            kwargs,
        )
    };
    callable.call(&args, kwargs.as_ref())
}

impl Callee for DelayedCall {
    const KIND: &'static str = "timer";

    fn named<'py>(delayed: &Bound<'py, DelayedCall>) -> Bound<'py, PyAny> {
        let py = delayed.py();
        let call = delayed.get().0.get(py).call.borrow();
        match call.as_ref() {
            Some(call) => call.callable.bind(py).clone(),
            None => delayed.as_any().clone(),
        }
    }
}

impl State {
    /// Returns the timer, if the call is pending and this thread may use the loop.
    fn pending<'a>(&'a self, class: &Bound<'_, PyType>) -> PyResult<&'a Armed> {
        let py = class.py();
        let wrong = match self.fate.get() {
            Fate::Pending => None,
            Fate::Called => Some(class.getattr(intern!(py, "AlreadyCalled"))?),
            Fate::Cancelled => Some(class.getattr(intern!(py, "AlreadyCancelled"))?),
        };
        if let Some(wrong) = wrong {
            return Err(PyErr::from_value(wrong.call0()?));
        }
        let armed = self.armed.get();
        let event_loop = armed.and_then(|armed| armed.slot.event_loop());
        match (event_loop, armed) {
            (Some(event_loop), Some(armed)) => {
                event_loop.check_thread()?;
                Ok(armed)
            }
            _ => Err(PyValueError::new_err("the reactor of this call is gone")),
        }
    }

    fn time(&self) -> f64 {
        match self.time.get() {
            Time::Shown(time) => time,
            Time::Due(due) => {
                let time = shown(due);
                self.time.set(Time::Shown(time));
                time
            }
        }
    }

    fn move_to(&self, armed: &Armed, time: f64) {
        self.time.set(Time::Shown(time));
        armed.timer.reset(duration(time - now()));
    }

    /// Whether delayed calls are being debugged.
    fn is_debugged(&self, py: Python<'_>) -> PyResult<bool> {
        match self.face.upgrade() {
            Some(face) => face.debug.is_on(py),
            None => Ok(false),
        }
    }
}

#[pymethods]
impl TwistedLoop {
    /// Calls `callable(*args, **kwargs)` once, no earlier than `delay` seconds from now.
    #[pyo3(signature = (delay, callable, *args, **kwargs))]
    fn call_later(
        &self,
        py: Python<'_>,
        delay: f64,
        callable: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Py<DelayedCall>> {
        let call = Call {
            callable,
            args,
            kwargs,
        };
        DelayedCall::arm(py, &self.enter(py)?, self.face(py), delay, call)
    }

    /// The delayed calls that are pending.
    fn delayed_calls<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, DelayedCall>>> {
        Ok(self.enter(py)?.objects.all(py))
    }
}

#[pymethods]
impl DelayedCall {
    /// The exception for changing a call that was made. Twisted's reactor replaces it with Twisted's own.
    #[classattr]
    #[pyo3(name = "AlreadyCalled")]
    fn already_called(py: Python<'_>) -> Py<PyType> {
        py.get_type::<PyValueError>().unbind()
    }

    /// The exception for changing a call that was cancelled. Twisted's reactor replaces it, too.
    #[classattr]
    #[pyo3(name = "AlreadyCancelled")]
    fn already_cancelled(py: Python<'_>) -> Py<PyType> {
        py.get_type::<PyValueError>().unbind()
    }

    /// When the call is due: seconds since the epoch.
    #[pyo3(name = "getTime")]
    fn get_time(&self, py: Python<'_>) -> f64 {
        self.0.get(py).time()
    }

    #[getter]
    fn time(&self, py: Python<'_>) -> f64 {
        self.0.get(py).time()
    }

    /// Cancels the call. Raises `AlreadyCalled` or `AlreadyCancelled` if it is not pending.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().0.get(py);
        let armed = state.pending(&slf.get_type())?;
        if state.is_debugged(py)? {
            // Keep the present `repr`: the call's parts are dropped below.
            let shown = slf.as_any().repr()?;
            slf.setattr(intern!(py, "_repr"), shown)?;
        }
        armed.timer.cancel();
        state.fate.set(Fate::Cancelled);
        armed.slot.remove();
        // Dropped outside of the borrow: a destructor in Python may call this object.
        let call = state.call.take();
        drop(call);
        Ok(())
    }

    /// Makes the call due `seconds` from now instead. Raises the same exceptions as `cancel`.
    fn reset(slf: &Bound<'_, Self>, seconds: f64) -> PyResult<()> {
        let state = slf.get().0.get(slf.py());
        let armed = state.pending(&slf.get_type())?;
        state.move_to(armed, now() + seconds);
        Ok(())
    }

    /// Makes the call due `seconds` later than it was, or sooner if negative. Raises the same exceptions as `cancel`.
    fn delay(slf: &Bound<'_, Self>, seconds: f64) -> PyResult<()> {
        let state = slf.get().0.get(slf.py());
        let armed = state.pending(&slf.get_type())?;
        state.move_to(armed, state.time() + seconds);
        Ok(())
    }

    /// Whether the call is still pending: neither made nor cancelled.
    fn active(&self, py: Python<'_>) -> bool {
        self.0.get(py).fate.get() == Fate::Pending
    }

    #[getter]
    fn called(&self, py: Python<'_>) -> bool {
        self.0.get(py).fate.get() == Fate::Called
    }

    #[getter]
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.0.get(py).fate.get() == Fate::Cancelled
    }

    /// The callable. Raises `AttributeError` once the call was cancelled.
    #[getter]
    fn func<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.part(py, "func", |call| call.callable.bind(py).clone())
    }

    #[getter]
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.part(py, "args", |call| call.args.bind(py).clone())
    }

    #[getter]
    fn kw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.part(py, "kw", |call| match &call.kwargs {
            Some(kwargs) => kwargs.bind(py).clone(),
            None => PyDict::new(py),
        })
    }

    fn __lt__(&self, py: Python<'_>, other: &DelayedCall) -> bool {
        self.get_time(py) < other.get_time(py)
    }

    fn __le__(&self, py: Python<'_>, other: &DelayedCall) -> bool {
        self.get_time(py) <= other.get_time(py)
    }

    /// The stack of the code that scheduled the call, if `DelayedCall.debug` was set then.
    #[getter]
    fn creator<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.attribute(intern!(py, "creator"))
    }

    /// The clock of the call's `time`: the class's `clock`, unless the object was given another one.
    #[getter]
    fn seconds<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().attribute(intern!(py, "seconds"))? {
            Some(clock) => Ok(clock),
            None => slf.get_type().getattr(intern!(py, "clock")),
        }
    }

    #[getter]
    fn _repr<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.attribute(intern!(py, "_repr"))
    }

    /// Called for attributes that the class does not have.
    fn __getattr__<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.attribute(name)?
            .ok_or_else(|| PyAttributeError::new_err(name.clone().unbind()))
    }

    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if name == "time" {
            // This changes the time that the call shows, but not when the loop makes it.
            let state = slf.get().0.get(slf.py());
            state.time.set(Time::Shown(value.extract()?));
            return Ok(());
        }
        let ours = SETTABLE.iter().any(|settable| name == settable);
        if !ours && slf.get_type().hasattr(name)? {
            return Err(PyAttributeError::new_err(format!("{name} cannot be set")));
        }
        slf.get().set_attribute(name, value)
    }

    fn __delattr__(&self, name: &Bound<'_, PyString>) -> PyResult<()> {
        let attributes = self.attributes(name.py());
        let deleted = attributes.map(|attributes| attributes.del_item(name));
        match deleted {
            Some(Ok(())) => Ok(()),
            _ => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(attributes) = self.0.visited().attributes.try_borrow() {
            visit.call(&*attributes)?;
        }
        let Ok(call) = self.0.visited().call.try_borrow() else {
            return Ok(());
        };
        let Some(call) = call.as_ref() else {
            return Ok(());
        };
        visit.call(&call.callable)?;
        visit.call(&call.args)?;
        visit.call(&call.kwargs)
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            (state.call.take(), state.attributes.take())
        });
        drop(cleared);
    }
}

impl DelayedCall {
    fn part<R>(&self, py: Python<'_>, name: &'static str, of: impl Fn(&Call) -> R) -> PyResult<R> {
        let call = self.0.get(py).call.borrow();
        call.as_ref()
            .map(of)
            .ok_or_else(|| PyAttributeError::new_err(name))
    }

    fn attributes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDict>> {
        let attributes = self.0.get(py).attributes.borrow();
        attributes.as_ref().map(|set| set.bind(py).clone())
    }

    fn attribute<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.attributes(name.py()) {
            Some(attributes) => attributes.get_item(name),
            None => Ok(None),
        }
    }

    fn set_attribute(&self, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = name.py();
        let attributes = self.attributes(py).unwrap_or_else(|| {
            let made = PyDict::new(py);
            self.0
                .get(py)
                .attributes
                .replace(Some(made.clone().unbind()));
            made
        });
        attributes.set_item(name, value)
    }
}
