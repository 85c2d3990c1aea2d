//! A stream's methods for writing and closing.

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use tidewaiter::Transport;

use super::{State, Stream};

/// Written data of at least this size is referenced instead of copied. For less, a copy is cheaper.
const KEPT_BYTES: usize = 8 * 1024;

/// Checks that `data` is of type `bytes`.
fn bytes_of<'a, 'py>(data: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    data.cast::<PyBytes>()
        .map_err(|_| PyTypeError::new_err("Data must be bytes"))
}

impl State {
    /// The transport, if the stream still accepts data.
    pub(super) fn writable(&self) -> PyResult<Option<Transport>> {
        if !self.connected.get() || self.write_disconnected.get() {
            return Ok(None);
        }
        self.transport()
    }

    /// Closes the connection once the queue is sent.
    pub(super) fn lose(&self, transport: &Transport) {
        self.hold_end_open(transport);
        transport.lose_connection();
    }

    /// How many written bytes are not yet sent.
    pub(super) fn queued(&self) -> usize {
        let link = self.link.borrow();
        link.as_ref().map_or(0, |link| link.transport.queued())
    }
}

fn send(state: &State, transport: &Transport, data: &Bound<'_, PyBytes>) {
    let bytes = data.as_bytes();
    if state.producing.passing.waits() {
        transport.write(state.producing.passing.send_along(transport, bytes));
        return;
    }
    // Copy instances of subclasses: their destructors may run any code, also where the library must not be called.
    if bytes.len() < KEPT_BYTES || !data.is_exact_instance_of::<PyBytes>() {
        transport.write(bytes);
    } else {
        transport.write_bytes(Bytes::from_owner(PyBackedBytes::from(data.clone())));
    }
}

#[pymethods]
impl Stream {
    /// Sends `data`, through TLS if TLS was started.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        if !state.tls.get() {
            return Stream::_write(slf, data);
        }
        state.through_tls(slf.py(), |protocol| {
            protocol.call_method1(intern!(slf.py(), "write"), (data,))
        })
    }

    #[pyo3(name = "writeSequence")]
    fn write_sequence(slf: &Bound<'_, Self>, iovec: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        if !state.tls.get() {
            return Stream::_write_sequence(slf, iovec);
        }
        state.through_tls(py, |protocol| {
            protocol.call_method1(intern!(py, "writeSequence"), (iovec,))
        })
    }

    /// Closes the connection once the queue is sent. With TLS, notifies the peer first.
    #[pyo3(name = "loseConnection")]
    fn lose_connection(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        if !state.tls.get() {
            return Stream::_lose_connection(slf);
        }
        if state.disconnecting.get() {
            return Ok(());
        }
        state.through_tls(py, |protocol| {
            protocol.call_method0(intern!(py, "loseConnection"))
        })
    }

    /// Sends `data` without TLS.
    fn _write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = bytes_of(data)?;
        let state = slf.get().state(slf.py());
        if let Some(transport) = state.writable()? {
            send(state, &transport, data);
            state.wrote(slf, &transport)?;
        }
        Ok(())
    }

    #[pyo3(name = "_writeSequence")]
    fn _write_sequence(slf: &Bound<'_, Self>, iovec: &Bound<'_, PyAny>) -> PyResult<()> {
        let pieces = iovec.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        for piece in &pieces {
            bytes_of(piece)?;
        }
        let state = slf.get().state(slf.py());
        let Some(transport) = state.writable()? else {
            return Ok(());
        };
        for piece in &pieces {
            send(state, &transport, bytes_of(piece)?);
        }
        state.wrote(slf, &transport)
    }

    #[pyo3(name = "_loseConnection")]
    fn _lose_connection(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        if !state.connected.get() || state.disconnecting.get() {
            return Ok(());
        }
        let transport = state.transport()?;
        state.reading.set(false);
        if state.write_disconnected.get() {
            // The write side has ended, so there is nothing to send first.
            slf.call_method1(intern!(py, "_streamLost"), (intern!(py, "done"),))?;
            return Ok(());
        }
        state.disconnecting.set(true);
        if let Some(transport) = transport
            && !state.producing.passing.puts_off_end()
        {
            state.lose(&transport);
        }
        Ok(())
    }

    /// Ends the sending side once the queue is sent.
    #[pyo3(name = "loseWriteConnection")]
    fn lose_write_connection(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        let transport = state.transport()?;
        state.write_disconnecting.set(true);
        if let Some(transport) = transport {
            state.hold_end_open(&transport);
            transport.lose_write_connection();
        }
        Ok(())
    }

    /// How many written bytes are not yet sent.
    #[getter(_tempDataLen)]
    fn queued(&self, py: Python<'_>) -> usize {
        self.state(py).queued()
    }

    /// Empty once everything written is sent. Python cannot see the unsent bytes, so a list with one empty piece stands
    /// for them.
    #[getter(_tempDataBuffer)]
    fn queue<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pieces = if self.state(py).queued() == 0 { 0 } else { 1 };
        PyList::new(py, std::iter::repeat_n(PyBytes::new(py, b""), pieces))
    }
}

impl State {
    /// Calls the TLS protocol, which wraps the application's, while the connection is open.
    fn through_tls<'py>(
        &self,
        py: Python<'py>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        match self.protocol_of(py) {
            Some(protocol) if self.connected.get() => call(&protocol).map(drop),
            _ => Ok(()),
        }
    }
}
