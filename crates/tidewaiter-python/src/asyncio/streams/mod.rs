//! The Python class `AsyncioStream`: a connection or a pipe as `asyncio.StreamReader` and `asyncio.StreamWriter` see it, without
//! a call of Python's between it and the task that reads.

mod argument;
mod below;
pub(crate) mod call;
mod reading;
mod received;
pub(super) mod spares;
pub(crate) mod waiter;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pyo3::exceptions::PyAssertionError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyType};

use self::below::Below;
use self::received::Received;
use self::waiter::StreamWaiter;
use super::face::AsyncioLoop;
use super::transport::SocketTransport;
use crate::core::lock::Locked;

/// What asyncio keeps in a reader's attributes.
struct State {
    home: Py<AsyncioLoop>,
    below: Below,
    /// The protocol by which a writer waits, if there may be one.
    protocol: Option<Py<PyAny>>,
    limit: usize,
    /// Whether the reader knows its transport.
    attached: Cell<bool>,
    received: RefCell<Received>,
    eof: Cell<bool>,
    /// Whether we paused the connection, because too much was received.
    paused: Cell<bool>,
    exception: RefCell<Option<Py<PyAny>>>,
    /// The future of the task that waits for bytes.
    waiter: RefCell<Option<Py<StreamWaiter>>>,
    /// The reader, once it is as asyncio made it again.
    reader: RefCell<Option<Py<PyAny>>>,
}

/// The stream of one connection. Only the reader, the writer and their calls keep it: what arrives when these are gone
/// is dropped.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct AsyncioStream(Locked<Rc<State>>);

/// A stream that the connection may feed, for as long as it exists.
#[derive(Clone)]
pub(super) struct WeakStream(Weak<State>);

impl WeakStream {
    /// Adds bytes.
    pub(super) fn feed(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        match self.0.upgrade() {
            Some(state) => state.feed(py, |received| received.add_slice(py, bytes)),
            None => Ok(()),
        }
    }

    /// Tells of the end, and of the exception that caused it.
    pub(super) fn end(&self, py: Python<'_>, exception: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        match (self.0.upgrade(), exception) {
            (None, _) => Ok(()),
            (Some(state), None) => state.feed_eof(py),
            (Some(state), Some(exception)) => state.set_exception(py, exception),
        }
    }
}

impl State {
    fn feed(&self, py: Python<'_>, add: impl FnOnce(&mut Received)) -> PyResult<()> {
        add(&mut self.received.borrow_mut());
        self.wake(py)?;
        if self.attached.get()
            && !self.paused.get()
            && self.received.borrow().len(py) > self.limit.saturating_mul(2)
        {
            self.below.pause_reading(py)?;
            self.paused.set(true);
        }
        Ok(())
    }

    fn feed_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.eof.set(true);
        self.wake(py)
    }

    fn set_exception(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let replaced = self.exception.replace(Some(exception.clone().unbind()));
        drop(replaced);
        let waiter = self.waiter.take();
        match waiter {
            Some(waiter) => StreamWaiter::fail(waiter.bind(py), exception),
            None => Ok(()),
        }
    }

    /// Wakes the task that waits for bytes.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.waiter.take();
        match waiter {
            Some(waiter) => StreamWaiter::wake(waiter.bind(py)),
            None => Ok(()),
        }
    }

    /// Fails with the exception that the reader was given.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.exception.borrow() {
            Some(exception) => Err(PyErr::from_value(exception.bind(py).clone())),
            None => Ok(()),
        }
    }

    /// The reader, once it is as asyncio made it again.
    fn reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let reader = self.reader.borrow();
        reader.as_ref().map(|reader| reader.bind(py).clone())
    }

    /// Reads on if the pause is over.
    fn resume_if_read(&self, py: Python<'_>) -> PyResult<()> {
        if self.paused.get() && self.received.borrow().len(py) <= self.limit {
            return self.resume(py);
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.paused.set(false);
        self.below.resume_reading(py)
    }
}

impl AsyncioStream {
    /// The stream of a new connection, if asyncio's own classes are above it.
    pub(super) fn of(
        connection: &Bound<'_, SocketTransport>,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<Option<WeakStream>> {
        static PROTOCOL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = connection.py();
        let class = PROTOCOL.import(py, "asyncio", "StreamReaderProtocol")?;
        if !protocol.get_type().is(class) {
            return Ok(None);
        }
        let home = connection.get().home(py);
        let adopted =
            home.call_method1(py, intern!(py, "_adopt_stream"), (connection, protocol))?;
        let stream = adopted.extract::<Option<Bound<'_, AsyncioStream>>>(py)?;
        Ok(stream.map(|stream| stream.get().weak(py)))
    }

    pub(super) fn weak(&self, py: Python<'_>) -> WeakStream {
        WeakStream(Rc::downgrade(self.state(py)))
    }

    fn state<'a>(&'a self, py: Python<'a>) -> &'a Rc<State> {
        self.0.get(py)
    }
}

#[pymethods]
impl AsyncioStream {
    #[new]
    fn new(
        home: Py<AsyncioLoop>,
        transport: Bound<'_, PyAny>,
        protocol: Option<Py<PyAny>>,
        limit: usize,
    ) -> AsyncioStream {
        AsyncioStream(Locked::new(Rc::new(State {
            home,
            below: Below::new(transport),
            protocol,
            limit,
            attached: Cell::new(false),
            received: RefCell::default(),
            eof: Cell::new(false),
            paused: Cell::new(false),
            exception: RefCell::new(None),
            waiter: RefCell::new(None),
            reader: RefCell::new(None),
        })))
    }

    /// Whether this transport is the one below the stream.
    fn is_above(&self, py: Python<'_>, transport: &Bound<'_, PyAny>) -> bool {
        transport.is(self.state(py).below.transport(py))
    }

    /// Tells the reader of its transport. Returns false if that is not this one, or if it was told before.
    fn attach(&self, py: Python<'_>, transport: &Bound<'_, PyAny>) -> bool {
        let state = self.state(py);
        self.is_above(py, transport) && !state.attached.replace(true)
    }

    /// The values of the attributes that asyncio's reader has.
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.state(py);
        let attributes = PyDict::new(py);
        let connection = state.attached.get().then(|| state.below.transport(py));
        let buffer = PyByteArray::new(py, state.received.borrow().bytes(py));
        attributes.set_item("_buffer", buffer)?;
        attributes.set_item("_eof", state.eof.get())?;
        attributes.set_item("_waiter", &*state.waiter.borrow())?;
        attributes.set_item("_exception", &*state.exception.borrow())?;
        attributes.set_item("_transport", connection)?;
        attributes.set_item("_paused", state.paused.get())?;
        Ok(attributes)
    }

    /// From here on, `reader` is as asyncio made it, and has what this object had. Calls in progress go on by its
    /// methods.
    fn leave_to(&self, py: Python<'_>, reader: Py<PyAny>) -> PyResult<()> {
        let state = self.state(py);
        let replaced = state.reader.replace(Some(reader));
        drop(replaced);
        let dropped = (state.waiter.take(), state.received.take());
        drop(dropped);
        state.below.deliver_plainly(py)
    }

    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let exception = self.state(py).exception.borrow();
        exception.as_ref().map(|exception| exception.clone_ref(py))
    }

    #[pyo3(name = "set_exception")]
    fn raise(&self, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state(exc.py()).set_exception(exc.py(), exc)
    }

    fn at_eof(&self, py: Python<'_>) -> bool {
        let state = self.state(py);
        state.eof.get() && state.received.borrow().is_empty()
    }

    #[pyo3(name = "feed_eof")]
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).feed_eof(py)
    }

    #[pyo3(name = "feed_data")]
    fn feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let state = self.state(py);
        if state.eof.get() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        if !data.is_truthy()? {
            return Ok(());
        }
        if let Ok(piece) = data.cast::<PyBytes>() {
            return state.feed(py, |received| received.add(piece));
        }
        let bytes = PyByteArray::new(py, b"");
        bytes.call_method1(intern!(py, "extend"), (data,))?;
        state.feed(py, |received| received.add_slice(py, &bytes.to_vec()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        match &state.below {
            Below::Connection(connection) => visit.call(connection)?,
            Below::Pipe(pipe) => visit.call(pipe)?,
        }
        visit.call(&state.protocol)?;
        for object in [&state.exception, &state.reader] {
            if let Ok(object) = object.try_borrow() {
                visit.call(&*object)?;
            }
        }
        match state.waiter.try_borrow() {
            Ok(waiter) => visit.call(&*waiter),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.state(py);
            (
                state.exception.take(),
                state.reader.take(),
                state.waiter.take(),
            )
        });
        drop(cleared);
    }
}
