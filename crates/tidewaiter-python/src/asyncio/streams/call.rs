//! The Python class `StreamCall`: a call of a reader's or writer's coroutine method, to be awaited.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use pyo3::call::PyCallArgs;
use pyo3::exceptions::{
    PyAssertionError, PyBaseException, PyRuntimeError, PyRuntimeWarning, PyStopIteration,
    PyTypeError, PyValueError,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice, PyString};

use super::argument::{Argument, separators};
use super::waiter::StreamWaiter;
use super::{AsyncioStream, State};
use crate::core::lock::{Locked, stop_iteration};

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Read,
    ReadLine,
    ReadUntil,
    ReadExactly,
    Drain,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Nothing has awaited it.
    New,
    Waiting,
    /// A coroutine of Python's goes on with it.
    Delegated,
    Over,
}

struct CallState {
    /// `None` once it is over.
    stream: RefCell<Option<Py<AsyncioStream>>>,
    method: Cell<Method>,
    argument: RefCell<Argument>,
    phase: Cell<Phase>,
    waiter: RefCell<Option<Py<StreamWaiter>>>,
    delegate: RefCell<Option<Py<PyAny>>>,
    /// How many of the bytes have no separator.
    offset: Cell<usize>,
    /// The bytes that `read` without a size has taken.
    collected: RefCell<Vec<u8>>,
}

/// A coroutine: tasks run it as they run those of `async def`.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct StreamCall(Locked<CallState>);

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Read => "read",
            Method::ReadLine => "readline",
            Method::ReadUntil => "readuntil",
            Method::ReadExactly => "readexactly",
            Method::Drain => "drain",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Method::Drain => "StreamWriter",
            _ => "StreamReader",
        }
    }
}

/// What a step of a coroutine comes to.
enum Step<'py> {
    /// The task is to wait for this future.
    Wait(Bound<'py, PyAny>),
    Return(Bound<'py, PyAny>),
}

impl<'py> Step<'py> {
    /// As `send` and `throw` tell it.
    fn told(self) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Step::Wait(future) => Ok(future),
            Step::Return(result) => Err(PyStopIteration::new_err(result.unbind())),
        }
    }
}

fn over() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

impl StreamCall {
    /// Goes on, until there is a result or more bytes are needed.
    fn step<'py>(slf: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let py = slf.py();
        let this = slf.get().0.get(py);
        let stream = this.stream(py)?;
        let state = stream.get().state(py);
        let first = this.phase.get() == Phase::New;
        match this.phase.get() {
            Phase::Over => return Err(over()),
            Phase::Delegated => return this.resume(py, intern!(py, "send"), (py.None(),)),
            Phase::New => {}
            Phase::Waiting => this.check_woken(py, state)?,
        }
        let step = this.advance(py, state, first);
        match step {
            Ok(None) => return this.delegate(&stream),
            Ok(Some(Step::Wait(_))) => this.phase.set(Phase::Waiting),
            Ok(Some(Step::Return(_))) => {
                this.end();
                state.home.get().stream_spares(py).calls.keep(slf);
            }
            Err(_) => this.end(),
        }
        step.map(|step| step.unwrap_or(Step::Return(py.None().into_bound(py))))
    }

    /// A call that nothing has awaited yet: a new one, or one that is used again.
    fn begin(
        stream: Bound<'_, AsyncioStream>,
        method: Method,
        argument: Argument,
    ) -> PyResult<Py<StreamCall>> {
        let py = stream.py();
        let spares = stream.get().state(py).home.get().stream_spares(py);
        let Some(call) = spares.calls.take(py) else {
            let state = CallState {
                stream: RefCell::new(Some(stream.unbind())),
                method: Cell::new(method),
                argument: RefCell::new(argument),
                phase: Cell::new(Phase::New),
                waiter: RefCell::new(None),
                delegate: RefCell::new(None),
                offset: Cell::new(0),
                collected: RefCell::default(),
            };
            return Py::new(py, StreamCall(Locked::new(state)));
        };
        // Cannot fail: only calls are kept there.
        let call = call.cast_into::<StreamCall>()?;
        let state = call.get().0.get(py);
        state.stream.replace(Some(stream.unbind()));
        state.method.set(method);
        state.argument.replace(argument);
        state.phase.set(Phase::New);
        state.offset.set(0);
        Ok(call.unbind())
    }
}

impl CallState {
    fn stream<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, AsyncioStream>> {
        let stream = self.stream.borrow();
        let stream = stream.as_ref().ok_or_else(over)?;
        Ok(stream.bind(py).clone())
    }

    /// Lets go of everything: the call is over.
    fn end(&self) {
        self.phase.set(Phase::Over);
        let dropped = (self.stream.take(), self.argument.replace(Argument::Missing));
        drop(dropped);
    }

    /// Makes an attempt, and waits if that needs more bytes. Returns `None` if only asyncio's own coroutine can go on.
    fn advance<'py>(
        &self,
        py: Python<'py>,
        stream: &State,
        first: bool,
    ) -> PyResult<Option<Step<'py>>> {
        if stream.reader.borrow().is_some() {
            return Ok(None);
        }
        if self.method.get() == Method::Drain {
            stream.check(py)?;
            let writable = stream.below.is_writable(py)?;
            return Ok(writable.then(|| Step::Return(py.None().into_bound(py))));
        }
        let mut offset = self.offset.get();
        let attempt = self.attempt(py, stream, first, &mut offset)?;
        self.offset.set(offset);
        match attempt {
            Some(result) => Ok(Some(Step::Return(result))),
            None => self.wait(py, stream).map(Step::Wait).map(Some),
        }
    }

    fn attempt<'py>(
        &self,
        py: Python<'py>,
        stream: &State,
        first: bool,
        offset: &mut usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let argument = self.argument.borrow().clone_ref(py);
        let check = || if first { stream.check(py) } else { Ok(()) };
        let nothing = || Ok(Some(PyBytes::new(py, b"").into_any()));
        match self.method.get() {
            Method::Read => {
                check()?;
                match argument.size(py)? {
                    0 => nothing(),
                    ..0 => stream.read_all(py, &self.collected),
                    size => stream.read(py, size, !first),
                }
            }
            Method::ReadExactly => {
                let size = argument.size(py)?;
                if size < 0 {
                    let message = "readexactly size can not be less than zero";
                    return Err(PyValueError::new_err(message));
                }
                check()?;
                match size {
                    0 => nothing(),
                    _ => stream.read_exactly(py, size, || argument.object(py)),
                }
            }
            Method::ReadUntil => {
                let given = argument.object(py)?;
                let separators = match &given {
                    Some(given) => separators(given)?,
                    None => vec![Cow::Borrowed(&b"\n"[..])],
                };
                check()?;
                stream.read_until(py, &separators, offset)
            }
            Method::ReadLine | Method::Drain => {
                check()?;
                stream.read_line(py, offset)
            }
        }
    }

    /// Makes the future for a task to wait for.
    fn wait<'py>(&self, py: Python<'py>, stream: &State) -> PyResult<Bound<'py, PyAny>> {
        if stream.waiter.borrow().is_some() {
            let name = match self.method.get() {
                Method::ReadLine => Method::ReadUntil.name(),
                method => method.name(),
            };
            let message = format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            );
            return Err(PyRuntimeError::new_err(message));
        }
        if stream.eof.get() {
            return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
        }
        // A task that waits for more than the limit needs it.
        if stream.paused.get() {
            stream.resume(py)?;
        }
        let waiter = StreamWaiter::awaited(&stream.home, py)?;
        stream.waiter.replace(Some(waiter.clone_ref(py)));
        self.waiter.replace(Some(waiter.clone_ref(py)));
        Ok(waiter.into_bound(py).into_any())
    }

    /// Lets go of the future that the task has waited for. Fails if that is not done.
    fn check_woken(&self, py: Python<'_>, stream: &State) -> PyResult<()> {
        let waiter = self.waiter.take();
        let Some(waiter) = waiter else {
            return Ok(());
        };
        if waiter.get().is_pending(py) {
            self.waiter.replace(Some(waiter));
            return Err(PyRuntimeError::new_err("await wasn't used with future"));
        }
        self.forget(&waiter, stream);
        waiter.get().result(py).inspect_err(|_| self.end())
    }

    /// Lets another task wait.
    fn forget(&self, waiter: &Py<StreamWaiter>, stream: &State) {
        let mut current = stream.waiter.borrow_mut();
        if current.as_ref().is_some_and(|current| current.is(waiter)) {
            *current = None;
        }
    }

    /// Has asyncio's own coroutine of this method go on.
    fn delegate<'py>(&self, stream: &Bound<'py, AsyncioStream>) -> PyResult<Step<'py>> {
        let py = stream.py();
        let state = stream.get().state(py);
        let reader = state.reader(py);
        let coroutine = match (self.method.get(), reader) {
            (Method::Drain, reader) => {
                let exception_of = reader.unwrap_or_else(|| stream.as_any().clone());
                let home = state.home.bind(py);
                let arguments = (exception_of, state.below.transport(py), &state.protocol);
                home.call_method1(intern!(py, "_drained"), arguments)
            }
            (_, Some(reader)) => self.delegate_read(&reader),
            (_, None) => Err(over()),
        };
        let coroutine = coroutine.inspect_err(|_| self.end())?;
        self.delegate.replace(Some(coroutine.unbind()));
        self.phase.set(Phase::Delegated);
        self.resume(py, intern!(py, "send"), (py.None(),))
    }

    fn delegate_read<'py>(&self, reader: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = reader.py();
        let collected = self.collected.take();
        if !collected.is_empty() {
            let buffer = reader.getattr("_buffer")?;
            buffer.set_item(PySlice::new(py, 0, 0, 1), PyBytes::new(py, &collected))?;
        }
        let argument = self.argument.borrow().object(py)?;
        let method = self.method.get().name();
        match argument {
            Some(argument) => reader.call_method1(method, (argument,)),
            None => reader.call_method0(method),
        }
    }

    /// Calls a method of the coroutine that goes on with this call.
    fn resume<'py>(
        &self,
        py: Python<'py>,
        method: &Bound<'py, PyString>,
        arguments: impl PyCallArgs<'py>,
    ) -> PyResult<Step<'py>> {
        let delegate = self
            .delegate
            .borrow()
            .as_ref()
            .map(|one| one.bind(py).clone());
        let result = delegate.ok_or_else(over)?.call_method1(method, arguments);
        if result.is_err() {
            self.end();
            self.delegate.take();
        }
        result.map(Step::Wait)
    }

    /// Ends the call. Bytes that came stay for the next.
    fn stop(&self, py: Python<'_>) {
        let waiter = self.waiter.take();
        if let (Some(waiter), Ok(stream)) = (waiter, self.stream(py)) {
            self.forget(&waiter, stream.get().state(py));
        }
        self.end();
        let collected = self.collected.take();
        drop(collected);
    }
}

/// The exception that the arguments of `throw` stand for.
fn thrown(
    kind: Bound<'_, PyAny>,
    value: Option<Bound<'_, PyAny>>,
    traceback: Option<Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let exception = match value {
        _ if kind.is_instance_of::<PyBaseException>() => kind,
        Some(value) if value.is_instance_of::<PyBaseException>() => value,
        Some(value) => kind.call1((value,))?,
        None => kind.call0()?,
    };
    if let Some(traceback) = traceback {
        exception.setattr(intern!(exception.py(), "__traceback__"), traceback)?;
    }
    Ok(PyErr::from_value(exception))
}

#[pymethods]
impl StreamCall {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match Self::step(slf)? {
            Step::Wait(future) => Ok(Some(future)),
            // The end of an iterator that tells no value means that this is `None`.
            Step::Return(result) if result.is_none() => Ok(None),
            Step::Return(result) => {
                stop_iteration(&result);
                Ok(None)
            }
        }
    }

    fn send<'py>(slf: &Bound<'py, Self>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let state = slf.get().0.get(py);
        let step = match state.phase.get() {
            Phase::Delegated => state.resume(py, intern!(py, "send"), (value,)),
            Phase::New if !value.is_none() => Err(PyTypeError::new_err(
                "can't send non-None value to a just-started coroutine",
            )),
            _ => Self::step(slf),
        };
        step?.told()
    }

    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw<'py>(
        &self,
        typ: Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = typ.py();
        let state = self.0.get(py);
        let error = thrown(typ, val, tb)?;
        match state.phase.get() {
            Phase::Over => Err(over()),
            Phase::Delegated => {
                let exception = error.into_value(py);
                state.resume(py, intern!(py, "throw"), (exception,))?.told()
            }
            Phase::New | Phase::Waiting => {
                state.stop(py);
                Err(error)
            }
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.0.get(py);
        if state.phase.get() == Phase::Delegated {
            let delegate = state.delegate.take();
            if let Some(delegate) = delegate {
                delegate.call_method0(py, intern!(py, "close"))?;
            }
        }
        state.stop(py);
        Ok(())
    }

    // Tasks show these.

    #[getter]
    fn __name__(&self, py: Python<'_>) -> &'static str {
        self.0.get(py).method.get().name()
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> String {
        self.0.get(py).full_name()
    }

    #[getter]
    fn cr_running(&self) -> bool {
        false
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<coroutine object {}>", self.0.get(py).full_name())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        if let Ok(stream) = state.stream.try_borrow() {
            visit.call(&*stream)?;
        }
        if let Ok(argument) = state.argument.try_borrow()
            && let Argument::Object(argument) = &*argument
        {
            visit.call(argument)?;
        }
        if let Ok(waiter) = state.waiter.try_borrow() {
            visit.call(&*waiter)?;
        }
        match state.delegate.try_borrow() {
            Ok(delegate) => visit.call(&*delegate),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            state.end();
            (state.waiter.take(), state.delegate.take())
        });
        drop(cleared);
    }
}

impl CallState {
    fn full_name(&self) -> String {
        let method = self.method.get();
        format!("{}.{}", method.class(), method.name())
    }
}

impl Drop for CallState {
    /// Warns of a call that nothing awaited, as Python does.
    fn drop(&mut self) {
        if self.phase.get() != Phase::New {
            return;
        }
        let name = self.full_name();
        Python::try_attach(|py| {
            let raised = PyErr::take(py);
            let message = format!("coroutine '{name}' was never awaited\0");
            let message = std::ffi::CStr::from_bytes_with_nul(message.as_bytes());
            let category = py.get_type::<PyRuntimeWarning>();
            if let Ok(message) = message
                && let Err(error) = PyErr::warn(py, &category, message, 1)
            {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

/// The coroutine methods of asyncio's readers and writers.
#[pymethods]
impl AsyncioStream {
    #[pyo3(signature = (n=Argument::Missing))]
    fn read(slf: Bound<'_, Self>, n: Argument) -> PyResult<Py<StreamCall>> {
        StreamCall::begin(slf, Method::Read, n)
    }

    fn readline(slf: Bound<'_, Self>) -> PyResult<Py<StreamCall>> {
        StreamCall::begin(slf, Method::ReadLine, Argument::Missing)
    }

    #[pyo3(signature = (separator=Argument::Missing))]
    fn readuntil(slf: Bound<'_, Self>, separator: Argument) -> PyResult<Py<StreamCall>> {
        StreamCall::begin(slf, Method::ReadUntil, separator)
    }

    fn readexactly(slf: Bound<'_, Self>, n: Argument) -> PyResult<Py<StreamCall>> {
        StreamCall::begin(slf, Method::ReadExactly, n)
    }

    fn drain(slf: Bound<'_, Self>) -> PyResult<Py<StreamCall>> {
        StreamCall::begin(slf, Method::Drain, Argument::Missing)
    }
}
