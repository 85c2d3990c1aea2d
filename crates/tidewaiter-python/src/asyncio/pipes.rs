//! The Python class `AsyncioPipe`: the stream below one of asyncio's transports for a descriptor of the application's.

use std::cell::{Cell, OnceCell, RefCell};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Producer, ProducerKind, Protocol, Reason, Transport};

use crate::asyncio::exceptions::leave_loop;
use crate::asyncio::face::AsyncioLoop;
use crate::asyncio::owner::{Owner, bytes_of};
use crate::core::event_loop::Loop;
use crate::core::failures::os_error;
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};

struct State {
    owner: Owner,
    reads: bool,
    /// This pipe's place in its loop's table.
    slot: OnceCell<Slot<AsyncioPipe>>,
    /// Set until the stream has ended.
    link: RefCell<Option<Transport>>,
    /// With more bytes queued, the protocol is asked to pause.
    high: Cell<usize>,
    /// Whether the protocol was asked to pause.
    is_paused: Cell<bool>,
    is_closing: Cell<bool>,
}

/// A pipe, terminal, socket or device that one of asyncio's transports reads or writes. It stays the application's.
///
/// The loop calls `data_received` and `eof_received` of the protocol, and `_pause_writing(None)`, `_resume_writing(None)`,
/// `_lost_write(None)` and `_ended(exception)` of the transport.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct AsyncioPipe(Locked<State>);

impl Callee for AsyncioPipe {
    const KIND: &'static str = "pipe";

    fn named<'py>(pipe: &Bound<'py, AsyncioPipe>) -> Bound<'py, PyAny> {
        let protocol = pipe.get().state(pipe.py()).owner.protocol(pipe.py());
        protocol.unwrap_or_else(|| pipe.as_any().clone())
    }

    /// Calls return only the exceptions that are to leave the loop.
    fn failed(pipe: &Bound<'_, AsyncioPipe>, event_loop: &Loop, error: &PyErr) {
        leave_loop(event_loop, pipe.py(), error);
    }
}

impl AsyncioPipe {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }
}

/// The protocol of every pipe, and its producer while it is full: finds the pipe's Python object and calls it.
struct Bridge(Slot<AsyncioPipe>);

impl Bridge {
    /// Calls the pipe's object. An exception is reported as one of the protocol's `method`, and the pipe goes on.
    fn call(&self, method: &str, call: impl FnOnce(Python<'_>, &State) -> PyResult<()>) {
        self.0.call(method, |pipe| {
            let py = pipe.py();
            let state = pipe.get().state(py);
            call(py, state).or_else(|error| state.owner.report(py, method, error))?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl Protocol for Bridge {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.call("data_received", |py, state| {
            let data = PyBytes::new(py, data).into_any();
            state
                .owner
                .call(intern!(py, "data_received"), [&data])
                .map(drop)
        });
    }

    fn connection_lost(&mut self, link: &Transport, reason: Reason) {
        let is_unsent = link.unsent() > 0;
        let has_ended = reason.is_done();
        self.0.call_last("connection_lost", |pipe| {
            let py = pipe.py();
            let state = pipe.get().state(py);
            drop(state.link.take());
            if !state.is_closing.replace(true) && has_ended && state.reads {
                state.tell_end_of_file(py)?;
            }
            let error = match reason {
                // The reader of what we write is gone, and took everything.
                Reason::Reset(_) if !is_unsent => None,
                Reason::Reset(error) | Reason::TimedOut(error) => Some(os_error("pipe", &error)),
                Reason::Os { call, source } => Some(os_error(call, &source)),
                _ => None,
            };
            state.owner.tell_ended(py, error)?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl Producer for Bridge {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.call("resume_writing", |py, state| {
            // A close that waits for the queue would wait for the producer as well.
            if let Some(link) = state.link.borrow().clone() {
                link.unregister_producer();
            }
            state.is_paused.set(false);
            state.owner.tell(intern!(py, "_resume_writing"), None)
        });
    }
}

impl State {
    /// Tells the protocol, whose transport ends by this, that everything was read.
    fn tell_end_of_file(&self, py: Python<'_>) -> PyResult<()> {
        self.owner.tell(intern!(py, "_is_over"), None)?;
        match self.owner.call(intern!(py, "eof_received"), []) {
            Ok(_) => Ok(()),
            Err(error) => self.owner.report(py, "eof_received", error),
        }
    }

    /// The stream, until it has ended. Raises if this thread may not use the loop. There is none if the loop
    /// is gone, and in a forked child if it belongs to the parent, so that calls have no effect there.
    fn link(&self) -> PyResult<Option<Transport>> {
        let event_loop = self.slot.get().and_then(Slot::event_loop);
        match event_loop.filter(|event_loop| !event_loop.is_copy()) {
            Some(event_loop) => event_loop.check_thread()?,
            None => return Ok(None),
        }
        Ok(self.link.borrow().clone())
    }

    /// Asks the protocol to pause if too much is queued.
    fn pause_if_full(&self, py: Python<'_>, link: &Transport) -> PyResult<()> {
        if link.queued() <= self.high.get() || self.is_paused.replace(true) {
            return Ok(());
        }
        if let Some(slot) = self.slot.get() {
            link.register_producer(Bridge(slot.clone()), ProducerKind::Push);
        }
        self.owner.tell(intern!(py, "_pause_writing"), None)
    }
}

#[pymethods]
impl AsyncioLoop {
    /// Opens the descriptor with this number, or this handle of Windows, to be read or written. It stays the
    /// application's. Nothing is received until `resume`.
    fn _open_pipe(
        slf: &Bound<'_, Self>,
        descriptor: RawDescriptor,
        reads: bool,
        owner: Py<PyAny>,
        protocol: Py<PyAny>,
    ) -> PyResult<Py<AsyncioPipe>> {
        let py = slf.py();
        let event_loop = slf.get().open(py)?;
        event_loop.check_thread()?;
        let state = State {
            owner: Owner::new(slf, owner, protocol)?,
            reads,
            slot: OnceCell::new(),
            link: RefCell::new(None),
            high: Cell::new(usize::MAX),
            is_paused: Cell::new(false),
            is_closing: Cell::new(false),
        };
        let pipe = Bound::new(py, AsyncioPipe(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &pipe);
        let bridge = Bridge(slot.clone());
        let (input, output) = match reads {
            true => (Some(descriptor), None),
            false => (None, Some(descriptor)),
        };
        match event_loop.reactor.open_descriptors(input, output, bridge) {
            Ok(link) => {
                link.pause_producing();
                let state = pipe.get().state(py);
                state.link.replace(Some(link));
                // `set` cannot fail: the cell is empty until here.
                let _ = state.slot.set(slot);
                Ok(pipe.unbind())
            }
            Err(error) => {
                slot.remove();
                Err(os_error("open", &error))
            }
        }
    }
}

#[pymethods]
impl AsyncioPipe {
    /// Writes `data`, together with everything else that is written in this turn of the loop.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = bytes_of(data)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let state = self.state(py);
        let link = state.link()?.filter(|_| !state.is_closing.get());
        let Some(link) = link else {
            return state.owner.tell(intern!(py, "_lost_write"), None);
        };
        link.write(&bytes);
        state.pause_if_full(py, &link)
    }

    /// How many bytes the OS has not taken yet.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        let link = self.state(py).link.borrow();
        link.as_ref().map_or(0, Transport::queued)
    }

    /// Asks the protocol to pause while more than `high` bytes are queued, until there are no more than `low`.
    fn set_marks(&self, py: Python<'_>, low: usize, high: usize) -> PyResult<()> {
        let state = self.state(py);
        state.high.set(high);
        match state.link()? {
            Some(link) => {
                link.set_water_marks(low, high);
                state.pause_if_full(py, &link)
            }
            None => Ok(()),
        }
    }

    /// Receives nothing until `resume`.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(link) = self.state(py).link()? {
            link.pause_producing();
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        if let Some(link) = state.link()?
            && !state.is_closing.get()
        {
            link.resume_producing();
        }
        Ok(())
    }

    /// Ends the stream: once everything queued is written, or at once. `_ended` of the owner follows from the loop.
    fn close(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        let state = self.state(py);
        let Some(link) = state.link()? else {
            return Ok(());
        };
        state.is_closing.set(true);
        if at_once {
            link.release_connection();
        } else {
            link.lose_connection();
        }
        Ok(())
    }

    fn set_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        self.state(py).owner.set_protocol(protocol);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.visited().owner.traverse(&visit)
    }

    fn __clear__(&self) {
        Python::attach(|py| self.state(py).owner.clear());
    }
}
