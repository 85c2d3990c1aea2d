//! Contexts of Python's `contextvars`, and calls in them.
//!
//! Python's functions that enter and leave a context are not in its stable interface, so they are found by name. Where
//! that fails, `Context.run` makes the calls, with more work.

#![expect(
    unsafe_code,
    reason = "calls functions of Python's whose rules the compiler cannot check"
)]

use std::ffi::c_int;
use std::mem::transmute;
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

use crate::core::symbols::address;

type Switch = unsafe extern "C" fn(*mut PyObject) -> c_int;
type Made = unsafe extern "C" fn() -> *mut PyObject;

/// Python's functions for contexts.
pub(crate) struct Functions {
    enter: Switch,
    exit: Switch,
    copy_current: Made,
    new: Made,
}

/// Returns `None` if Python's functions cannot be found in this process.
pub(crate) fn functions(py: Python<'_>) -> Option<&Functions> {
    static FUNCTIONS: PyOnceLock<Option<Functions>> = PyOnceLock::new();
    let functions = FUNCTIONS.get_or_init(py, || {
        let enter = address(c"PyContext_Enter");
        let exit = address(c"PyContext_Exit");
        let copy_current = address(c"PyContext_CopyCurrent");
        let new = address(c"PyContext_New");
        if enter.is_null() || exit.is_null() || copy_current.is_null() || new.is_null() {
            return None;
        }
        Some(Functions {
            // SAFETY: all versions of Python since 3.8 give the function of that name this signature.
            enter: unsafe { transmute::<*mut _, Switch>(enter) },
            // SAFETY: as above.
            exit: unsafe { transmute::<*mut _, Switch>(exit) },
            // SAFETY: as above.
            copy_current: unsafe { transmute::<*mut _, Made>(copy_current) },
            // SAFETY: as above.
            new: unsafe { transmute::<*mut _, Made>(new) },
        })
    });
    functions.as_ref()
}

/// Returns `contextvars.name`, which is looked up once.
fn contextvars<'py>(
    cell: &'static PyOnceLock<Py<PyAny>>,
    py: Python<'py>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let found = cell.get_or_try_init(py, || {
        let found = py.import("contextvars")?.getattr(name)?;
        Ok::<_, PyErr>(found.unbind())
    })?;
    Ok(found.bind(py))
}

/// A copy of the current context.
pub(crate) fn copy_of_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(functions) = functions(py) else {
        return contextvars(&COPY, py, "copy_context")?.call0();
    };
    // SAFETY: this thread is attached to the interpreter.
    let copy = unsafe { (functions.copy_current)() };
    // SAFETY: the function returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, copy) }
}

/// A context without any values.
pub(crate) fn empty(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(functions) = functions(py) else {
        return contextvars(&CLASS, py, "Context")?.call0();
    };
    // SAFETY: this thread is attached to the interpreter.
    let context = unsafe { (functions.new)() };
    // SAFETY: the function returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, context) }
}

/// Calls `callable(*args)` in `context`.
pub(crate) fn call<'py>(
    context: &Bound<'py, PyAny>,
    callable: &Bound<'py, PyAny>,
    args: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(functions) = functions(context.py()) else {
        let first = [context.clone(), callable.clone()];
        return run(first.into_iter().chain(args.into_iter().flatten()));
    };
    functions.within(context, || match args {
        Some(args) => callable.call1(args),
        None => callable.call0(),
    })
}

/// Calls `object.name(*args)` in `context`.
pub(crate) fn call_method<'py, const N: usize>(
    context: &Bound<'py, PyAny>,
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let Some(functions) = functions(context.py()) else {
        let first = [context.clone(), object.getattr(name)?];
        return run(first.into_iter().chain(args.into_iter().cloned()));
    };
    functions.within(context, || method_called(object, name, args))
}

/// Calls `Context.run` with these arguments.
fn run<'py>(args: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let args: Vec<_> = args.collect();
    let py = args[0].py();
    let args = PyTuple::new(py, args)?;
    let class = contextvars(&RUN, py, "Context")?;
    class.getattr(intern!(py, "run"))?.call1(args)
}

/// Calls a method without a bound method or a tuple of the arguments, which the stable interface for Python 3.10 can do
/// with this function alone.
pub(crate) fn method_called<'py, const N: usize>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N <= ARGUMENTS_MAX) };
    let mut pointers = [null_mut::<PyObject>(); ARGUMENTS_MAX + 1];
    for (pointer, arg) in pointers.iter_mut().zip(args) {
        *pointer = arg.as_ptr();
    }
    let [first, second, end] = pointers;
    // SAFETY: this thread is attached to the interpreter, all objects live during the call, and the arguments end with
    // the first null pointer.
    let result = unsafe {
        ffi::PyObject_CallMethodObjArgs(object.as_ptr(), name.as_ptr(), first, second, end)
    };
    // SAFETY: the function returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }
}

/// The maximum number of arguments of a method.
const ARGUMENTS_MAX: usize = 2;

impl Functions {
    /// Makes a call in `context`, and leaves it again.
    pub(crate) fn within<R>(
        &self,
        context: &Bound<'_, PyAny>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        // SAFETY: this thread is attached to the interpreter. The function raises if the object is no context.
        if unsafe { (self.enter)(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(context.py()));
        }
        let result = call();
        // SAFETY: as above, and no exception is set: `result` has it. The function raises if `call` has entered another
        // context and not left it.
        if unsafe { (self.exit)(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(context.py()));
        }
        result
    }
}
