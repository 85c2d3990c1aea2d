//! The Python class `StreamListener`: a listening socket or named pipe of an asyncio server.

use std::cell::OnceCell;
use std::io;
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Address, Factory, Protocol, Reactor, Transport};

use super::exceptions::{leave_loop, leaves_loop, report};
use super::face::AsyncioLoop;
use super::transport::SocketTransport;
use super::transport::bridge::{Accept, Bridge};
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};
use crate::core::sockets;

/// The library's listener, and the object's place in the loop's table.
struct Listening {
    listener: tidewaiter::Listener,
    slot: Slot<StreamListener>,
}

struct State {
    home: Py<AsyncioLoop>,
    /// Makes the protocol of each connection.
    factory: Py<PyAny>,
    /// The `asyncio.Server` that is told of each connection.
    server: Option<Py<PyAny>>,
    /// Called with the exception when accepting fails.
    on_failure: Py<PyAny>,
    /// The context in which the server began. Each connection gets a copy of it.
    context: Py<PyAny>,
    listening: OnceCell<Listening>,
}

/// A listening socket or named pipe on the loop. Accepted connections get transports without a socket of Python's.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct StreamListener(Locked<State>);

impl Callee for StreamListener {
    const KIND: &'static str = "listener";

    fn named<'py>(listener: &Bound<'py, StreamListener>) -> Bound<'py, PyAny> {
        let py = listener.py();
        listener.get().0.get(py).factory.bind(py).clone()
    }

    /// Calls return only the exceptions that are to leave the loop.
    fn failed(listener: &Bound<'_, StreamListener>, event_loop: &Loop, error: &PyErr) {
        leave_loop(event_loop, listener.py(), error);
    }
}

/// Makes the transports of a listener's connections.
struct Accepting(Slot<StreamListener>);

impl Accept for Accepting {
    fn accept(&self, link: &Transport) -> Option<Slot<SocketTransport>> {
        let event_loop = self.0.event_loop()?;
        let mut accepted = None;
        self.0.call("protocol_factory", |listener| {
            let py = listener.py();
            match StreamListener::accept(listener, &event_loop, link) {
                Ok(slot) => accepted = Some(slot),
                Err(error) => listener.get().refuse(py, error)?,
            }
            Ok(py.None().into_bound(py))
        });
        accepted
    }
}

/// The factory of every listener.
pub(super) struct ListenerBridge {
    slot: Slot<StreamListener>,
    accepting: Rc<Accepting>,
}

impl Factory for ListenerBridge {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let accept = Rc::clone(&self.accepting) as Rc<dyn Accept>;
        Some(Box::new(Bridge::Accepted(accept)))
    }

    fn accept_failed(&mut self, _: &tidewaiter::Listener, error: &io::Error) {
        self.slot.call("accept", |listener| {
            let py = listener.py();
            let exception = os_error("accept", error).into_value(py);
            let on_failure = listener.get().0.get(py).on_failure.bind(py);
            on_failure.call1((exception,))
        });
    }

    fn listener_closed(&mut self, _: &tidewaiter::Listener) {
        self.slot.remove();
    }
}

impl StreamListener {
    /// Makes a listener of the loop, which `listen` begins.
    pub(super) fn begin(
        home: &Bound<'_, AsyncioLoop>,
        factory: Py<PyAny>,
        server: Option<Py<PyAny>>,
        on_failure: Py<PyAny>,
        listen: impl FnOnce(&Reactor, ListenerBridge) -> Result<tidewaiter::Listener, tidewaiter::Error>,
    ) -> PyResult<Py<StreamListener>> {
        let py = home.py();
        let event_loop = home.get().open(py)?;
        event_loop.check_thread()?;
        let context = context::copy_of_current(py)?;
        let state = State {
            home: home.clone().unbind(),
            factory,
            server,
            on_failure,
            context: context.unbind(),
            listening: OnceCell::new(),
        };
        let made = Bound::new(py, StreamListener(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &made);
        let bridge = ListenerBridge {
            slot: slot.clone(),
            accepting: Rc::new(Accepting(slot.clone())),
        };
        let listener = listen(&event_loop.reactor, bridge).map_err(|error| {
            slot.remove();
            refused("listen", &error)
        })?;
        let listening = &made.get().0.get(py).listening;
        // `set` cannot fail: the cell is empty until here.
        let _ = listening.set(Listening { listener, slot });
        Ok(made.unbind())
    }

    fn accept(
        listener: &Bound<'_, Self>,
        event_loop: &Rc<Loop>,
        link: &Transport,
    ) -> PyResult<Slot<SocketTransport>> {
        let py = listener.py();
        let state = listener.get().0.get(py);
        let context = state.context.bind(py).call_method0(intern!(py, "copy"))?;
        let protocol = context::call(&context, state.factory.bind(py), None)?;
        let server = state.server.as_ref().map(|server| server.bind(py));
        let home = state.home.bind(py);
        let (transport, slot) =
            SocketTransport::make(event_loop, home, &context, protocol, server)?;
        transport.get().begin(py, link);
        Ok(slot)
    }

    /// Reports that no transport could be made for a connection: as asyncio, in debug mode only. Fails if the loop has
    /// to end for the exception.
    fn refuse(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let home = &self.0.get(py).home;
        if !home.get().debug(py) && !leaves_loop(py, &error) {
            return Ok(());
        }
        let message = "Error on transport creation for incoming connection";
        report(home, py, message, error, &[])
    }
}

#[pymethods]
impl AsyncioLoop {
    /// Accepts connections on the listening socket with this number, which belongs to the loop from here on, even if
    /// this raises. `factory()` makes the protocol of each.
    fn _listen(
        slf: &Bound<'_, Self>,
        descriptor: RawDescriptor,
        factory: Py<PyAny>,
        server: Option<Py<PyAny>>,
        on_failure: Py<PyAny>,
    ) -> PyResult<Py<StreamListener>> {
        let socket = sockets::listener(descriptor)?;
        StreamListener::begin(slf, factory, server, on_failure, |reactor, bridge| {
            reactor.listen_on(socket, bridge)
        })
    }
}

#[pymethods]
impl StreamListener {
    /// Has the loop close it. Connections live on. Does nothing and returns false if the loop is closed, or in a
    /// forked child, where the listener belongs to the parent.
    fn stop(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(Listening { listener, slot }) = self.0.get(py).listening.get() else {
            return Ok(false);
        };
        match slot.event_loop() {
            Some(event_loop) if event_loop.is_copy() => return Ok(false),
            Some(event_loop) => event_loop.check_thread()?,
            None => return Ok(false),
        }
        listener.stop_listening();
        Ok(true)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.home)?;
        visit.call(&state.factory)?;
        visit.call(&state.server)?;
        visit.call(&state.on_failure)?;
        visit.call(&state.context)
    }
}
