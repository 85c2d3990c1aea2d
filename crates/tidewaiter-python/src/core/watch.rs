//! Watches descriptors and handles that belong to Python code for readiness.

use std::rc::{Rc, Weak};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use tidewaiter::port::{Interest, RawDescriptor, Readiness};
use tidewaiter::{Error, Reactor, Watch};

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};

/// A watch, and the callable that it calls.
pub(crate) struct Watched {
    watch: Option<Watch>,
    pub(crate) callback: Py<PyAny>,
}

// Bits of readiness, as Python gets them.
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const DISCONNECTED: u8 = 4;

fn bits(ready: Readiness) -> u8 {
    let mut bits = 0;
    if ready.readable {
        bits |= READABLE;
    }
    if ready.writable {
        bits |= WRITABLE;
    }
    if ready.hang_up || ready.error {
        bits |= DISCONNECTED;
    }
    bits
}

/// Calls the callback of the watch in this slot, if there is one.
fn tell(
    home: &Weak<Loop>,
    slot: usize,
    call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) {
    let Some(event_loop) = home.upgrade() else {
        return;
    };
    Python::attach(|py| {
        let watched = event_loop.watched.borrow();
        let callback = watched
            .get(slot)
            .map(|entry| entry.callback.bind(py).clone());
        drop(watched);
        let Some(callback) = callback else { return };
        if let Err(error) = event_loop.call_on_behalf(&callback, || call(&callback)) {
            event_loop.report("watch", &error, &callback);
        }
    });
}

/// Adds `callback` to the loop's table and starts the watch. Returns the watch's number.
fn start(
    event_loop: &Rc<Loop>,
    callback: Py<PyAny>,
    begin: impl FnOnce(&Reactor, Weak<Loop>, usize) -> Result<Watch, Error>,
) -> PyResult<usize> {
    let entry = Watched {
        watch: None,
        callback,
    };
    let slot = event_loop.watched.borrow_mut().insert(entry);
    match begin(&event_loop.reactor, Rc::downgrade(event_loop), slot) {
        Ok(watch) => {
            event_loop.watched.borrow_mut()[slot].watch = Some(watch);
            Ok(slot)
        }
        Err(error) => {
            let entry = event_loop.watched.borrow_mut().remove(slot);
            drop(entry);
            Err(match error {
                Error::Watch { descriptor, source } => {
                    os_error(&format!("descriptor {descriptor}"), &source)
                }
                other => refused("watch", &other),
            })
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

    /// Calls `callback(descriptor, bits)` in each turn in which `descriptor` is ready for `interest` (`READABLE`,
    /// `WRITABLE`, or both) or is `DISCONNECTED`. If the callback is slow, the report names the object that it
    /// returned, unless that is `None`. Returns the number of the watch, for `rewatch` and `unwatch`.
    fn watch(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        interest: u8,
        callback: Py<PyAny>,
    ) -> PyResult<usize> {
        start(&self.enter(py)?, callback, |reactor, home, slot| {
            reactor.watch(descriptor, wanted(interest), move |_, ready| {
                tell(&home, slot, |callback| {
                    callback.call1((descriptor, bits(ready)))
                });
            })
        })
    }

    /// Calls `callback()` each time that the waitable object with this handle is signalled (Windows). Returns the
    /// number of the watch.
    fn watch_handle(
        &self,
        py: Python<'_>,
        handle: RawDescriptor,
        callback: Py<PyAny>,
    ) -> PyResult<usize> {
        start(&self.enter(py)?, callback, |reactor, home, slot| {
            reactor.watch_handle(handle, move |_| {
                tell(&home, slot, |callback| callback.call0());
            })
        })
    }

    /// Changes a watch's interest, at once.
    fn rewatch(&self, py: Python<'_>, number: usize, interest: u8) -> PyResult<()> {
        let event_loop = self.enter(py)?;
        let watch = {
            let watched = event_loop.watched.borrow();
            watched.get(number).and_then(|entry| entry.watch.clone())
        };
        let watch = watch.ok_or_else(|| PyKeyError::new_err(number))?;
        watch
            .set_interest(wanted(interest))
            .map_err(|error| os_error(&format!("descriptor {}", watch.descriptor()), &error))
    }

    /// Ends a watch, at once: the descriptor may be closed right after.
    fn unwatch(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        let event_loop = match self.event_loop(py) {
            Some(event_loop) if event_loop.is_copy() => return Ok(()),
            _ => self.enter(py)?,
        };
        let entry = event_loop.watched.borrow_mut().try_remove(number);
        let entry = entry.ok_or_else(|| PyKeyError::new_err(number))?;
        if let Some(watch) = &entry.watch {
            watch.stop();
        }
        Ok(())
    }
}

fn wanted(interest: u8) -> Interest {
    Interest {
        readable: interest & READABLE != 0,
        writable: interest & WRITABLE != 0,
    }
}
