//! The Python class `Listener`: a listening socket.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Address, Factory, Protocol, Transport};

use crate::core::failures::refused;
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};
use crate::core::sockets;
use crate::twisted::face::{Accepted, Face, TwistedLoop};
use crate::twisted::stream::Stream;
use crate::twisted::stream::bridge::Bridge;

/// The library's listener, and the object's place in the loop's table.
struct Listening {
    listener: tidewaiter::Listener,
    slot: Slot<Listener>,
}

struct State {
    listening: OnceCell<Listening>,
    /// The object that the loop calls, until the socket is closed.
    object: RefCell<Option<Py<PyAny>>>,
}

/// A listening socket on the loop.
///
/// The loop calls on the object given to `TwistedLoop.listen`: `_accepted(address)`, in a log context named by the
/// object's `logPrefix()`, `_acceptFailed(errno)` and `_closed()`.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct Listener(Locked<State>);

impl Callee for Listener {
    const KIND: &'static str = "listener";

    fn subject<'py>(listener: &Bound<'py, Listener>) -> Bound<'py, PyAny> {
        let object = listener.get().object(listener.py());
        object.unwrap_or_else(|| listener.as_any().clone())
    }
}

/// The factory of every listener: passes events on to the Python object.
struct ListenerBridge {
    slot: Slot<Listener>,
    face: Weak<Face>,
}

impl ListenerBridge {
    /// Calls the listener's object. A report of a slow callback names `method`.
    fn tell(
        slot: &Slot<Listener>,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        slot.call(method, |listener| call(&Listener::subject(listener)));
    }
}

/// Asks Python to make an object for an accepted connection. Closes the connection if Python makes none.
fn open(
    face: &Face,
    slot: &Slot<Listener>,
    peer: &Address,
    transport: &Transport,
) -> Option<Slot<Stream>> {
    face.accepted
        .replace(Some(Accepted::Offered(transport.clone())));
    ListenerBridge::tell(slot, "_accepted", |object| {
        let py = object.py();
        let address = sockets::to_python(py, peer)?;
        face.log.under(
            py,
            || object.call_method0(intern!(py, "logPrefix")),
            || object.call_method1(intern!(py, "_accepted"), (address,)),
        )
    });
    match face.accepted.take() {
        Some(Accepted::Adopted(stream)) => Some(stream),
        Some(Accepted::Offered(transport)) => {
            transport.close_connection_now();
            None
        }
        None => None,
    }
}

impl Factory for ListenerBridge {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        let (slot, face) = (self.slot.clone(), self.face.upgrade()?);
        Some(Box::new(Bridge::accepted(move |transport| {
            open(&face, &slot, &peer, transport)
        })))
    }

    fn accept_failed(&mut self, _: &tidewaiter::Listener, error: &io::Error) {
        let number = error.raw_os_error();
        ListenerBridge::tell(&self.slot, "_acceptFailed", |object| {
            object.call_method1(intern!(object.py(), "_acceptFailed"), (number,))
        });
    }

    fn listener_closed(&mut self, _: &tidewaiter::Listener) {
        ListenerBridge::tell(&self.slot, "_closed", |object| {
            object.call_method0(intern!(object.py(), "_closed"))
        });
        self.slot
            .find(|_, listener| listener.get().forget(listener.py()));
        self.slot.remove();
    }
}

#[pymethods]
impl TwistedLoop {
    /// Accepts connections on the listening socket with this number, which belongs to the loop from here on. If this
    /// raises, the socket is closed.
    fn listen(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        object: Py<PyAny>,
    ) -> PyResult<Py<Listener>> {
        let socket = sockets::listener(descriptor)?;
        let event_loop = self.enter(py)?;
        let state = State {
            listening: OnceCell::new(),
            object: RefCell::new(Some(object)),
        };
        let made = Bound::new(py, Listener(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &made);
        let bridge = ListenerBridge {
            slot: slot.clone(),
            face: Rc::downgrade(self.face(py)),
        };
        let listener = event_loop
            .reactor
            .listen_on(socket, bridge)
            .map_err(|error| {
                slot.remove();
                refused("listen", &error)
            })?;
        // `set` cannot fail: the cell is empty until here.
        let _ = made
            .get()
            .0
            .get(py)
            .listening
            .set(Listening { listener, slot });
        Ok(made.unbind())
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

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.visited().object.try_borrow() {
            Ok(object) => visit.call(&*object),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        Python::attach(|py| self.forget(py));
    }
}

impl Listener {
    /// The object that the loop calls, until the socket is closed.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let object = self.0.get(py).object.borrow();
        object.as_ref().map(|object| object.bind(py).clone())
    }

    fn forget(&self, py: Python<'_>) {
        let forgotten = self.0.get(py).object.take();
        drop(forgotten);
    }

    /// Applies `act` to the listener. Does nothing in a forked child, where the listener belongs to the parent.
    fn with(&self, py: Python<'_>, act: impl FnOnce(&tidewaiter::Listener)) -> PyResult<()> {
        let Some(Listening { listener, slot }) = self.0.get(py).listening.get() else {
            return Ok(());
        };
        match slot.event_loop() {
            Some(event_loop) if event_loop.is_copy() => return Ok(()),
            Some(event_loop) => event_loop.check_thread()?,
            None => {}
        }
        act(listener);
        Ok(())
    }
}
