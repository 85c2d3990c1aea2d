//! Objects of tasks that wait for streams, kept to be used again: each message needs several of them for a moment.

use std::cell::RefCell;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::core::lock::references;

/// The maximum number of objects of each kind.
const MAX: usize = 64;

/// Objects of one class that are not in use, though others may still hold some of them.
#[derive(Default)]
pub(super) struct Pool(RefCell<Vec<Py<PyAny>>>);

impl Pool {
    /// An object to which nothing else refers.
    pub(super) fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let object = self.0.borrow_mut().pop()?;
        let unused = references(py, &object) == 1;
        unused.then(|| object.into_bound(py))
    }

    /// Takes an object that is no longer in use.
    pub(super) fn keep(&self, object: &Bound<'_, PyAny>) {
        let mut objects = self.0.borrow_mut();
        if objects.len() < MAX {
            objects.push(object.clone().unbind());
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow() {
            Ok(objects) => objects.iter().try_for_each(|object| visit.call(object)),
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        let objects = self.0.take();
        drop(objects);
    }
}

/// The objects of one loop.
#[derive(Default)]
pub(in crate::asyncio) struct Spares {
    /// Calls that are over.
    pub(super) calls: Pool,
    /// Futures that are done.
    pub(super) waiters: Pool,
    /// One of asyncio's own futures, with the result `None`.
    done: RefCell<Option<Py<PyAny>>>,
}

impl Spares {
    /// One of asyncio's own futures, with the result `None`.
    /// `make` makes a future.
    pub(super) fn done<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(done) = &*self.done.borrow() {
            return Ok(done.bind(py).clone());
        }
        let done = make()?;
        done.call_method1(intern!(py, "set_result"), (py.None(),))?;
        self.done.replace(Some(done.clone().unbind()));
        Ok(done)
    }

    pub(in crate::asyncio) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.calls.visit(visit)?;
        self.waiters.visit(visit)?;
        match self.done.try_borrow() {
            Ok(done) => visit.call(&*done),
            Err(_) => Ok(()),
        }
    }

    pub(in crate::asyncio) fn clear(&self) {
        self.calls.clear();
        self.waiters.clear();
        let done = self.done.take();
        drop(done);
    }
}
