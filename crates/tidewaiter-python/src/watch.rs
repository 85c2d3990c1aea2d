//! Descriptors that belong to Python code, watched for readiness.

use std::rc::Rc;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use tidewaiter::port::{Interest, RawDescriptor, Readiness};
use tidewaiter::{Error, Watch};

use crate::core::{Core, Loop};
use crate::failures::{os_error, refused};

/// A descriptor that is watched, and who is told.
pub(crate) struct Watched {
    watch: Option<Watch>,
    pub(crate) callback: Py<PyAny>,
}

/// What is ready, in the bits that Python gets.
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

fn ready(py: Python<'_>, inside: &Loop, slot: usize, descriptor: RawDescriptor, ready: Readiness) {
    let watched = inside.watched.borrow();
    let callback = watched
        .get(slot)
        .map(|entry| entry.callback.bind(py).clone());
    drop(watched);
    let Some(callback) = callback else { return };
    let called = inside.call_on_behalf(&callback, || callback.call1((descriptor, bits(ready))));
    if let Err(error) = called {
        inside.report("watch", &error, &callback);
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

    /// Has `callback(descriptor, bits)` called in each turn in which `descriptor` is ready for what
    /// `interest` (`READABLE`, `WRITABLE`, or both) says, or is `DISCONNECTED`. What the callback returns,
    /// unless `None`, is named if it was slow. Returns a number to name this watch by.
    fn watch(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        interest: u8,
        callback: Py<PyAny>,
    ) -> PyResult<usize> {
        let inside = self.enter(py)?;
        let entry = Watched {
            watch: None,
            callback,
        };
        let slot = inside.watched.borrow_mut().insert(entry);
        let home = Rc::downgrade(&inside);
        let watch = inside
            .reactor
            .watch(descriptor, wanted(interest), move |_, what| {
                if let Some(inside) = home.upgrade() {
                    Python::attach(|py| ready(py, &inside, slot, descriptor, what));
                }
            });
        match watch {
            Ok(watch) => {
                inside.watched.borrow_mut()[slot].watch = Some(watch);
                Ok(slot)
            }
            Err(error) => {
                drop(inside.watched.borrow_mut().remove(slot));
                Err(match error {
                    Error::Watch { descriptor, source } => {
                        os_error(&format!("descriptor {descriptor}"), &source)
                    }
                    other => refused("watch", &other),
                })
            }
        }
    }

    /// Changes what the watch is for, at once.
    fn rewatch(&self, py: Python<'_>, number: usize, interest: u8) -> PyResult<()> {
        let inside = self.enter(py)?;
        let watch = {
            let watched = inside.watched.borrow();
            watched.get(number).and_then(|entry| entry.watch.clone())
        };
        let watch = watch.ok_or_else(|| PyKeyError::new_err(number))?;
        watch
            .set_interest(wanted(interest))
            .map_err(|error| os_error(&format!("descriptor {}", watch.descriptor()), &error))
    }

    /// Ends a watch, at once: the descriptor may be closed right after.
    fn unwatch(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        let inside = match self.inside(py) {
            Some(inside) if inside.is_copy() => return Ok(()),
            _ => self.enter(py)?,
        };
        let entry = inside.watched.borrow_mut().try_remove(number);
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
