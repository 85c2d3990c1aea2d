//! Exceptions of a program's callbacks, as asyncio's loops report them.

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::asyncio::face::AsyncioLoop;
use crate::core::event_loop::Loop;
use crate::core::failures::raised;

/// Whether an exception is to leave the loop.
pub(super) fn leaves_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Has an exception leave the loop at the end of the turn.
pub(super) fn leave_loop(event_loop: &Loop, py: Python<'_>, error: &PyErr) {
    fn raise(_: &Loop, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyErr::from_value(exception.clone()))
    }
    event_loop.make_soon(raised(py, error).into_any(), raise);
}

/// Passes an exception to the loop's exception handler. `about` are further entries of the handler's context. Fails if
/// the exception is to leave the loop.
pub(super) fn report(
    home: &Py<AsyncioLoop>,
    py: Python<'_>,
    message: &str,
    error: PyErr,
    about: &[(&str, Option<&Bound<'_, PyAny>>)],
) -> PyResult<()> {
    if leaves_loop(py, &error) {
        return Err(error);
    }
    let context = PyDict::new(py);
    context.set_item(intern!(py, "message"), message)?;
    context.set_item(intern!(py, "exception"), error.into_value(py))?;
    for (name, value) in about {
        if let Some(value) = value {
            context.set_item(name, value)?;
        }
    }
    let tell_handler = intern!(py, "_tell_handler");
    home.call_method1(py, tell_handler, (context,)).map(drop)
}
