//! The Python class `TwistedLoop`: a loop as Twisted's reactors use it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::Transport;

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::hooks::Hook;
use crate::core::lock::Locked;
use crate::core::slot::Slot;
use crate::twisted::context::LogContext;
use crate::twisted::stream::Stream;

/// The state that Twisted's reactor has besides the loop's.
#[derive(Default)]
pub(super) struct Face {
    pub(super) log: Rc<LogContext>,
    pub(super) accepted: RefCell<Option<Accepted>>,
    pub(super) debug: Debug,
    /// Whether `run` must check before the next turn if its owner has stopped.
    pub(super) interrupted: Cell<bool>,
}

/// An accepted connection, while Python makes the object for it.
pub(super) enum Accepted {
    Offered(Transport),
    Adopted(Slot<Stream>),
}

/// The recording of where delayed calls are made.
#[derive(Default)]
pub(super) struct Debug {
    /// While this object's `debug` is true, a delayed call stores the result of `describe`.
    pub(super) debugged: Hook,
    /// Called as `describe()` when a delayed call is made; returns the stack of its origin.
    pub(super) describe: Hook,
}

impl Debug {
    /// Whether delayed calls are being debugged.
    pub(super) fn is_on(&self, py: Python<'_>) -> PyResult<bool> {
        match self.debugged.get(py) {
            Some(debugged) => debugged.getattr(intern!(py, "debug"))?.is_truthy(),
            None => Ok(false),
        }
    }

    /// Returns the origin of the delayed call that is being made, if delayed calls are being debugged.
    pub(super) fn origin<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.is_on(py)? {
            return Ok(None);
        }
        self.describe
            .get(py)
            .map(|describe| describe.call0())
            .transpose()
    }
}

/// A loop as Twisted's reactors use it: with delayed calls and listeners, and log contexts for its callbacks.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct TwistedLoop {
    pub(super) core: Py<Core>,
    face: Locked<Rc<Face>>,
}

impl TwistedLoop {
    /// The loop, if this thread may use it now.
    pub(super) fn enter(&self, py: Python<'_>) -> PyResult<Rc<Loop>> {
        self.core.get().enter(py)
    }

    pub(super) fn face<'a>(&'a self, py: Python<'a>) -> &'a Rc<Face> {
        self.face.get(py)
    }
}

#[pymethods]
impl TwistedLoop {
    #[new]
    fn new(core: Py<Core>) -> TwistedLoop {
        TwistedLoop {
            core,
            face: Locked::new(Rc::default()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.core)?;
        let face = self.face.visited();
        face.log.traverse(&visit)?;
        face.debug.debugged.traverse(&visit)?;
        face.debug.describe.traverse(&visit)
    }

    fn __clear__(&self) {
        Python::attach(|py| {
            let face = self.face(py);
            face.log.clear();
            face.debug.debugged.set(None);
            face.debug.describe.set(None);
        });
    }
}
