//! The context in which callbacks log.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// A thread's stack of contexts, as Twisted keeps it, and what goes on top of it.
pub(crate) struct Context {
    stack: Py<PyList>,
    key: Py<PyAny>,
    base: Py<PyDict>,
}

impl Context {
    pub(crate) fn new(
        stack: Bound<'_, PyList>,
        key: Py<PyAny>,
        base: Bound<'_, PyDict>,
    ) -> Context {
        Context {
            stack: stack.unbind(),
            key,
            base: base.unbind(),
        }
    }

    /// The context in which everything is logged as `system`'s.
    pub(crate) fn naming(&self, py: Python<'_>, system: &Bound<'_, PyAny>) -> PyResult<Py<PyDict>> {
        let names = self.base.bind(py).copy()?;
        names.set_item(intern!(py, "system"), system)?;
        let context = PyDict::new(py);
        context.set_item(&self.key, names)?;
        Ok(context.unbind())
    }

    pub(crate) fn push<'py>(&self, py: Python<'py>, context: Py<PyDict>) -> PyResult<Pushed<'py>> {
        let stack = self.stack.bind(py).clone();
        let height = stack.len();
        stack.append(context)?;
        Ok(Pushed { stack, height })
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stack)?;
        visit.call(&self.key)?;
        visit.call(&self.base)
    }
}

/// A stack with one context more than it had.
pub(crate) struct Pushed<'py> {
    stack: Bound<'py, PyList>,
    height: usize,
}

impl Pushed<'_> {
    pub(crate) fn pop(self) -> PyResult<()> {
        self.stack.del_slice(self.height, self.stack.len())
    }
}
