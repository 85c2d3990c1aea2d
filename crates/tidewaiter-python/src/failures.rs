//! Errors, on their way to Python.

use std::io;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;

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

/// What the library refused.
pub(crate) fn refused(what: &str, error: &tidewaiter::Error) -> PyErr {
    match error {
        tidewaiter::Error::Port(source) => os_error(what, source),
        other => PyRuntimeError::new_err(format!("{what}: {other}")),
    }
}
