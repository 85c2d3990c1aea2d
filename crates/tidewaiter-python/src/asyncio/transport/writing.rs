//! A transport's methods for writing.

use bytes::Bytes;
use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use tidewaiter::Transport;

use super::opening::is_pipe;
use super::{SocketTransport, State};

/// Written data of at least this size is referenced instead of copied. For less, a copy is cheaper.
const KEPT_BYTES: usize = 8 * 1024;

/// After this many writes to a lost connection, each further one is logged.
const LOST_WRITES_MAX: u32 = 5;

/// Something to write, as `bytes` that nobody changes.
fn frozen<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if let Ok(array) = data.cast::<PyByteArray>() {
        return Ok(PyBytes::new(py, &array.to_vec()));
    }
    let bytes = data.call_method0(intern!(py, "tobytes"))?;
    Ok(bytes.cast_into::<PyBytes>()?)
}

/// Checks that `data` is of a type that `write` takes.
fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    let fits = data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>();
    if fits {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "data argument must be a bytes-like object, not {}",
        data.get_type().name()?.repr()?
    )))
}

/// Memory that the library may keep.
fn kept(data: &Bound<'_, PyBytes>) -> Bytes {
    // Copy instances of subclasses: their destructors may run any code, also where the library must not be called.
    if data.is_exact_instance_of::<PyBytes>() {
        Bytes::from_owner(PyBackedBytes::from(data.clone()))
    } else {
        Bytes::copy_from_slice(data.as_bytes())
    }
}

impl State {
    fn send(&self, link: &Transport, data: &Bound<'_, PyBytes>) {
        let bytes = data.as_bytes();
        let large = bytes.len() >= KEPT_BYTES;
        if (large && link.queued() == 0) || self.would_pause(link, bytes.len()) {
            // A large write costs a ring more by an operation than by a call. And only what the OS does not take makes
            // the protocol pause.
            link.write_through(kept(data));
        } else if !large {
            link.write(bytes);
        } else {
            link.write_bytes(kept(data));
        }
    }

    fn check_writable(&self, method: &str, progress: &str) -> PyResult<()> {
        if self.eof_written.get() {
            return Err(PyRuntimeError::new_err(format!(
                "Cannot call {method}() after write_eof()"
            )));
        }
        if self.is_sending_file() {
            return Err(PyRuntimeError::new_err(format!(
                "unable to {progress}; sendfile is in progress"
            )));
        }
        Ok(())
    }

    /// Counts a write to a lost connection, and logs it if there were many before.
    #[cold]
    fn wrote_in_vain(&self, py: Python<'_>) -> PyResult<()> {
        let count = self.conn_lost.get();
        if count >= LOST_WRITES_MAX {
            let logger = py.import("asyncio.log")?.getattr("logger")?;
            logger.call_method1("warning", ("socket.send() raised exception.",))?;
        }
        self.conn_lost.set(count.saturating_add(1));
        Ok(())
    }
}

#[pymethods]
impl SocketTransport {
    /// Sends `data`, together with everything else that is written in this turn of the loop.
    pub(in crate::asyncio) fn write(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        check_type(data)?;
        let state = slf.get().state(py);
        let link = state.transport()?;
        state.check_writable("write", "write")?;
        let data = frozen(data)?;
        if data.as_bytes().is_empty() {
            return Ok(());
        }
        match link {
            Some(link) if state.conn_lost.get() == 0 => {
                state.send(&link, &data);
                state.pause_if_full(slf, &link)
            }
            _ => state.wrote_in_vain(py),
        }
    }

    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        let link = state.transport()?;
        state.check_writable("writelines", "writelines")?;
        let mut pieces = Vec::new();
        for piece in list_of_data.try_iter()? {
            let piece = piece?;
            let known = check_type(&piece).is_ok();
            let piece = if known {
                frozen(&piece)?
            } else {
                frozen(PyMemoryView::from(&piece)?.as_any())?
            };
            if !piece.as_bytes().is_empty() {
                pieces.push(piece);
            }
        }
        if pieces.is_empty() {
            return Ok(());
        }
        match link {
            Some(link) if state.conn_lost.get() == 0 => {
                for piece in &pieces {
                    state.send(&link, piece);
                }
                state.pause_if_full(slf, &link)
            }
            _ => state.wrote_in_vain(py),
        }
    }

    /// Ends the sending side once everything is sent. Receiving goes on. A named pipe has no such end.
    fn write_eof(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        let link = state.transport()?;
        if link.as_ref().is_some_and(is_pipe) {
            return Err(PyNotImplementedError::new_err(
                "a named pipe ends in both directions at once",
            ));
        }
        if state.closing.get() || state.eof_written.replace(true) {
            return Ok(());
        }
        if let Some(link) = link {
            link.lose_write_connection();
        }
        Ok(())
    }

    fn can_write_eof(&self, py: Python<'_>) -> bool {
        !self.state(py).link.borrow().as_ref().is_some_and(is_pipe)
    }
}
