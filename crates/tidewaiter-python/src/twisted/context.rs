//! The log context in which the loop calls back into Python.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// A thread's stack of contexts, as Twisted keeps it, and the parts of the context that a callback puts on top.
struct Stack {
    stack: Py<PyList>,
    key: Py<PyAny>,
    base: Py<PyDict>,
}

impl Stack {
    /// Makes a context in which log records carry the name `system`.
    fn naming(&self, py: Python<'_>, system: &Bound<'_, PyAny>) -> PyResult<Py<PyDict>> {
        let names = self.base.bind(py).copy()?;
        names.set_item(intern!(py, "system"), system)?;
        let context = PyDict::new(py);
        context.set_item(&self.key, names)?;
        Ok(context.unbind())
    }

    fn push<'py>(&self, py: Python<'py>, context: Py<PyDict>) -> PyResult<Pushed<'py>> {
        let stack = self.stack.bind(py).clone();
        let height = stack.len();
        stack.append(context)?;
        Ok(Pushed { stack, height })
    }
}

/// The log context of one reactor's callbacks: none until the reactor first runs.
#[derive(Default)]
pub(super) struct LogContext(RefCell<Option<Rc<Stack>>>);

impl LogContext {
    /// From here on, callbacks get the context `{key: {**base, "system": name}}` on top of `stack`.
    pub(super) fn set(&self, stack: Bound<'_, PyList>, key: Py<PyAny>, base: Bound<'_, PyDict>) {
        let replaced = self.0.replace(Some(Rc::new(Stack {
            stack: stack.unbind(),
            key,
            base: base.unbind(),
        })));
        drop(replaced);
    }

    /// Makes a call in which log records carry the name that `system` returns.
    pub(super) fn under<'py, R>(
        &self,
        py: Python<'py>,
        system: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        self.calling(py, |stack| stack.naming(py, &system()?), call)
    }

    /// Makes a call in which log records carry `name`.
    pub(super) fn under_name<R>(
        &self,
        py: Python<'_>,
        name: &LogName,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        self.calling(py, |stack| name.context(py, stack), call)
    }

    fn calling<R>(
        &self,
        py: Python<'_>,
        context: impl FnOnce(&Stack) -> PyResult<Py<PyDict>>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        // Clone instead of borrowing: making Python objects may start a garbage collection, which reads the stack.
        let stack = self.0.borrow().clone();
        let pushed = match stack {
            Some(stack) => Some(stack.push(py, context(&stack)?)?),
            None => None,
        };
        let result = call();
        if let Some(pushed) = pushed {
            pushed.pop()?;
        }
        result
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(stack) = self.0.try_borrow() else {
            return Ok(());
        };
        let Some(stack) = stack.as_ref() else {
            return Ok(());
        };
        visit.call(&stack.stack)?;
        visit.call(&stack.key)?;
        visit.call(&stack.base)
    }

    pub(super) fn clear(&self) {
        let cleared = self.0.take();
        drop(cleared);
    }
}

/// A stream's name in the log, and the context with that name, made when it is first needed.
pub(super) struct LogName {
    name: RefCell<Py<PyAny>>,
    context: RefCell<Option<Py<PyDict>>>,
}

impl LogName {
    pub(super) fn new(py: Python<'_>) -> LogName {
        let name = intern!(py, "Uninitialized").clone();
        LogName {
            name: RefCell::new(name.into_any().unbind()),
            context: RefCell::new(None),
        }
    }

    pub(super) fn get(&self, py: Python<'_>) -> Py<PyAny> {
        self.name.borrow().clone_ref(py)
    }

    pub(super) fn set(&self, name: Py<PyAny>) {
        let replaced = (self.name.replace(name), self.clear());
        drop(replaced);
    }

    /// The context with this name, to be pushed onto `stack`.
    fn context(&self, py: Python<'_>, stack: &Stack) -> PyResult<Py<PyDict>> {
        if let Some(made) = self.context.borrow().as_ref() {
            return Ok(made.clone_ref(py));
        }
        let name = self.get(py);
        let made = stack.naming(py, name.bind(py))?;
        self.context.replace(Some(made.clone_ref(py)));
        Ok(made)
    }

    pub(super) fn clear(&self) -> Option<Py<PyDict>> {
        self.context.take()
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
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
struct Pushed<'py> {
    stack: Bound<'py, PyList>,
    height: usize,
}

impl Pushed<'_> {
    fn pop(self) -> PyResult<()> {
        // Deleting the slice would be slower: it allocates a slice object.
        let nothing = PyTuple::empty(self.stack.py());
        self.stack
            .set_slice(self.height, self.stack.len(), nothing.as_any())
    }
}
