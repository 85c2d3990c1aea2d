//! The log context in which the loop calls back into Python.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::core::lock::references;

/// A thread's stack of contexts, as Twisted keeps it, and the parts of the context that a callback puts on top.
struct Stack {
    stack: Py<PyList>,
    key: Py<PyAny>,
    base: Py<PyDict>,
    /// The context of the last callback, to be used again under another name.
    spare: RefCell<Option<Context>>,
}

/// A context in which log records carry the name `system`: `{key: {**base, "system": system}}`.
struct Context {
    outer: Py<PyDict>,
    names: Py<PyDict>,
    system: Py<PyAny>,
}

impl Context {
    fn new(py: Python<'_>, stack: &Stack, system: Bound<'_, PyAny>) -> PyResult<Context> {
        let names = stack.base.bind(py).copy()?;
        names.set_item(intern!(py, "system"), &system)?;
        let outer = PyDict::new(py);
        outer.set_item(&stack.key, &names)?;
        Ok(Context {
            outer: outer.unbind(),
            names: names.unbind(),
            system: system.unbind(),
        })
    }

    fn rename(&mut self, py: Python<'_>, system: Bound<'_, PyAny>) -> PyResult<()> {
        if self.system.is(&system) {
            return Ok(());
        }
        let names = self.names.bind(py);
        names.set_item(intern!(py, "system"), &system)?;
        let replaced = std::mem::replace(&mut self.system, system.unbind());
        drop(replaced);
        Ok(())
    }

    /// Whether the callback has kept no part of it, as one does that hands the context on to a thread.
    fn is_kept_by_nobody(&self, py: Python<'_>) -> bool {
        // `outer` holds the other reference to `names`.
        references(py, &self.outer) == 1 && references(py, &self.names) == 2
    }
}

impl Stack {
    /// A context in which log records carry the name `system`.
    fn context(&self, py: Python<'_>, system: Bound<'_, PyAny>) -> PyResult<Context> {
        let spare = self.spare.take();
        match spare {
            Some(mut context) => context.rename(py, system).map(|()| context),
            None => Context::new(py, self, system),
        }
    }

    /// Keeps a context for the next callback.
    fn keep(&self, py: Python<'_>, context: Context) {
        if context.is_kept_by_nobody(py) {
            let replaced = self.spare.replace(Some(context));
            drop(replaced);
        }
    }

    fn push<'py>(&self, py: Python<'py>, context: &Context) -> PyResult<Pushed<'py>> {
        let stack = self.stack.bind(py).clone();
        let height = stack.len();
        stack.append(&context.outer)?;
        Ok(Pushed { stack, height })
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stack)?;
        visit.call(&self.key)?;
        visit.call(&self.base)?;
        let Ok(spare) = self.spare.try_borrow() else {
            return Ok(());
        };
        let Some(context) = &*spare else {
            return Ok(());
        };
        visit.call(&context.outer)?;
        visit.call(&context.names)?;
        visit.call(&context.system)
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
            spare: RefCell::new(None),
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
        // Clone instead of borrowing: making Python objects may start a garbage collection, which reads the stack.
        let stack = self.0.borrow().clone();
        let Some(stack) = stack else {
            return call();
        };
        let context = stack.context(py, system()?)?;
        let pushed = stack.push(py, &context)?;
        let result = call();
        pushed.pop()?;
        stack.keep(py, context);
        result
    }

    /// Makes a call in which log records carry `name`.
    pub(super) fn under_name<R>(
        &self,
        py: Python<'_>,
        name: &LogName,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        self.under(py, || Ok(name.get(py).into_bound(py)), call)
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(stack) = self.0.try_borrow() else {
            return Ok(());
        };
        match stack.as_ref() {
            Some(stack) => stack.traverse(visit),
            None => Ok(()),
        }
    }

    pub(super) fn clear(&self) {
        let cleared = self.0.take();
        drop(cleared);
    }
}

/// A stream's name in the log.
pub(super) struct LogName(RefCell<Py<PyAny>>);

impl LogName {
    pub(super) fn new(py: Python<'_>) -> LogName {
        let name = intern!(py, "Uninitialized").clone();
        LogName(RefCell::new(name.into_any().unbind()))
    }

    pub(super) fn get(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.borrow().clone_ref(py)
    }

    pub(super) fn set(&self, name: Py<PyAny>) {
        let replaced = self.0.replace(name);
        drop(replaced);
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow() {
            Ok(name) => visit.call(&*name),
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
