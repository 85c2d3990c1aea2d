//! Python's producers. Unlike the library's, they are paused inside the write that fills the buffer, because they write
//! in a loop until they are paused.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::{Producer, ProducerKind, Transport};

use super::passing::Passing;
use super::{State, Stream};
use crate::core::slot::Slot;

#[derive(Default)]
pub(super) struct Producing {
    producer: RefCell<Option<Py<PyAny>>>,
    streaming: Cell<bool>,
    paused: Cell<bool>,
    /// Whether data was written since the queue was last empty.
    owed: Cell<bool>,
    /// Descriptors, which fill the queue as well.
    pub(super) passing: Passing,
}

impl Producing {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.producer.try_borrow() {
            Ok(producer) => visit.call(&*producer),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn take(&self) -> Option<Py<PyAny>> {
        self.producer.take()
    }

    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let producer = self.producer.borrow();
        producer.as_ref().map(|producer| producer.bind(py).clone())
    }

    /// The producer, if it must be told when the queue is empty: a pull producer, or a paused push producer.
    fn waiting<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let waits = !self.streaming.get() || self.paused.get();
        self.get(py).filter(|_| waits)
    }
}

/// Registered with the transport to learn when the queue is empty.
struct Drained(Slot<Stream>);

impl Producer for Drained {
    // It is registered as a pull producer, which is never paused.
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.0.call("resumeProducing", |stream| {
            let py = stream.py();
            let state = stream.get().state(py);
            let owed = state.producing.owed.replace(false);
            match state.producing.waiting(py) {
                Some(producer) if owed => {
                    state.producing.paused.set(false);
                    return producer.call_method0(intern!(py, "resumeProducing"));
                }
                Some(_) => {}
                None if state.disconnecting.get() => state.let_end_after_next_wait(),
                None => state.let_end(py)?,
            }
            Ok(py.None().into_bound(py))
        });
    }
}

impl State {
    /// To be called after a write: pauses a push producer if the queue exceeds `bufferSize`.
    pub(super) fn wrote(&self, stream: &Bound<'_, Stream>, transport: &Transport) -> PyResult<()> {
        let producing = &self.producing;
        producing.owed.set(true);
        let queued = transport.queued();
        let is_full = queued > self.buffer_size.get() || producing.passing.is_full(queued);
        if !producing.streaming.get() || !is_full {
            return Ok(());
        }
        let py = stream.py();
        let Some(producer) = producing.get(py) else {
            return Ok(());
        };
        if !producing.paused.replace(true) {
            self.listen_for_drain(transport);
        }
        producer
            .call_method0(intern!(py, "pauseProducing"))
            .map(drop)
    }

    /// To be called when the connection opens: starts a pull producer that was registered before.
    pub(super) fn resume_pull_producer(&self, transport: &Transport) {
        let registered = self.producing.producer.borrow().is_some();
        if registered && !self.producing.streaming.get() {
            self.listen_for_drain(transport);
        }
    }

    /// Lets a requested end happen once the queue is sent, unless a producer still waits to write.
    pub(super) fn let_end(&self, py: Python<'_>) -> PyResult<()> {
        if self.producing.waiting(py).is_none()
            && let Some(transport) = self.transport()?
        {
            transport.unregister_producer();
        }
        Ok(())
    }

    /// As [`let_end`](State::let_end), but after the loop's next wait, as in Twisted's own reactors: events that the wait
    /// brings, for instance from the connection's other end in this process, come first.
    fn let_end_after_next_wait(&self) {
        let (Some(event_loop), Some(slot)) = (self.event_loop(), self.slot()) else {
            return;
        };
        event_loop.after_next_wait(move || {
            slot.find(|_, stream| {
                // This fails only in another thread than the loop's, or in a forked child, which has nothing to end.
                let _ = stream.get().state(stream.py()).let_end(stream.py());
            });
        });
    }

    /// To be called before an end is requested: keeps the stream writable until the queue is sent.
    pub(super) fn hold_end_open(&self, transport: &Transport) {
        self.producing.owed.set(true);
        self.listen_for_drain(transport);
    }

    /// Registers with the transport, which then reports when the queue is empty, and does not close before it has.
    pub(super) fn listen_for_drain(&self, transport: &Transport) {
        if let Some(slot) = self.slot() {
            transport.register_producer(Drained(slot), ProducerKind::Pull);
        }
    }
}

#[pymethods]
impl Stream {
    /// Registers `producer`: with the TLS protocol if TLS was started, otherwise with this stream.
    #[pyo3(name = "registerProducer")]
    fn register_producer(
        slf: &Bound<'_, Self>,
        producer: &Bound<'_, PyAny>,
        streaming: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        if !slf.get().state(py).tls.get() {
            return Stream::_register_producer(slf, producer, streaming);
        }
        let protocol = slf.get().protocol(py)?;
        protocol
            .call_method1(intern!(py, "registerProducer"), (producer, streaming))
            .map(drop)
    }

    #[pyo3(name = "unregisterProducer")]
    fn unregister_producer(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if !slf.get().state(py).tls.get() {
            return Stream::_unregister_producer(slf);
        }
        let protocol = slf.get().protocol(py)?;
        protocol
            .call_method0(intern!(py, "unregisterProducer"))
            .map(drop)
    }

    #[pyo3(name = "_registerProducer")]
    fn _register_producer(
        slf: &Bound<'_, Self>,
        producer: &Bound<'_, PyAny>,
        streaming: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let state = slf.get().state(py);
        let transport = state.transport()?;
        let producing = &state.producing;
        if let Some(present) = producing.get(py) {
            return Err(PyRuntimeError::new_err(format!(
                "Cannot register producer {producer}, because producer {present} was never unregistered."
            )));
        }
        if state.disconnected.get() {
            return producer
                .call_method0(intern!(py, "stopProducing"))
                .map(drop);
        }
        producing.producer.replace(Some(producer.clone().unbind()));
        producing.streaming.set(streaming.is_truthy()?);
        producing.paused.set(false);
        if producing.streaming.get() {
            return Ok(());
        }
        if let Some(transport) = transport {
            producing.owed.set(transport.queued() > 0);
            state.listen_for_drain(&transport);
        }
        producer
            .call_method0(intern!(py, "resumeProducing"))
            .map(drop)
    }

    #[pyo3(name = "_unregisterProducer")]
    fn _unregister_producer(slf: &Bound<'_, Self>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let transport = state.transport()?;
        let producer = state.producing.take();
        state.producing.streaming.set(false);
        drop(producer);
        if let Some(transport) = transport {
            if state.disconnecting.get() || state.write_disconnecting.get() {
                // When the queue is empty, the loop finds no producer and lets the end happen. Until then, Python may
                // write more.
                state.listen_for_drain(&transport);
            } else {
                transport.unregister_producer();
            }
        }
        Ok(())
    }

    #[getter]
    fn producer<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state(py).producing.get(py)
    }

    #[setter]
    fn set_producer(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let replaced = self.state(py).producing.producer.replace(value);
        drop(replaced);
    }

    #[getter(streamingProducer)]
    fn streaming_producer(&self, py: Python<'_>) -> bool {
        self.state(py).producing.streaming.get()
    }

    #[getter(producerPaused)]
    fn producer_paused(&self, py: Python<'_>) -> bool {
        self.state(py).producing.paused.get()
    }
}
