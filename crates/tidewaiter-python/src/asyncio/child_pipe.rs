//! The Python class `ChildPipe`: our end of a pipe to a child.

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{ChildFd, Producer, ProducerKind, Transport};

use crate::asyncio::child::AsyncioChild;
use crate::core::lock::Locked;
use crate::core::slot::Slot;

/// Written data of at least this size is referenced instead of copied. For less, a copy is cheaper.
const KEPT_BYTES: usize = 8 * 1024;

struct State {
    transport: Transport,
    slot: Slot<AsyncioChild>,
    child_fd: ChildFd,
}

/// Our end of a pipe to a child.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct ChildPipe(Locked<State>);

#[pymethods]
impl AsyncioChild {
    /// Our end of the pipe at the child's descriptor `child_fd`.
    fn pipe(&self, py: Python<'_>, child_fd: ChildFd) -> PyResult<ChildPipe> {
        match (self.transport(py, child_fd), self.slot(py)) {
            (Some(transport), Some(slot)) => Ok(ChildPipe(Locked::new(State {
                transport,
                slot,
                child_fd,
            }))),
            _ => Err(PyValueError::new_err(format!(
                "there is no pipe at {child_fd}"
            ))),
        }
    }
}

impl ChildPipe {
    /// The transport, for a call from the loop's thread; `None` in a forked child, or once the loop is gone.
    fn transport<'a>(&'a self, py: Python<'a>) -> PyResult<Option<&'a Transport>> {
        let state = self.0.get(py);
        match state.slot.event_loop() {
            Some(event_loop) if !event_loop.is_copy() => {
                event_loop.check_thread()?;
                Ok(Some(&state.transport))
            }
            _ => Ok(None),
        }
    }
}

/// Registered with a congested transport, to learn when the queue is empty.
struct Drained {
    slot: Slot<AsyncioChild>,
    child_fd: ChildFd,
}

impl Producer for Drained {
    // It is registered as a pull producer, which is never paused.
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        let child_fd = self.child_fd;
        self.slot.call("_pipe_drained", |child| {
            let py = child.py();
            if let Some(transport) = child.get().transport(py, child_fd) {
                transport.unregister_producer();
            }
            child
                .get()
                .tell(intern!(py, "_pipe_drained"), Some(child_fd.into()))
        });
    }
}

#[pymethods]
impl ChildPipe {
    /// Sends `data`. Returns whether the queue exceeds the limit now; the owner's `_pipe_drained` follows then.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let Some(transport) = self.transport(py)? else {
            return Ok(false);
        };
        let bytes = data.as_bytes();
        if bytes.len() < KEPT_BYTES || !data.is_exact_instance_of::<PyBytes>() {
            transport.write(bytes);
        } else {
            transport.write_bytes(Bytes::from_owner(PyBackedBytes::from(data.clone())));
        }
        let congested = transport.is_congested();
        if congested {
            let state = self.0.get(py);
            let drained = Drained {
                slot: state.slot.clone(),
                child_fd: state.child_fd,
            };
            transport.register_producer(drained, ProducerKind::Pull);
        }
        Ok(congested)
    }

    /// How many written bytes are not yet sent.
    fn queued(&self, py: Python<'_>) -> usize {
        self.0.get(py).transport.queued()
    }

    /// How many of the written bytes were never sent, once the pipe is closed.
    fn unsent(&self, py: Python<'_>) -> usize {
        self.0.get(py).transport.unsent()
    }

    /// Sets the number of queued bytes above which the pipe is congested, and the number at which that ends.
    fn set_limits(&self, py: Python<'_>, low: usize, high: usize) -> PyResult<()> {
        if let Some(transport) = self.transport(py)? {
            transport.set_water_marks(low, high);
        }
        Ok(())
    }

    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(transport) = self.transport(py)? {
            transport.pause_producing();
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(transport) = self.transport(py)? {
            transport.resume_producing();
        }
        Ok(())
    }

    /// Closes the pipe: once everything written is sent, or at once if `now` is true.
    fn close(&self, py: Python<'_>, now: bool) -> PyResult<()> {
        if let Some(transport) = self.transport(py)? {
            transport.unregister_producer();
            if now {
                transport.abort_connection();
            } else {
                transport.lose_connection();
            }
        }
        Ok(())
    }

    /// Ends our side of a pipe that goes both ways, once everything written is sent.
    fn write_eof(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(transport) = self.transport(py)? {
            transport.unregister_producer();
            transport.lose_write_connection();
        }
        Ok(())
    }

    /// The OS's number of our end, until it is closed; then `None`.
    fn descriptor(&self, py: Python<'_>) -> PyResult<Option<RawDescriptor>> {
        let transport = self.transport(py)?;
        Ok(transport.and_then(Transport::raw_descriptor))
    }
}
