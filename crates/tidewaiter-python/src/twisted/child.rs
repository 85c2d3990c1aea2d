//! The Python class `Child`: a child process.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use pyo3::exceptions::{PyAttributeError, PyProcessLookupError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason};

use crate::core::children;
use crate::core::failures::{os_error, raised};
use crate::core::lock::Locked;
use crate::core::program::{Program, encoded};
use crate::core::slot::{Callee, Slot};
use crate::twisted::context::LogContext;
use crate::twisted::face::TwistedLoop;
use crate::twisted::stream::Stream;

/// The parts of a child that are known once its process was started.
#[derive(Clone)]
struct Started {
    process: Process,
    slot: Slot<Child>,
    log: Weak<LogContext>,
}

struct State {
    started: RefCell<Option<Started>>,
    protocol: RefCell<Option<Py<PyAny>>>,
}

/// A child process. To be subclassed.
///
/// The loop calls on the subclass: `proto.childDataReceived(childFD, data)`, `_childFailed(childFD, exception)` if
/// that raised an exception, `_childConnectionLost(childFD)`, `_childExited(status)` and, once all its handles are
/// closed, `_childEnded()`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Child(Locked<State>);

impl Callee for Child {
    const KIND: &'static str = "child";

    fn named<'py>(child: &Bound<'py, Child>) -> Bound<'py, PyAny> {
        let protocol = child.get().protocol_of(child.py());
        protocol.unwrap_or_else(|| child.as_any().clone())
    }
}

/// The process protocol of every child: passes each event on to the child's Python object.
struct ChildBridge(Slot<Child>);

impl ProcessProtocol for ChildBridge {
    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        self.0.call("childDataReceived", |child| {
            let py = child.py();
            let Some(protocol) = child.get().protocol_of(py) else {
                return Ok(py.None().into_bound(py));
            };
            let data = PyBytes::new(py, data);
            let received =
                protocol.call_method1(intern!(py, "childDataReceived"), (child_fd, data));
            received.or_else(|error| {
                child.call_method1(intern!(py, "_childFailed"), (child_fd, raised(py, &error)))
            })
        });
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, _: Reason) {
        self.0.call("_childConnectionLost", |child| {
            child.call_method1(intern!(child.py(), "_childConnectionLost"), (child_fd,))
        });
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.0.call("_childExited", |child| {
            child.call_method1(intern!(child.py(), "_childExited"), (encoded(status),))
        });
    }

    fn process_ended(&mut self, _: &Process, _: ExitStatus) {
        self.0.call_last("_childEnded", |child| {
            child.call_method0(intern!(child.py(), "_childEnded"))
        });
    }
}

#[pymethods]
impl Child {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Child {
        Child(Locked::new(State {
            started: RefCell::new(None),
            protocol: RefCell::new(None),
        }))
    }

    /// Starts the program and returns its process ID. Returns `None` if the child process could not execute the
    /// program, for instance because the program does not exist.
    fn _spawn(
        slf: &Bound<'_, Self>,
        twisted_loop: &TwistedLoop,
        program: &Bound<'_, PyAny>,
    ) -> PyResult<Option<u32>> {
        let py = slf.py();
        let event_loop = twisted_loop.enter(py)?;
        let command = Program::read(program)?.command()?;
        let slot = Slot::new(&event_loop, slf);
        let bridge = ChildBridge(slot.clone());
        let process = match event_loop.reactor.spawn_process(&command, bridge) {
            Ok(process) => process,
            Err(error) => {
                slot.remove();
                if error.is_in_child() && !cfg!(windows) {
                    return Ok(None);
                }
                let said = error.to_string();
                // The exception has the cause, too.
                let cause = format!(": {}", error.source);
                let what = said.strip_suffix(&cause).unwrap_or(&said);
                return Err(os_error(what, &error.source));
            }
        };
        // A stopping reactor must not kill the application's children: Twisted leaves them running.
        process.detach();
        let pid = process.pid();
        slf.get().0.get(py).started.replace(Some(Started {
            process,
            slot,
            log: Rc::downgrade(&twisted_loop.face(py).log),
        }));
        Ok(Some(pid))
    }

    /// Connects `stream` to the pipe at the child's descriptor `child_fd`.
    fn _pipe(&self, py: Python<'_>, child_fd: ChildFd, stream: &Bound<'_, Stream>) -> PyResult<()> {
        let started = self.0.get(py).started.borrow().clone();
        let event_loop = started
            .as_ref()
            .and_then(|started| started.slot.event_loop());
        let (Some(Started { process, log, .. }), Some(event_loop)) = (started, event_loop) else {
            return Err(PyRuntimeError::new_err("no process was started"));
        };
        event_loop.check_thread()?;
        let transport = process
            .pipe(child_fd)
            .ok_or_else(|| PyAttributeError::new_err(format!("there is no pipe at {child_fd}")))?;
        Stream::enlist(stream, &event_loop, log);
        Stream::open(stream, &transport);
        Ok(())
    }

    /// Kills the process.
    fn _kill(&self, py: Python<'_>) -> PyResult<()> {
        children::signal(&self.process(py)?, Signal::Kill, SignalTarget::Process)
    }

    /// Sends the signal with this number to the process, but not to its descendants (Unix).
    fn _send_signal(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        children::signal(
            &self.process(py)?,
            Signal::Number(number),
            SignalTarget::Process,
        )
    }

    /// Sets the size of the process's terminal.
    fn _resize(&self, py: Python<'_>, rows: u16, columns: u16) -> PyResult<()> {
        children::resize(&self.process(py)?, rows, columns)
    }

    #[getter]
    fn proto<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol_of(py)
    }

    #[setter]
    fn set_proto(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let replaced = self.0.get(py).protocol.replace(value);
        drop(replaced);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.visited().protocol.try_borrow() {
            Ok(protocol) => visit.call(&*protocol),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = Python::attach(|py| self.0.get(py).protocol.take());
        drop(cleared);
    }
}

impl Child {
    /// The process that was started, for a call from the loop's thread.
    fn process(&self, py: Python<'_>) -> PyResult<Process> {
        let started = self.0.get(py).started.borrow().clone();
        let Some(Started { process, slot, .. }) = started else {
            return Err(PyProcessLookupError::new_err("no process was started"));
        };
        if let Some(event_loop) = slot.event_loop() {
            event_loop.check_thread()?;
        }
        Ok(process)
    }

    fn protocol_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.0.get(py).protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }
}
