//! The transport below a stream: a connection, or a pipe of a child.

use pyo3::intern;
use pyo3::prelude::*;

use crate::asyncio::transport::SocketTransport;

/// The transport of a stream.
pub(super) enum Below {
    Connection(Py<SocketTransport>),
    /// A `tidewaiter.asyncio._child_pipes.Pipe`.
    Pipe(Py<PyAny>),
}

impl Below {
    pub(super) fn new(transport: Bound<'_, PyAny>) -> Below {
        match transport.cast_into::<SocketTransport>() {
            Ok(connection) => Below::Connection(connection.unbind()),
            Err(refused) => Below::Pipe(refused.into_inner().unbind()),
        }
    }

    pub(super) fn transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Below::Connection(connection) => connection.bind(py).clone().into_any(),
            Below::Pipe(pipe) => pipe.bind(py).clone(),
        }
    }

    pub(super) fn pause_reading(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Below::Connection(connection) => connection.get().pause_reading(py),
            Below::Pipe(pipe) => called(pipe.bind(py), "pause_reading"),
        }
    }

    pub(super) fn resume_reading(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Below::Connection(connection) => SocketTransport::resume_reading(connection.bind(py)),
            Below::Pipe(pipe) => called(pipe.bind(py), "resume_reading"),
        }
    }

    /// Whether a writer need not wait.
    pub(super) fn is_writable(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Below::Connection(connection) => Ok(connection.get().is_writable(py)),
            Below::Pipe(pipe) => {
                let pipe = pipe.bind(py);
                let closing = pipe.getattr(intern!(py, "_closing"))?.is_truthy()?;
                Ok(!closing && !pipe.getattr(intern!(py, "_stopped"))?.is_truthy()?)
            }
        }
    }

    /// Has the protocol itself take what arrives.
    pub(super) fn deliver_plainly(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Below::Connection(connection) => {
                connection.get().deliver_plainly(py);
                Ok(())
            }
            Below::Pipe(pipe) => called(pipe.bind(py), "_deliver_plainly"),
        }
    }
}

fn called(pipe: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
    pipe.call_method0(method).map(drop)
}
