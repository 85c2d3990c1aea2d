//! Errors, on their way to Python.

use std::io;

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyOSError, PyRuntimeError};
use pyo3::prelude::*;

/// The exception, which knows where it was raised.
pub(crate) fn raised(py: Python<'_>, error: &PyErr) -> Py<PyBaseException> {
    error.clone_ref(py).into_value(py)
}

/// An OS error as Python's own: with its number, if there is one, so that `errno` is right; of the subclass for
/// its kind.
pub(crate) fn os_error(what: &str, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        // The last is for Windows, where Python finds the `errno` for it.
        Some(number) => {
            PyOSError::new_err((number, format!("{what}: {error}"), None::<()>, number))
        }
        None => io::Error::new(error.kind(), format!("{what}: {error}")).into(),
    }
}

create_exception!(
    tidewaiter._tidewaiter,
    PortFailure,
    PyRuntimeError,
    "The completion port failed: the loop cannot go on."
);

/// Why a turn of the loop came to nothing.
pub(crate) fn no_turn(error: &tidewaiter::Error) -> PyErr {
    match error {
        tidewaiter::Error::Port(source) => {
            PortFailure::new_err(format!("the completion port failed: {source}"))
        }
        tidewaiter::Error::Running => PyRuntimeError::new_err(
            "a callback asked for a turn of the loop, which is in the middle of one: turns are not nested",
        ),
        other => refused("a turn of the loop", other),
    }
}

/// What the library refused.
pub(crate) fn refused(what: &str, error: &tidewaiter::Error) -> PyErr {
    match error {
        tidewaiter::Error::Port(source) => os_error(what, source),
        other => PyRuntimeError::new_err(format!("{what}: {other}")),
    }
}
