//! The Python class `Watch`: a descriptor or handle that belongs to Python code, watched for readiness.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use tidewaiter::port::{Interest, RawDescriptor, Readiness};
use tidewaiter::{Error, Reactor};

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};

// Bits of readiness, as Python gets them.
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const DISCONNECTED: u8 = 4;

/// The readiness, as Python gets it. That a watched socket was closed (Windows), the next use of it tells.
fn bits(ready: Readiness, wanted: Interest) -> u8 {
    let mut bits = 0;
    if ready.closed {
        bits |= DISCONNECTED
            | (u8::from(wanted.readable) * READABLE)
            | (u8::from(wanted.writable) * WRITABLE);
    }
    if ready.readable {
        bits |= READABLE;
    }
    if ready.writable {
        bits |= WRITABLE;
    }
    if ready.hang_up || ready.error || ready.closed {
        bits |= DISCONNECTED;
    }
    bits
}

fn interest(bits: u8) -> Interest {
    Interest {
        readable: bits & READABLE != 0,
        writable: bits & WRITABLE != 0,
    }
}

/// The parts of a watch that are known once it has started.
struct Started {
    watch: tidewaiter::Watch,
    slot: Slot<Watch>,
}

struct State {
    started: OnceCell<Started>,
    /// Set until the watch is stopped.
    callback: RefCell<Option<Py<PyAny>>>,
}

/// A watch of a descriptor or handle. It goes on until it is stopped, even if Python drops this object.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct Watch(Locked<State>);

impl Callee for Watch {
    const KIND: &'static str = "watch";

    fn subject<'py>(watch: &Bound<'py, Watch>) -> Bound<'py, PyAny> {
        let callback = watch.get().callback(watch.py());
        callback.unwrap_or_else(|| watch.as_any().clone())
    }

    fn on_behalf_of<'py>(
        named: Bound<'py, PyAny>,
        returned: &Bound<'py, PyAny>,
    ) -> Bound<'py, PyAny> {
        if returned.is_none() {
            return named;
        }
        returned.clone()
    }
}

impl Watch {
    fn callback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let callback = self.0.get(py).callback.borrow();
        callback.as_ref().map(|callback| callback.bind(py).clone())
    }

    /// Adds a watch to the loop's table and starts it.
    fn start(
        py: Python<'_>,
        event_loop: &Rc<Loop>,
        callback: Py<PyAny>,
        begin: impl FnOnce(&Reactor, Slot<Watch>) -> Result<tidewaiter::Watch, Error>,
    ) -> PyResult<Py<Watch>> {
        let state = State {
            started: OnceCell::new(),
            callback: RefCell::new(Some(callback)),
        };
        let object = Bound::new(py, Watch(Locked::new(state)))?;
        let slot = Slot::new(event_loop, &object);
        match begin(&event_loop.reactor, slot.clone()) {
            Ok(watch) => {
                event_loop.watches.set(event_loop.watches.get() + 1);
                // `set` cannot fail: the cell is empty until here.
                let _ = object.get().0.get(py).started.set(Started { watch, slot });
                Ok(object.unbind())
            }
            Err(error) => {
                slot.remove();
                Err(match error {
                    Error::Watch { descriptor, source } => {
                        os_error(&format!("descriptor {descriptor}"), &source)
                    }
                    other => refused("watch", &other),
                })
            }
        }
    }
}

#[pymethods]
impl Core {
    #[classattr]
    const READABLE: u8 = READABLE;
    #[classattr]
    const WRITABLE: u8 = WRITABLE;
    #[classattr]
    const DISCONNECTED: u8 = DISCONNECTED;

    /// Calls `callback(descriptor, bits)` in each turn in which `descriptor` is ready for `wanted` (`READABLE`,
    /// `WRITABLE`, or both) or is `DISCONNECTED`. If the callback is slow, the report names the object that it
    /// returned, unless that is `None`.
    fn watch(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        wanted: u8,
        callback: Py<PyAny>,
    ) -> PyResult<Py<Watch>> {
        Watch::start(py, &self.enter(py)?, callback, |reactor, slot| {
            reactor.watch(descriptor, interest(wanted), move |watch, ready| {
                let bits = bits(ready, watch.interest());
                slot.call("", |watch| match watch.get().callback(watch.py()) {
                    Some(callback) => callback.call1((descriptor, bits)),
                    None => Ok(watch.py().None().into_bound(watch.py())),
                });
            })
        })
    }

    /// Calls `callback()` each time that the waitable object with this handle is signalled (Windows).
    fn watch_handle(
        &self,
        py: Python<'_>,
        handle: RawDescriptor,
        callback: Py<PyAny>,
    ) -> PyResult<Py<Watch>> {
        Watch::start(py, &self.enter(py)?, callback, |reactor, slot| {
            reactor.watch_handle(handle, move |_| {
                slot.call("", |watch| match watch.get().callback(watch.py()) {
                    Some(callback) => callback.call0(),
                    None => Ok(watch.py().None().into_bound(watch.py())),
                });
            })
        })
    }
}

#[pymethods]
impl Watch {
    /// Changes what the descriptor is watched for, at once.
    fn set_interest(&self, py: Python<'_>, wanted: u8) -> PyResult<()> {
        let state = self.0.get(py);
        let started = state.started.get();
        let event_loop = started.and_then(|started| started.slot.event_loop());
        if let Some(event_loop) = event_loop {
            event_loop.check_thread()?;
        }
        match started {
            Some(started) if state.callback.borrow().is_some() => {
                let watch = &started.watch;
                watch.set_interest(interest(wanted)).map_err(|error| {
                    os_error(&format!("descriptor {}", watch.descriptor()), &error)
                })
            }
            _ => Err(PyValueError::new_err("the watch was stopped")),
        }
    }

    /// Ends the watch, at once: the descriptor may be closed right after. Does nothing in a forked child, where the watch
    /// belongs to the parent.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.0.get(py);
        let Some(Started { watch, slot }) = state.started.get() else {
            return Ok(());
        };
        let event_loop = slot.event_loop();
        if let Some(event_loop) = &event_loop {
            if event_loop.is_copy() {
                return Ok(());
            }
            event_loop.check_thread()?;
        }
        let callback = state.callback.take();
        if let (Some(_), Some(event_loop)) = (&callback, event_loop) {
            event_loop.watches.set(event_loop.watches.get() - 1);
        }
        watch.stop();
        slot.remove();
        drop(callback);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.visited().callback.try_borrow() {
            Ok(callback) => visit.call(&*callback),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let callback = Python::attach(|py| self.0.get(py).callback.take());
        drop(callback);
    }
}
