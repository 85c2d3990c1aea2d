//! The log context in which the loop calls back into Python.

use std::cell::RefCell;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// A thread's stack of contexts, as Twisted keeps it, and the parts of the context that a callback puts on top.
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

    /// Makes a context in which log records carry the name `system`.
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

/// A stream's name in the log, and the context with that name, made when it is first needed.
pub(crate) struct LogName {
    name: RefCell<Py<PyAny>>,
    context: RefCell<Option<Py<PyDict>>>,
}

impl LogName {
    pub(crate) fn new(py: Python<'_>) -> LogName {
        let name = intern!(py, "Uninitialized").clone();
        LogName {
            name: RefCell::new(name.into_any().unbind()),
            context: RefCell::new(None),
        }
    }

    pub(crate) fn get(&self, py: Python<'_>) -> Py<PyAny> {
        self.name.borrow().clone_ref(py)
    }

    pub(crate) fn set(&self, name: Py<PyAny>) {
        let replaced = (self.name.replace(name), self.clear());
        drop(replaced);
    }

    /// The context with this name, to be pushed onto `context`'s stack.
    pub(crate) fn context(&self, py: Python<'_>, context: &Context) -> PyResult<Py<PyDict>> {
        if let Some(made) = self.context.borrow().as_ref() {
            return Ok(made.clone_ref(py));
        }
        let name = self.get(py);
        let made = context.naming(py, name.bind(py))?;
        self.context.replace(Some(made.clone_ref(py)));
        Ok(made)
    }

    pub(crate) fn clear(&self) -> Option<Py<PyDict>> {
        self.context.take()
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(name) = self.name.try_borrow() {
            visit.call(&*name)?;
        }
        match self.context.try_borrow() {
            Ok(context) => visit.call(&*context),
            Err(_) => Ok(()),
        }
    }
}

/// A stack with a context pushed onto it; `pop` restores it.
pub(crate) struct Pushed<'py> {
    stack: Bound<'py, PyList>,
    height: usize,
}

impl Pushed<'_> {
    pub(crate) fn pop(self) -> PyResult<()> {
        // Deleting the slice would be slower: it allocates a slice object.
        let nothing = PyTuple::empty(self.stack.py());
        self.stack
            .set_slice(self.height, self.stack.len(), nothing.as_any())
    }
}
