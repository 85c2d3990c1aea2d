//! Files that are sent.

use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::prelude::*;
use tidewaiter::SendFileError;
use tidewaiter::port::RawDescriptor;

use super::SocketTransport;
use crate::core::failures::os_error;
use crate::core::sockets;

/// The exception for a file that was not sent.
fn failure(error: &SendFileError) -> PyErr {
    match error {
        SendFileError::File { source, .. } => match source.io_error() {
            Some(error) => os_error("sendfile", error),
            None => PyConnectionError::new_err(source.to_string()),
        },
        _ => PyConnectionError::new_err("Connection is closed by peer"),
    }
}

#[pymethods]
impl SocketTransport {
    /// Sends `count` bytes, or all, of the file with this number, which belongs to the loop from here on. Calls
    /// `done(bytes, exception)` from the loop. Until then, nothing may be written, and `_cancel_file` ends it.
    fn _send_file(
        slf: &Bound<'_, Self>,
        descriptor: RawDescriptor,
        offset: u64,
        count: Option<u64>,
        done: Py<PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let file = sockets::file(descriptor)?;
        let state = slf.get().state(py);
        let link = state.transport()?;
        let (Some(link), Some(event_loop)) = (link, state.event_loop()) else {
            return Err(PyRuntimeError::new_err("Transport is closing"));
        };
        if state.is_sending_file() {
            return Err(PyRuntimeError::new_err("sendfile is in progress"));
        }
        let file = event_loop
            .reactor
            .adopt_file(file, "sendfile")
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let slot = state.slot.get().cloned();
        let sent = move |_: &tidewaiter::Transport, sent: Result<u64, SendFileError>| {
            let Some(slot) = slot else { return };
            slot.call("sendfile", |transport| {
                let py = transport.py();
                let state = transport.get().state(py);
                let ended = state.with_extra_if(|extra| extra.file_transfer.take());
                drop(ended);
                let (bytes, exception) = match &sent {
                    Ok(bytes) => (*bytes, None),
                    Err(SendFileError::FileEnded { sent }) => (*sent, None),
                    Err(error) => (error.sent(), Some(failure(error).into_value(py))),
                };
                done.bind(py).call1((bytes, exception))
            });
        };
        let transfer = match count {
            Some(count) => link.send_file(&file, offset..offset.saturating_add(count), sent),
            None => link.send_file(&file, offset.., sent),
        };
        state.with_extra(|extra| extra.file_transfer = Some(transfer));
        Ok(())
    }

    /// Sends no more of the file, if there is one. `done` is called with the number of bytes that were sent.
    fn _cancel_file(&self, py: Python<'_>) {
        self.state(py).with_extra_if(|extra| {
            if let Some(transfer) = &extra.file_transfer {
                transfer.cancel();
            }
        });
    }
}
