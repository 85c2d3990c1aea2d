//! Connections over named pipes of Windows, as the loop of Windows's own asyncio has them.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::{
    Address, ConnectError, Connector, Factory, PipeName, Protocol, Reactor, Transport,
};

use super::exceptions::{leave_loop, leaves_loop};
use super::face::AsyncioLoop;
use super::server::StreamListener;
use super::transport::SocketTransport;
use super::transport::bridge::{Accept, Bridge};
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::failures::{not_connected, raised};
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};

/// The library's part, and the object's place in the loop's table.
struct Connecting {
    connector: Connector,
    slot: Slot<PipeConnector>,
}

struct State {
    home: Py<AsyncioLoop>,
    /// Makes the protocol, once there is a connection.
    factory: Py<PyAny>,
    /// A future: it gets a result once `connection_made` has returned, or the exception that prevents that.
    waiter: Py<PyAny>,
    context: Py<PyAny>,
    connecting: OnceCell<Connecting>,
    transport: RefCell<Option<Py<SocketTransport>>>,
}

/// A connection to a named pipe that is being made.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct PipeConnector(Locked<State>);

impl Callee for PipeConnector {
    const KIND: &'static str = "connection";

    fn named<'py>(connector: &Bound<'py, PipeConnector>) -> Bound<'py, PyAny> {
        let py = connector.py();
        connector.get().0.get(py).factory.bind(py).clone()
    }

    /// Calls return only the exceptions that are to leave the loop.
    fn failed(connector: &Bound<'_, PipeConnector>, event_loop: &Loop, error: &PyErr) {
        leave_loop(event_loop, connector.py(), error);
    }
}

/// Makes the transport once there is a connection.
struct Made(Slot<PipeConnector>);

impl Accept for Made {
    fn accept(&self, link: &Transport) -> Option<Slot<SocketTransport>> {
        let event_loop = self.0.event_loop()?;
        let mut made = None;
        self.0.call_last("protocol_factory", |connector| {
            let py = connector.py();
            match PipeConnector::connected(connector, &event_loop, link) {
                Ok(slot) => made = Some(slot),
                Err(error) if leaves_loop(py, &error) => return Err(error),
                Err(error) => connector.get().0.get(py).fail(py, &error)?,
            }
            Ok(py.None().into_bound(py))
        });
        made
    }
}

struct ConnectBridge(Slot<PipeConnector>);

impl Factory for ConnectBridge {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let made = Rc::new(Made(self.0.clone()));
        Some(Box::new(Bridge::Accepted(made)))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        let refused = not_connected(&error);
        self.0.call_last("connect", |connector| {
            let py = connector.py();
            connector.get().0.get(py).fail(py, &refused)?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl State {
    /// Tells the waiter why there is no connection.
    fn fail(&self, py: Python<'_>, error: &PyErr) -> PyResult<()> {
        let waiter = self.waiter.bind(py);
        if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
            waiter.call_method1(intern!(py, "set_exception"), (raised(py, error),))?;
        }
        Ok(())
    }
}

impl PipeConnector {
    fn connected(
        connector: &Bound<'_, Self>,
        event_loop: &Rc<Loop>,
        link: &Transport,
    ) -> PyResult<Slot<SocketTransport>> {
        let py = connector.py();
        let state = connector.get().0.get(py);
        let context = state.context.bind(py);
        let protocol = context::call(context, state.factory.bind(py), None)?;
        let home = state.home.bind(py);
        let (transport, slot) = SocketTransport::make(event_loop, home, context, protocol, None)?;
        transport.get().begin(py, link);
        transport.get().tell(py, state.waiter.clone_ref(py));
        let replaced = state.transport.replace(Some(transport.unbind()));
        drop(replaced);
        Ok(slot)
    }
}

fn name_of(address: &str) -> PyResult<PipeName> {
    PipeName::new(address).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl AsyncioLoop {
    /// Connects to the named pipe with this full name. `factory()` makes the protocol once there is a connection;
    /// `connection_made` follows, and then a result for `waiter`.
    fn _connect_pipe(
        slf: &Bound<'_, Self>,
        address: &str,
        factory: Py<PyAny>,
        waiter: Py<PyAny>,
    ) -> PyResult<Py<PipeConnector>> {
        let py = slf.py();
        let name = name_of(address)?;
        let event_loop = slf.get().open(py)?;
        event_loop.check_thread()?;
        let state = State {
            home: slf.clone().unbind(),
            factory,
            waiter,
            context: context::copy_of_current(py)?.unbind(),
            connecting: OnceCell::new(),
            transport: RefCell::new(None),
        };
        let made = Bound::new(py, PipeConnector(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &made);
        let bridge = ConnectBridge(slot.clone());
        let connector = event_loop.reactor.connect_pipe(name, bridge);
        let connecting = &made.get().0.get(py).connecting;
        // `set` cannot fail: the cell is empty until here.
        let _ = connecting.set(Connecting { connector, slot });
        Ok(made.unbind())
    }

    /// Makes the named pipe with this full name, and accepts its clients. `factory()` makes the protocol of each.
    fn _listen_pipe(
        slf: &Bound<'_, Self>,
        address: &str,
        factory: Py<PyAny>,
        on_failure: Py<PyAny>,
    ) -> PyResult<Py<StreamListener>> {
        let name = name_of(address)?;
        StreamListener::begin(slf, factory, None, on_failure, |reactor, bridge| {
            reactor.listen_pipe(name, bridge)
        })
    }
}

#[pymethods]
impl PipeConnector {
    /// The transport, once there is a connection.
    #[getter]
    fn transport(&self, py: Python<'_>) -> Option<Py<SocketTransport>> {
        let transport = self.0.get(py).transport.borrow();
        transport.as_ref().map(|transport| transport.clone_ref(py))
    }

    /// Gives up connecting. Does nothing in a forked child, where the connection belongs to the parent.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let Some(Connecting { connector, slot }) = self.0.get(py).connecting.get() else {
            return Ok(());
        };
        match slot.event_loop() {
            Some(event_loop) if !event_loop.is_copy() => event_loop.check_thread()?,
            _ => return Ok(()),
        }
        connector.cancel();
        slot.remove();
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        visit.call(&state.factory)?;
        visit.call(&state.waiter)?;
        visit.call(&state.context)?;
        match state.transport.try_borrow() {
            Ok(transport) => visit.call(&*transport),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| self.0.get(py).transport.take());
        drop(cleared);
    }
}
