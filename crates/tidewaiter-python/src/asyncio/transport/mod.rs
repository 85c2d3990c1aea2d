//! The Python class `SocketTransport`: a connection as asyncio's protocols see it.

mod attributes;
pub(super) mod bridge;
mod delivery;
mod ending;
mod extra;
mod files;
mod flow;
mod opening;
mod writing;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use tidewaiter::Transport;
use tidewaiter::port::RawDescriptor;

use crate::asyncio::exceptions::leave_loop;
use crate::asyncio::face::AsyncioLoop;
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};
use delivery::Receiver;
use extra::Extra;
use flow::WriteFlow;

struct State {
    home: Py<AsyncioLoop>,
    /// The context of the protocol's callbacks.
    context: Py<PyAny>,
    /// This transport's place in its loop's table.
    slot: OnceCell<Slot<SocketTransport>>,
    /// Set until the connection is lost.
    link: RefCell<Option<Transport>>,
    /// The OS's number of the socket. The OS does not reuse it before `connection_lost` has returned.
    descriptor: Cell<Option<RawDescriptor>>,
    /// Set until the protocol was told of the end.
    receiver: RefCell<Option<Receiver>>,
    /// The server that accepted the connection, until it is told of the end.
    server: RefCell<Option<Py<PyAny>>>,
    write_flow: WriteFlow,
    paused: Cell<bool>,
    closing: Cell<bool>,
    eof_written: Cell<bool>,
    /// How many writes came after the loss of the connection was certain, and one for that.
    conn_lost: Cell<u32>,
    /// The state that few connections need.
    extra: RefCell<Option<Box<Extra>>>,
}

/// A connection: TCP, UNIX, or a named pipe of Windows. For `isinstance`, it is an `asyncio.Transport`.
///
/// It has no dict of the interpreter's: Python 3.11 and 3.12 make one for each new object, and may start a garbage
/// collection for it that finds the object half made.
#[pyclass(frozen, weakref, module = "tidewaiter._tidewaiter")]
pub(crate) struct SocketTransport(Locked<State>);

impl Callee for SocketTransport {
    const KIND: &'static str = "transport";

    fn named<'py>(transport: &Bound<'py, SocketTransport>) -> Bound<'py, PyAny> {
        let protocol = transport.get().protocol_of(transport.py());
        protocol.unwrap_or_else(|| transport.as_any().clone())
    }

    /// Calls return only the exceptions that are to leave the loop.
    fn failed(transport: &Bound<'_, SocketTransport>, event_loop: &Loop, error: &PyErr) {
        leave_loop(event_loop, transport.py(), error);
    }
}

impl SocketTransport {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }

    fn protocol_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let receiver = self.state(py).receiver.borrow();
        receiver.as_ref().map(|receiver| receiver.protocol(py))
    }
}

impl State {
    /// The transport, until the connection is lost; raises if this thread may not use the loop. Returns `None` in a
    /// forked child if the loop belongs to the parent, so that calls have no effect there.
    fn transport(&self) -> PyResult<Option<Transport>> {
        if let Some(event_loop) = self.event_loop() {
            if event_loop.is_copy() {
                return Ok(None);
            }
            event_loop.check_thread()?;
        }
        Ok(self.link.borrow().clone())
    }

    /// Calls a method of the protocol in the transport's context.
    fn call<'py, const N: usize>(
        &self,
        protocol: &Bound<'py, PyAny>,
        method: &Bound<'py, PyString>,
        args: [&Bound<'py, PyAny>; N],
    ) -> PyResult<Bound<'py, PyAny>> {
        context::call_method(self.context.bind(protocol.py()), protocol, method, args)
    }

    fn event_loop(&self) -> Option<Rc<Loop>> {
        self.slot.get().and_then(Slot::event_loop)
    }

    fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }
}

/// The class that `isinstance` sees. `asyncio.BaseTransport` has slots, so this class cannot inherit from it.
fn apparent_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "tidewaiter.asyncio._streams", "SocketTransport")
}

#[pymethods]
impl SocketTransport {
    #[getter(__class__)]
    fn class(&self, py: Python<'_>) -> PyResult<Py<PyType>> {
        Ok(apparent_class(py)?.clone().unbind())
    }

    #[getter(_loop)]
    pub(in crate::asyncio) fn home(&self, py: Python<'_>) -> Py<AsyncioLoop> {
        self.state(py).home.clone_ref(py)
    }

    /// The OS's number of the socket, until the connection is lost.
    #[getter(_sock_fd)]
    fn descriptor(&self, py: Python<'_>) -> Option<RawDescriptor> {
        self.state(py).descriptor.get()
    }

    /// The context of the protocol's callbacks.
    #[getter(_context)]
    fn context(&self, py: Python<'_>) -> Py<PyAny> {
        self.state(py).context.clone_ref(py)
    }

    /// Whether the protocol has paused reading. The TLS of Python 3.10 asks.
    #[getter(_paused)]
    fn paused(&self, py: Python<'_>) -> bool {
        self.state(py).paused.get()
    }

    #[classattr]
    #[pyo3(name = "_start_tls_compatible")]
    const START_TLS_COMPATIBLE: bool = true;

    #[classattr]
    #[pyo3(name = "_sendfile_compatible")]
    fn sendfile_compatible(py: Python<'_>) -> PyResult<Py<PyAny>> {
        let constants = py.import("asyncio.constants")?;
        let mode = constants.getattr("_SendfileMode")?.getattr("TRY_NATIVE")?;
        Ok(mode.unbind())
    }

    fn set_protocol(&self, py: Python<'_>, protocol: Bound<'_, PyAny>) -> PyResult<()> {
        let receiver = Receiver::new(protocol)?;
        let replaced = self.state(py).receiver.replace(Some(receiver));
        drop(replaced);
        Ok(())
    }

    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol_of(py)
    }

    fn is_closing(&self, py: Python<'_>) -> bool {
        self.state(py).closing.get()
    }

    fn is_reading(&self, py: Python<'_>) -> bool {
        self.state(py).is_reading()
    }

    /// Delivers nothing until `resume_reading`.
    pub(in crate::asyncio) fn pause_reading(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        let transport = state.transport()?;
        if state.is_reading() {
            state.paused.set(true);
            if let Some(transport) = transport {
                transport.pause_producing();
            }
        }
        Ok(())
    }

    pub(in crate::asyncio) fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let transport = state.transport()?;
        if state.closing.get() || !state.paused.get() {
            return Ok(());
        }
        state.paused.set(false);
        match transport {
            Some(link) => state.read_on(slf, &link),
            None => Ok(()),
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let state = slf.get().state(py);
        let name = apparent_class(py)?.name()?;
        let mut text = format!("<{name}");
        if state.link.borrow().is_none() {
            text.push_str(" closed");
        } else if state.closing.get() {
            text.push_str(" closing");
        }
        if let Some(descriptor) = state.descriptor.get() {
            text.push_str(&format!(" fd={descriptor}"));
        }
        let reading = if state.is_reading() {
            "polling"
        } else {
            "idle"
        };
        let queued = state.queued();
        let writing = if queued > 0 { "polling" } else { "idle" };
        text.push_str(&format!(
            " read={reading} write=<{writing}, bufsize={queued}>>"
        ));
        Ok(text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        visit.call(&state.context)?;
        if let Ok(receiver) = state.receiver.try_borrow()
            && let Some(receiver) = receiver.as_ref()
        {
            receiver.traverse(&visit)?;
        }
        if let Ok(server) = state.server.try_borrow() {
            visit.call(&*server)?;
        }
        match state.extra.try_borrow() {
            Ok(extra) => extra
                .as_ref()
                .map_or(Ok(()), |extra| extra.traverse(&visit)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| {
            let state = self.0.get(py);
            let receiver = state.receiver.take();
            (receiver, state.server.take(), state.extra.take())
        });
        drop(cleared);
    }
}
