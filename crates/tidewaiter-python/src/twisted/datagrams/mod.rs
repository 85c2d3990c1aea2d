//! The Python class `Datagrams`: one of our datagram sockets, with the state that Twisted's ports show.

mod bridge;
mod writing;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::DatagramTransport;

use crate::core::event_loop::Loop;
use crate::core::failures::raised;
use crate::core::lock::Locked;
use crate::core::peers::Peers;
use crate::core::slot::{Callee, Slot};
use crate::twisted::context::{LogContext, LogName};

/// The default of `maxPacketSize`.
const MAX_PACKET_SIZE: usize = 8192;

/// How Twisted names a datagram's peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// `(host, port)`, of IPv4 addresses.
    V4,
    /// `(host, port)`, of IPv6 addresses.
    V6,
    /// By the path of a UNIX socket.
    Path,
    /// Not at all: there is one peer, by a UNIX socket.
    Nobody,
}

struct State {
    /// This socket's place in its loop's table, which it may have left.
    slot: RefCell<Option<Slot<Datagrams>>>,
    log: RefCell<Weak<LogContext>>,
    /// Set while the socket is open.
    transport: RefCell<Option<DatagramTransport>>,
    naming: Cell<Naming>,
    /// Whether datagrams of one turn may go to the OS together. On Windows, that saves no calls.
    gathers: Cell<bool>,
    reading: Cell<bool>,
    max_packet_size: Cell<usize>,
    /// The peer that the application has connected the socket to, as the application named it.
    connected_address: RefCell<Option<Py<PyAny>>>,
    protocol: RefCell<Option<Py<PyAny>>>,
    name: LogName,
    peers: Peers,
}

/// The state of one datagram socket, and the calls on it that must be fast. To be subclassed.
///
/// The loop calls on the subclass: `protocol.datagramReceived(data, address)`, `_receiveFailed(exception)`,
/// `_datagramFailed(exception)` if `datagramReceived` raised an exception, and `_closed()`. A method with no fast way
/// calls `_destination(address)`, `_named(address)` and `_sendFailed(exception)`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Datagrams(Locked<State>);

impl Callee for Datagrams {
    const KIND: &'static str = "datagrams";

    fn named<'py>(socket: &Bound<'py, Datagrams>) -> Bound<'py, PyAny> {
        let protocol = socket.get().state(socket.py()).protocol_of(socket.py());
        protocol.unwrap_or_else(|| socket.as_any().clone())
    }

    fn in_context<R>(
        socket: &Bound<'_, Datagrams>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let py = socket.py();
        let state = socket.get().state(py);
        let log = state.log.borrow().upgrade();
        match log {
            Some(log) => log.under_name(py, &state.name, call),
            None => call(),
        }
    }

    /// Has the exception logged; the socket goes on.
    fn failed(socket: &Bound<'_, Datagrams>, event_loop: &Loop, error: &PyErr) {
        let py = socket.py();
        let failed = socket.call_method1(intern!(py, "_datagramFailed"), (raised(py, error),));
        if let Err(error) = failed {
            let hooks = &event_loop.hooks;
            hooks.report(Datagrams::KIND, &error, socket.as_any());
        }
    }
}

impl Datagrams {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }

    /// Whether the socket is open, as far as Python knows.
    pub(in crate::twisted) fn is_live(&self, py: Python<'_>) -> bool {
        self.state(py).transport.borrow().is_some()
    }
}

impl State {
    fn event_loop(&self) -> Option<Rc<Loop>> {
        self.slot.borrow().as_ref().and_then(Slot::event_loop)
    }

    fn is_copy(&self) -> bool {
        self.event_loop()
            .is_some_and(|event_loop| event_loop.is_copy())
    }

    /// The transport, while the socket is open; raises if this thread may not use the loop. Returns `None` in a forked
    /// child if the loop belongs to the parent, so that calls on a socket have no effect there.
    fn transport(&self) -> PyResult<Option<DatagramTransport>> {
        if let Some(event_loop) = self.event_loop() {
            if event_loop.is_copy() {
                return Ok(None);
            }
            event_loop.check_thread()?;
        }
        Ok(self.transport.borrow().clone())
    }

    fn protocol_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    fn is_connected(&self) -> bool {
        self.naming.get() == Naming::Nobody || self.connected_address.borrow().is_some()
    }

    fn set_reading(&self, reading: bool) -> PyResult<()> {
        let transport = self.transport()?;
        self.reading.set(reading);
        if let Some(transport) = transport {
            if reading {
                transport.resume_receiving();
            } else {
                transport.pause_receiving();
            }
        }
        Ok(())
    }
}

#[pymethods]
impl Datagrams {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Datagrams {
        Datagrams(Locked::new(State {
            slot: RefCell::new(None),
            log: RefCell::new(Weak::new()),
            transport: RefCell::new(None),
            naming: Cell::new(Naming::V4),
            gathers: Cell::new(false),
            reading: Cell::new(false),
            max_packet_size: Cell::new(MAX_PACKET_SIZE),
            connected_address: RefCell::new(None),
            protocol: RefCell::new(None),
            name: LogName::new(py),
            peers: Peers::default(),
        }))
    }

    /// Receives nothing more until `startReading`.
    #[pyo3(name = "stopReading")]
    fn stop_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).set_reading(false)
    }

    #[pyo3(name = "startReading")]
    fn start_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.state(py).set_reading(true)
    }

    /// Does nothing: the loop sends by itself.
    #[pyo3(name = "startWriting")]
    fn start_writing(&self) {}

    /// Does nothing: only closing stops the sending.
    #[pyo3(name = "stopWriting")]
    fn stop_writing(&self) {}

    #[getter]
    fn reading(&self, py: Python<'_>) -> bool {
        self.state(py).reading.get()
    }

    #[getter(maxPacketSize)]
    fn max_packet_size(&self, py: Python<'_>) -> usize {
        self.state(py).max_packet_size.get()
    }

    #[setter(maxPacketSize)]
    fn set_max_packet_size(&self, py: Python<'_>, value: usize) {
        self.state(py).max_packet_size.set(value);
    }

    #[getter(_connectedAddr)]
    fn connected_address<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let address = self.state(py).connected_address.borrow();
        address.as_ref().map(|address| address.bind(py).clone())
    }

    #[setter(_connectedAddr)]
    fn set_connected_address(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let replaced = self.state(py).connected_address.replace(value);
        drop(replaced);
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
        for object in [&state.protocol, &state.connected_address] {
            if let Ok(object) = object.try_borrow() {
                visit.call(&*object)?;
            }
        }
        state.name.traverse(&visit)
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            let address = state.connected_address.take();
            (state.protocol.take(), address)
        });
        drop(cleared);
    }
}
