//! Flow control of writing: when the protocol is told to pause and to resume.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tidewaiter::{Producer, ProducerKind, Transport};

use super::{SocketTransport, State};
use crate::core::context;
use crate::core::slot::Slot;

/// asyncio's default for the high mark of the write buffer. The low one is a quarter of it.
const HIGH_WATER: i64 = 64 * 1024;

/// The limits of the write buffer, and whether the protocol was told to pause.
pub(super) struct WriteFlow {
    low: Cell<usize>,
    high: Cell<usize>,
    paused: Cell<bool>,
}

impl Default for WriteFlow {
    fn default() -> WriteFlow {
        WriteFlow {
            low: Cell::new(16 * 1024),
            high: Cell::new(64 * 1024),
            paused: Cell::new(false),
        }
    }
}

impl WriteFlow {
    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }
}

/// Registered while the protocol is paused: resumes it once the queue has drained to the low mark.
struct Resume(Slot<SocketTransport>);

impl Producer for Resume {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.0.call("resume_writing", |transport| {
            let py = transport.py();
            let state = transport.get().state(py);
            // A half-close that waits for the queue would wait for the producer as well.
            if let Some(link) = state.link.borrow().clone() {
                link.unregister_producer();
            }
            state.resume_writer(transport)?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl State {
    /// How many written bytes are not yet sent.
    pub(super) fn queued(&self) -> usize {
        let link = self.link.borrow();
        link.as_ref().map_or(0, Transport::queued)
    }

    /// Whether the protocol would be told to pause if so many bytes more were queued.
    pub(super) fn would_pause(&self, link: &Transport, more: usize) -> bool {
        let flow = &self.write_flow;
        !flow.paused.get() && link.queued() + more > flow.high.get()
    }

    /// Tells the protocol to pause if the queue exceeds the high mark.
    pub(super) fn pause_if_full(
        &self,
        transport: &Bound<'_, SocketTransport>,
        link: &Transport,
    ) -> PyResult<()> {
        if !link.is_open() {
            // The write failed. A program that only writes and drains has to see that without another turn.
            self.closing.set(true);
            self.conn_lost.set(self.conn_lost.get() + 1);
            return Ok(());
        }
        if link.queued() <= self.write_flow.high.get() || self.write_flow.paused.replace(true) {
            return Ok(());
        }
        // In a transport that is being closed, another producer resumes the protocol.
        if let Some(slot) = self.slot.get().filter(|_| !self.closing.get()) {
            link.register_producer(Resume(slot.clone()), ProducerKind::Push);
        }
        self.tell_writer(transport, "pause_writing")
    }

    /// Tells the protocol to write on, if it was told to pause.
    pub(super) fn resume_writer(&self, transport: &Bound<'_, SocketTransport>) -> PyResult<()> {
        if self.write_flow.paused.replace(false) {
            self.tell_writer(transport, "resume_writing")?;
        }
        Ok(())
    }

    /// Calls a method of the protocol for its flow control. Its exception is reported, and the connection goes on.
    fn tell_writer(&self, transport: &Bound<'_, SocketTransport>, method: &str) -> PyResult<()> {
        let py = transport.py();
        let Some(protocol) = transport.get().protocol_of(py) else {
            return Ok(());
        };
        let called = || {
            // A copy, because the caller may be in the context itself, which cannot be entered again.
            let context = self.context.bind(py).call_method0(intern!(py, "copy"))?;
            context::call_method(&context, &protocol, &PyString::intern(py, method), [])
        };
        match called() {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = format!("protocol.{method}() failed");
                self.report(transport, &message, error, Some(&protocol))
            }
        }
    }
}

#[pymethods]
impl SocketTransport {
    #[getter(_protocol_paused)]
    fn protocol_paused(&self, py: Python<'_>) -> bool {
        self.state(py).write_flow.paused.get()
    }

    fn get_write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        let transport = self.state(py).transport()?;
        Ok(transport.as_ref().map_or(0, Transport::queued))
    }

    /// The low and the high mark of the write buffer.
    fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        let flow = &self.state(py).write_flow;
        (flow.low.get(), flow.high.get())
    }

    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let link = state.transport()?;
        let high = high.unwrap_or_else(|| low.map_or(HIGH_WATER, |low| low.saturating_mul(4)));
        let low = low.unwrap_or(high / 4);
        let (Ok(low_bytes), Ok(high_bytes), true) =
            (usize::try_from(low), usize::try_from(high), high >= low)
        else {
            let message = format!("high ({high}) must be >= low ({low}) must be >= 0");
            return Err(PyValueError::new_err(message));
        };
        state.write_flow.low.set(low_bytes);
        state.write_flow.high.set(high_bytes);
        if let Some(link) = link {
            link.set_water_marks(low_bytes, high_bytes);
            state.pause_if_full(slf, &link)?;
        }
        Ok(())
    }
}
