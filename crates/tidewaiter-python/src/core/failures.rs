//! Converts errors to Python exceptions.

use std::io;

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyOSError, PyRuntimeError};
use pyo3::prelude::*;

/// The exception, with its traceback.
pub(crate) fn raised(py: Python<'_>, error: &PyErr) -> Py<PyBaseException> {
    error.clone_ref(py).into_value(py)
}

/// Converts an OS error to Python's `OSError`, of the subclass for its kind, and with its number, if it has one, as
/// `errno`.
pub(crate) fn os_error(what: &str, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        // The last element is Windows's error number, from which Python derives `errno` there.
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

/// Converts the error of a turn of the loop.
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

/// Converts the error of any other call; `what` names the call.
pub(crate) fn refused(what: &str, error: &tidewaiter::Error) -> PyErr {
    match error {
        tidewaiter::Error::Port(source)
        | tidewaiter::Error::Listen { source, .. }
        | tidewaiter::Error::ListenOn(source)
        | tidewaiter::Error::Adopt { source, .. } => os_error(what, source),
        other => PyRuntimeError::new_err(format!("{what}: {other}")),
    }
}

/// Converts the error of a connection that could not be made.
pub(crate) fn not_connected(error: &tidewaiter::ConnectError) -> PyErr {
    match error.io_error() {
        Some(source) => os_error("connect", source),
        None => os_error("connect", &io::Error::other(error.to_string())),
    }
}
