//! Starts children, and sends them signals.

use std::io::ErrorKind;

use pyo3::exceptions::{PyOSError, PyProcessLookupError, PyValueError};
use pyo3::prelude::*;
use tidewaiter::Process;
use tidewaiter::process::{Signal, SignalTarget, SpawnError, SpawnStep, TerminalSize};

use crate::core::failures::os_error;

// The numbers of these errors, as `errno` has them on every system.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

/// Sends a signal by way of the reactor, which knows whether the process ID still belongs to the child.
pub(crate) fn signal(process: &Process, signal: Signal, target: SignalTarget) -> PyResult<()> {
    match process.signal(signal, target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(PyProcessLookupError::new_err(error.to_string()))
        }
        sent => sent.map(drop).map_err(|error| os_error("signal", &error)),
    }
}

/// Sets the size of the process's terminal.
pub(crate) fn resize(process: &Process, rows: u16, columns: u16) -> PyResult<()> {
    let resized = process.resize(TerminalSize { rows, columns });
    resized.map_err(|error| os_error("resize", &error))
}

/// Converts the error of a start to the exception that `subprocess.Popen` raises: an `OSError` that names the program,
/// or the working directory if that is the cause, and `ValueError` for what cannot be passed to any program.
pub(crate) fn not_started(error: &SpawnError) -> PyErr {
    let source = &error.source;
    let number = match (source.raw_os_error(), source.kind()) {
        (Some(number), _) => number,
        (None, ErrorKind::NotFound) => ENOENT,
        (None, ErrorKind::PermissionDenied) => EACCES,
        (None, _) if error.step == SpawnStep::Arguments => {
            return PyValueError::new_err(error.to_string());
        }
        (None, _) => return os_error(&error.step.to_string(), source),
    };
    let message = match source.raw_os_error() {
        Some(_) => std::io::Error::from_raw_os_error(number).to_string(),
        None => source.to_string(),
    };
    // Python adds the number itself.
    let message = message.split(" (os error").next().unwrap_or_default();
    let file = match &error.file {
        Some(file) => file.as_os_str(),
        None => &error.program,
    };
    // The fourth element is Windows's error number, from which Python derives `errno` there.
    PyOSError::new_err((number, message.to_owned(), file.to_owned(), number))
}
