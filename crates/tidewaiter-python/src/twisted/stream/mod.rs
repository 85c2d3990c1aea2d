//! The Python class `Stream`: one of our transports, with the state that Twisted's transports show.

pub(super) mod bridge;
mod passing;
mod producing;
mod writing;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Connector, Transport};

use crate::core::event_loop::Loop;
use crate::core::failures::raised;
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};
use crate::twisted::context::{LogContext, LogName};

/// The default of `bufferSize`: above this many unsent bytes, a push producer is paused.
const BUFFER_SIZE: usize = 1 << 16;

/// The transport of an open stream.
struct Link {
    transport: Transport,
    /// The OS's number of the socket or pipe. The OS does not reuse it before Python learns of the end.
    descriptor: Option<RawDescriptor>,
}

struct State {
    /// This stream's place in its loop's table, which it may have left.
    slot: RefCell<Option<Slot<Stream>>>,
    log: RefCell<Weak<LogContext>>,
    connector: RefCell<Option<Connector>>,
    /// Set while the connection is open.
    link: RefCell<Option<Link>>,
    /// Whether the connection is lost, as far as Python knows.
    lost: Cell<bool>,

    connected: Cell<bool>,
    disconnected: Cell<bool>,
    disconnecting: Cell<bool>,
    write_disconnecting: Cell<bool>,
    write_disconnected: Cell<bool>,
    reading: Cell<bool>,
    tls: Cell<bool>,
    buffer_size: Cell<usize>,

    protocol: RefCell<Option<Py<PyAny>>>,
    producing: producing::Producing,
    name: LogName,
}

/// The state of one connection, and the calls on it that must be fast. To be subclassed.
///
/// The loop calls on the subclass: `protocol.dataReceived(data)`, `_streamMade()`, `_streamRefused(exception)`,
/// `_streamEnded()`, `_streamWriteEnded()`, `_streamLost(how)` and `_streamFailed(exception)`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Stream(Locked<State>);

impl Callee for Stream {
    const KIND: &'static str = "stream";

    fn named<'py>(stream: &Bound<'py, Stream>) -> Bound<'py, PyAny> {
        let protocol = stream.get().state(stream.py()).protocol_of(stream.py());
        protocol.unwrap_or_else(|| stream.as_any().clone())
    }

    fn in_context<R>(
        stream: &Bound<'_, Stream>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let py = stream.py();
        let state = stream.get().state(py);
        let log = state.log.borrow().upgrade();
        match log {
            Some(log) => log.under_name(py, &state.name, call),
            None => call(),
        }
    }

    /// Loses the connection.
    fn failed(stream: &Bound<'_, Stream>, event_loop: &Loop, error: &PyErr) {
        let py = stream.py();
        let failed = stream.call_method1(intern!(py, "_streamFailed"), (raised(py, error),));
        if let Err(error) = failed {
            let hooks = &event_loop.hooks;
            hooks.report(Stream::KIND, &error, stream.as_any());
        }
    }
}

impl Stream {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }

    /// Adds `stream` to the loop's table. From here on, callbacks go to it, in the context `log`.
    pub(in crate::twisted) fn enlist(
        stream: &Bound<'_, Self>,
        event_loop: &Rc<Loop>,
        log: Weak<LogContext>,
    ) -> Slot<Stream> {
        let state = stream.get().state(stream.py());
        let slot = Slot::new(event_loop, stream);
        state.log.replace(log);
        state.slot.replace(Some(slot.clone()));
        slot
    }

    /// Connects `stream` to an open pipe.
    pub(in crate::twisted) fn open(stream: &Bound<'_, Self>, transport: &Transport) {
        let state = stream.get().state(stream.py());
        state.begin(transport);
        state.connected.set(true);
        state.reading.set(true);
    }

    /// Whether the connection is not lost, as far as Python knows.
    pub(in crate::twisted) fn is_live(&self, py: Python<'_>) -> bool {
        !self.state(py).lost.get()
    }
}

impl State {
    fn slot(&self) -> Option<Slot<Stream>> {
        self.slot.borrow().clone()
    }

    fn event_loop(&self) -> Option<Rc<Loop>> {
        self.slot.borrow().as_ref().and_then(Slot::event_loop)
    }

    /// Raises if this thread may not use the loop now.
    fn check_thread(&self) -> PyResult<()> {
        match self.event_loop() {
            Some(event_loop) => event_loop.check_thread(),
            None => Ok(()),
        }
    }

    /// The transport, while the connection is open; raises if this thread may not use the loop. Returns `None` in a
    /// forked child if the loop belongs to the parent, so that calls on a stream have no effect there.
    fn transport(&self) -> PyResult<Option<Transport>> {
        if let Some(event_loop) = self.event_loop() {
            if event_loop.is_copy() {
                return Ok(None);
            }
            event_loop.check_thread()?;
        }
        let link = self.link.borrow();
        Ok(link.as_ref().map(|link| link.transport.clone()))
    }

    fn protocol_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    /// Records that the connection is open.
    fn begin(&self, transport: &Transport) {
        self.link.replace(Some(Link {
            transport: transport.clone(),
            descriptor: transport.raw_descriptor(),
        }));
        self.connector.take();
        State::take_descriptors(transport);
        self.resume_pull_producer(transport);
    }

    /// Records that the connection is lost. The OS may reuse the socket's number from here on.
    fn end(&self) {
        self.lost.set(true);
        self.link.take();
    }

    /// Pauses a new transport unless Python reads: our transports receive from the start, but Twisted's only once they
    /// are told to.
    fn pause_if_not_reading(&self, transport: &Transport) {
        if !self.reading.get() {
            transport.pause_producing();
        }
    }

    fn set_reading(&self, reading: bool) -> PyResult<()> {
        let transport = self.transport()?;
        self.reading.set(reading);
        if let Some(transport) = transport {
            if reading {
                transport.resume_producing();
            } else {
                transport.pause_producing();
            }
        }
        Ok(())
    }
}

#[pymethods]
impl Stream {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Stream {
        Stream(Locked::new(State {
            slot: RefCell::new(None),
            log: RefCell::new(Weak::new()),
            connector: RefCell::new(None),
            link: RefCell::new(None),
            lost: Cell::new(false),
            connected: Cell::new(false),
            disconnected: Cell::new(false),
            disconnecting: Cell::new(false),
            write_disconnecting: Cell::new(false),
            write_disconnected: Cell::new(false),
            reading: Cell::new(false),
            tls: Cell::new(false),
            buffer_size: Cell::new(BUFFER_SIZE),
            protocol: RefCell::new(None),
            producing: producing::Producing::default(),
            name: LogName::new(py),
        }))
    }

    /// Cancels connecting: neither `_streamMade` nor `_streamRefused` follows. Returns whether the stream was
    /// connecting.
    fn _cancel(&self, py: Python<'_>) -> PyResult<bool> {
        let state = self.state(py);
        state.check_thread()?;
        let connector = state.connector.take();
        if let Some(connector) = &connector {
            state.lost.set(true);
            connector.cancel();
        }
        Ok(connector.is_some())
    }

    /// The OS's number of the socket, until the connection is lost; then `None`.
    fn _descriptor(&self, py: Python<'_>) -> PyResult<Option<RawDescriptor>> {
        let state = self.state(py);
        if state.transport()?.is_none() {
            return Ok(None);
        }
        let link = state.link.borrow();
        Ok(link.as_ref().and_then(|link| link.descriptor))
    }

    /// Marks the connection as lost and closes it: by a reset if `reset` is true; without an end of file if `shared`
    /// is true, since other processes may use the socket. Returns false if the connection was lost already.
    #[pyo3(signature = (reset, shared=false))]
    fn _lose(&self, py: Python<'_>, reset: bool, shared: bool) -> PyResult<bool> {
        let state = self.state(py);
        let transport = state.transport()?;
        if state.lost.replace(true) {
            return Ok(false);
        }
        state.disconnected.set(true);
        state.connected.set(false);
        state.reading.set(false);
        state.link.take();
        if let Some(transport) = transport {
            if reset {
                transport.abort_connection();
            } else if shared {
                transport.release_connection();
            } else {
                transport.close_connection_now();
            }
        }
        Ok(true)
    }

    /// Removes a pipe's stream from the loop's table, so that the loop no longer calls it. The child's object learns of
    /// the pipe's end.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        state.transport()?;
        if let Some(slot) = state.slot() {
            slot.remove();
        }
        Ok(())
    }

    /// Resets the connection; `_streamLost` follows from the loop. Returns whether the connection was open.
    fn _abort(&self, py: Python<'_>) -> PyResult<bool> {
        let transport = self.state(py).transport()?;
        if let Some(transport) = &transport {
            transport.abort_connection();
        }
        Ok(transport.is_some())
    }

    #[pyo3(name = "startReading")]
    fn start_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).set_reading(true)
    }

    #[pyo3(name = "stopReading")]
    fn stop_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).set_reading(false)
    }

    #[pyo3(name = "pauseProducing")]
    fn pause_producing(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).set_reading(false)
    }

    #[pyo3(name = "resumeProducing")]
    fn resume_producing(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        if state.connected.get() && !state.disconnecting.get() {
            return state.set_reading(true);
        }
        Ok(())
    }

    /// Does nothing: the loop sends written data by itself.
    #[pyo3(name = "startWriting")]
    fn start_writing(&self) {}

    /// Does nothing: only closing stops the sending.
    #[pyo3(name = "stopWriting")]
    fn stop_writing(&self) {}

    #[getter]
    fn connected(&self, py: Python<'_>) -> bool {
        self.state(py).connected.get()
    }

    #[setter]
    fn set_connected(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state(py).connected.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn disconnected(&self, py: Python<'_>) -> bool {
        self.state(py).disconnected.get()
    }

    #[getter]
    fn disconnecting(&self, py: Python<'_>) -> bool {
        self.state(py).disconnecting.get()
    }

    #[getter(_writeDisconnecting)]
    fn write_disconnecting(&self, py: Python<'_>) -> bool {
        self.state(py).write_disconnecting.get()
    }

    #[getter(_writeDisconnected)]
    fn write_disconnected(&self, py: Python<'_>) -> bool {
        self.state(py).write_disconnected.get()
    }

    #[getter]
    fn reading(&self, py: Python<'_>) -> bool {
        self.state(py).reading.get()
    }

    #[getter(TLS)]
    fn tls(&self, py: Python<'_>) -> bool {
        self.state(py).tls.get()
    }

    #[setter(TLS)]
    fn set_tls(&self, py: Python<'_>, value: bool) {
        self.state(py).tls.set(value);
    }

    #[getter(bufferSize)]
    fn buffer_size(&self, py: Python<'_>) -> usize {
        self.state(py).buffer_size.get()
    }

    #[setter(bufferSize)]
    fn set_buffer_size(&self, py: Python<'_>, value: usize) {
        self.state(py).buffer_size.set(value);
    }

    #[getter]
    fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let protocol = self.state(py).protocol_of(py);
        protocol.ok_or_else(|| PyAttributeError::new_err("protocol"))
    }

    #[setter]
    fn set_protocol(&self, py: Python<'_>, value: Py<PyAny>) {
        let replaced = self.state(py).protocol.replace(Some(value));
        drop(replaced);
    }

    #[deleter]
    fn delete_protocol(&self, py: Python<'_>) {
        let deleted = self.state(py).protocol.take();
        drop(deleted);
    }

    #[getter]
    fn logstr(&self, py: Python<'_>) -> Py<PyAny> {
        self.state(py).name.get(py)
    }

    #[setter]
    fn set_logstr(&self, py: Python<'_>, value: Py<PyAny>) {
        self.state(py).name.set(value);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        if let Ok(protocol) = state.protocol.try_borrow() {
            visit.call(&*protocol)?;
        }
        state.name.traverse(&visit)?;
        state.producing.traverse(&visit)
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            let producer = state.producing.take();
            (state.protocol.take(), producer)
        });
        drop(cleared);
    }
}
