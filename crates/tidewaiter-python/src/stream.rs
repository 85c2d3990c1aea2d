//! A connection as Python sees it: the state that Twisted's transports show, over a transport of ours.

mod bridge;
mod producing;
mod writing;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Connector, Transport};

use crate::context::LogName;
use crate::core::{Core, Loop};
use crate::lock::Locked;
use crate::sockets;

pub(crate) use bridge::{Bridge, Caller};

/// Above this many bytes not yet sent a push producer is paused, unless the transport says otherwise.
const BUFFER_SIZE: usize = 1 << 16;

/// What a stream goes over.
struct Link {
    transport: Transport,
    /// The OS's number of it, which stays its own until its end is told.
    descriptor: Option<RawDescriptor>,
}

pub(crate) struct State {
    inside: RefCell<Weak<Loop>>,
    /// By which the loop's callbacks come here.
    bridge: RefCell<Option<Bridge>>,
    connector: RefCell<Option<Connector>>,
    /// There is one while the connection is up.
    link: RefCell<Option<Link>>,
    /// Whether it was ever told to Python that the connection is lost.
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
/// The loop calls, on the subclass: `protocol.dataReceived(data)`, `_streamMade()`, `_streamEnded()`,
/// `_streamWriteEnded()`, `_streamLost(how)`, `_streamFailed(exception)`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Stream(Locked<State>);

impl Stream {
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }

    /// Puts `stream` over a pipe that is open.
    pub(crate) fn open(stream: &Bound<'_, Self>, transport: &Transport) {
        let state = stream.get().state(stream.py());
        state.begin(transport);
        state.connected.set(true);
        state.reading.set(true);
    }

    /// Whether Python was not yet told that it is lost.
    pub(crate) fn is_live(&self, py: Python<'_>) -> bool {
        !self.state(py).lost.get()
    }
}

impl State {
    /// Whether this thread may touch the loop's things.
    fn check_thread(&self) -> PyResult<()> {
        match self.inside.borrow().upgrade() {
            Some(inside) => inside.check_thread(),
            None => Ok(()),
        }
    }

    /// Whether the socket is the parent's, whose loop was copied when it forked.
    fn is_copied(&self) -> bool {
        let inside = self.inside.borrow().upgrade();
        inside.is_some_and(|inside| inside.is_copy())
    }

    /// The transport, while there is one and this thread may touch it. In a copy of the process it is in
    /// there is none: what is done to a connection there is done to nothing.
    fn transport(&self) -> PyResult<Option<Transport>> {
        if self.is_copied() {
            return Ok(None);
        }
        self.check_thread()?;
        let link = self.link.borrow();
        Ok(link.as_ref().map(|link| link.transport.clone()))
    }

    /// The connection is up.
    fn begin(&self, transport: &Transport) {
        self.link.replace(Some(Link {
            transport: transport.clone(),
            descriptor: transport.raw_descriptor(),
        }));
        self.connector.take();
        self.resume_pull_producer(transport);
    }

    /// The connection is lost: its number may be another one's from here on.
    fn end(&self) {
        self.lost.set(true);
        self.link.take();
    }

    /// The loop receives unless told otherwise; Python's transports only once they are told to.
    fn pause_if_not_reading(&self, transport: &Transport) {
        if !self.reading.get() {
            transport.pause_producing();
        }
    }

    fn bridge(&self) -> Option<Bridge> {
        self.bridge.borrow().clone()
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
            inside: RefCell::new(Weak::new()),
            bridge: RefCell::new(None),
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

    /// Takes over the connection that a listener on `core` has just accepted.
    fn _adopt(slf: &Bound<'_, Self>, core: &Core) -> PyResult<()> {
        let py = slf.py();
        let inside = core.enter(py)?;
        let accepted = inside.accepted.take();
        let (transport, bridge) =
            accepted.ok_or_else(|| PyAttributeError::new_err("no connection was accepted"))?;
        bridge.lead_to(slf, &inside);
        slf.get().state(py).begin(&transport);
        Ok(())
    }

    /// Connects the socket with that number, which is the loop's from here on, to `address`, as Python
    /// writes it. `_streamMade` or `_streamRefused` follows from the loop.
    fn _connect(
        slf: &Bound<'_, Self>,
        core: &Core,
        descriptor: RawDescriptor,
        address: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        let inside = core.enter(py)?;
        let peer = sockets::address(address)?;
        let socket = sockets::stream(descriptor)?;
        let bridge = Bridge::new(Rc::downgrade(&inside), None);
        bridge.lead_to(slf, &inside);
        let connector = inside
            .reactor
            .connect_tcp_with(socket, peer, Caller(bridge));
        slf.get().state(py).connector.replace(Some(connector));
        Ok(())
    }

    /// Gives up connecting: neither `_streamMade` nor `_streamRefused` follows. Returns whether it was
    /// under way.
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

    /// Takes note that the connection is over, and has it closed: by a reset, if asked for; without a
    /// word to the peer, if it may be shared with others. Returns whether that is news.
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
                transport.close_connection();
            }
        }
        Ok(true)
    }

    /// Takes a pipe's stream off the loop: for it, the loop calls the child.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        state.transport()?;
        if let Some(bridge) = state.bridge() {
            bridge.leave();
        }
        Ok(())
    }

    /// Has the connection reset; `_streamLost` follows from the loop. Returns whether there was one.
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

    /// Nothing to do: what is written is sent by itself.
    #[pyo3(name = "startWriting")]
    fn start_writing(&self) {}

    /// Nothing to do: sending is stopped by closing alone.
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
        let protocol = self.state(py).protocol.borrow();
        match protocol.as_ref() {
            Some(protocol) => Ok(protocol.bind(py).clone()),
            None => Err(PyAttributeError::new_err("protocol")),
        }
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
            (state.protocol.take(), state.name.clear(), producer)
        });
        drop(cleared);
    }
}
