//! The Python class `Listener`: a listening socket.

use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Factory, Protocol, Transport};

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::failures::refused;
use crate::core::lock::Locked;
use crate::core::sockets;
use crate::twisted::stream::Bridge;

/// A listening socket on the loop.
///
/// The loop calls on the object given to `Core.listen`: `_accepted(address)`, in a log context named by the object's
/// `logPrefix()`, `_acceptFailed(errno)` and `_closed()`.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct Listener(Locked<(tidewaiter::Listener, Weak<Loop>)>);

/// The factory of every listener: passes events on to the Python object, which is in the loop's table.
struct ListenerBridge {
    home: Weak<Loop>,
    slot: usize,
}

/// An accepted connection for which Python has not made an object yet.
#[derive(Clone)]
pub(crate) struct Incoming {
    home: Weak<Loop>,
    slot: usize,
    peer: SocketAddr,
}

/// Calls the listener's object. A report of a slow callback names `method`.
fn tell(
    home: &Weak<Loop>,
    slot: usize,
    method: &str,
    call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) {
    let Some(event_loop) = home.upgrade() else {
        return;
    };
    Python::attach(|py| {
        let object = match event_loop.listeners.borrow().get(slot) {
            Some(object) => object.bind(py).clone(),
            None => return,
        };
        if let Err(error) = event_loop.call(&object, method, || call(&object).map(drop)) {
            event_loop.report("listener", &error, &object);
        }
    });
}

impl Incoming {
    /// Asks Python to make an object for the connection. Closes the connection if Python makes none.
    pub(crate) fn open(&self, transport: &Transport, bridge: &Bridge) {
        let Some(event_loop) = self.home.upgrade() else {
            return;
        };
        event_loop
            .accepted
            .replace(Some((transport.clone(), bridge.clone())));
        tell(&self.home, self.slot, "_accepted", |object| {
            let py = object.py();
            let address = sockets::tuple(py, self.peer)?;
            event_loop.log.under(
                py,
                || object.call_method0(intern!(py, "logPrefix")),
                || object.call_method1(intern!(py, "_accepted"), (address,)),
            )
        });
        if let Some((transport, _)) = event_loop.accepted.take() {
            transport.close_connection();
        }
    }
}

impl Factory for ListenerBridge {
    fn build_protocol(&mut self, peer: SocketAddr) -> Option<Box<dyn Protocol>> {
        let incoming = Incoming {
            home: self.home.clone(),
            slot: self.slot,
            peer,
        };
        Some(Box::new(Bridge::new(self.home.clone(), Some(incoming))))
    }

    fn accept_failed(&mut self, _: &tidewaiter::Listener, error: &io::Error) {
        let number = error.raw_os_error();
        tell(&self.home, self.slot, "_acceptFailed", |object| {
            object.call_method1(intern!(object.py(), "_acceptFailed"), (number,))
        });
    }

    fn listener_closed(&mut self, _: &tidewaiter::Listener) {
        tell(&self.home, self.slot, "_closed", |object| {
            object.call_method0(intern!(object.py(), "_closed"))
        });
        let Some(event_loop) = self.home.upgrade() else {
            return;
        };
        let object = event_loop.listeners.borrow_mut().try_remove(self.slot);
        Python::attach(|_| drop(object));
    }
}

#[pymethods]
impl Core {
    /// Accepts connections on the listening socket with this number, which belongs to the loop from here on. If this
    /// raises, the socket is closed.
    fn listen(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        object: Py<PyAny>,
    ) -> PyResult<Listener> {
        let socket = sockets::listener(descriptor)?;
        let event_loop = self.enter(py)?;
        let slot = event_loop.listeners.borrow_mut().insert(object);
        let home = Rc::downgrade(&event_loop);
        let bridge = ListenerBridge {
            home: home.clone(),
            slot,
        };
        let listener = event_loop
            .reactor
            .listen_tcp_on(socket, bridge)
            .map_err(|error| {
                let object = event_loop.listeners.borrow_mut().try_remove(slot);
                drop(object);
                refused("listen", &error)
            })?;
        Ok(Listener(Locked::new((listener, home))))
    }
}

#[pymethods]
impl Listener {
    /// Stops accepting until resumed. Connections wait in the backlog.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, tidewaiter::Listener::pause_accepting)
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, tidewaiter::Listener::resume_accepting)
    }

    /// Closes the socket; `_closed` follows from the loop.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, tidewaiter::Listener::stop_listening)
    }
}

impl Listener {
    /// Applies `act` to the listener. Does nothing in a forked child, where the listener belongs to the parent.
    fn with(&self, py: Python<'_>, act: impl FnOnce(&tidewaiter::Listener)) -> PyResult<()> {
        let (listener, home) = self.0.get(py);
        match home.upgrade() {
            Some(event_loop) if event_loop.is_copy() => return Ok(()),
            Some(event_loop) => event_loop.check_thread()?,
            None => {}
        }
        act(listener);
        Ok(())
    }
}
