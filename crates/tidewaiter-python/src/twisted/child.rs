//! The Python class `Child`: a child process.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::{Rc, Weak};

use pyo3::exceptions::{PyAttributeError, PyProcessLookupError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{ChildFd, Process, ProcessProtocol};

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, raised};
use crate::core::lock::Locked;
use crate::core::program::{Program, encoded};
use crate::twisted::stream::{Bridge, Stream};

struct State {
    process: RefCell<Option<Process>>,
    event_loop: RefCell<Weak<Loop>>,
    protocol: RefCell<Option<Py<PyAny>>>,
}

/// A child process. To be subclassed.
///
/// The loop calls on the subclass: `proto.childDataReceived(childFD, data)`, `_childFailed(childFD, exception)` if
/// that raised an exception, `_childConnectionLost(childFD)` and `_childExited(status)`.
#[pyclass(frozen, subclass, module = "tidewaiter._tidewaiter")]
pub(crate) struct Child(Locked<State>);

/// The process protocol of every child: passes each event on to the child's Python object.
struct ChildBridge {
    home: Weak<Loop>,
    slot: Rc<Cell<Option<usize>>>,
}

impl ChildBridge {
    fn enter(&self, call: impl FnOnce(&Loop, &Bound<'_, Child>) -> PyResult<()>) {
        let (Some(event_loop), Some(slot)) = (self.home.upgrade(), self.slot.get()) else {
            return;
        };
        Python::attach(|py| {
            let child = match event_loop.children.borrow().get(slot) {
                Some(child) => child.bind(py).clone(),
                None => return,
            };
            if let Err(error) = call(&event_loop, &child) {
                event_loop.report("child", &error, child.as_any());
            }
        });
    }
}

impl ProcessProtocol for ChildBridge {
    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        self.enter(|event_loop, child| {
            let py = child.py();
            let Some(protocol) = child.get().protocol_of(py) else {
                return Ok(());
            };
            let called = event_loop.call(&protocol, "childDataReceived", || {
                let data = PyBytes::new(py, data);
                protocol.call_method1(intern!(py, "childDataReceived"), (child_fd, data))
            });
            match called {
                Ok(_) => Ok(()),
                Err(error) => child
                    .call_method1(intern!(py, "_childFailed"), (child_fd, raised(py, &error)))
                    .map(drop),
            }
        });
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd) {
        self.enter(|event_loop, child| {
            event_loop.call(&Child::named(child), "_childConnectionLost", || {
                child.call_method1(intern!(child.py(), "_childConnectionLost"), (child_fd,))
            })?;
            Ok(())
        });
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.enter(|event_loop, child| {
            event_loop.call(&Child::named(child), "_childExited", || {
                child.call_method1(intern!(child.py(), "_childExited"), (encoded(status),))
            })?;
            Ok(())
        });
    }

    fn process_ended(&mut self, _: &Process, _: ExitStatus) {
        let (Some(event_loop), Some(slot)) = (self.home.upgrade(), self.slot.take()) else {
            return;
        };
        let child = event_loop.children.borrow_mut().remove(slot);
        Python::attach(|_| drop(child));
    }
}

#[pymethods]
impl Child {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Child {
        Child(Locked::new(State {
            process: RefCell::new(None),
            event_loop: RefCell::new(Weak::new()),
            protocol: RefCell::new(None),
        }))
    }

    /// Starts the program and returns its process ID. Returns `None` if the child process could not execute the
    /// program, for instance because the program does not exist.
    fn _spawn(slf: &Bound<'_, Self>, core: &Core, program: Program) -> PyResult<Option<u32>> {
        let py = slf.py();
        let event_loop = core.enter(py)?;
        let slot = Rc::new(Cell::new(None));
        let bridge = ChildBridge {
            home: Rc::downgrade(&event_loop),
            slot: Rc::clone(&slot),
        };
        let process = match event_loop
            .reactor
            .spawn_process(&program.command()?, bridge)
        {
            Ok(process) => process,
            Err(error) if error.is_in_child() && !cfg!(windows) => return Ok(None),
            Err(error) => return Err(os_error(&error.to_string(), &error.source)),
        };
        // A stopping reactor must not kill the application's children: Twisted leaves them running.
        process.detach();
        let state = slf.get().0.get(py);
        state.event_loop.replace(Rc::downgrade(&event_loop));
        slot.set(Some(
            event_loop
                .children
                .borrow_mut()
                .insert(slf.clone().unbind()),
        ));
        let pid = process.pid();
        state.process.replace(Some(process));
        Ok(Some(pid))
    }

    /// Connects `stream` to the pipe at the child's descriptor `child_fd`.
    fn _pipe(&self, py: Python<'_>, child_fd: ChildFd, stream: &Bound<'_, Stream>) -> PyResult<()> {
        let state = self.0.get(py);
        let process = state.process.borrow().clone();
        let event_loop = state.event_loop.borrow().upgrade();
        let (Some(process), Some(event_loop)) = (process, event_loop) else {
            return Err(PyRuntimeError::new_err("no process was started"));
        };
        event_loop.check_thread()?;
        let transport = process
            .pipe(child_fd)
            .ok_or_else(|| PyAttributeError::new_err(format!("there is no pipe at {child_fd}")))?;
        Bridge::new(Rc::downgrade(&event_loop), None).lead_to(stream, &event_loop);
        Stream::open(stream, &transport);
        Ok(())
    }

    /// Kills the process.
    fn _kill(&self, py: Python<'_>) -> PyResult<()> {
        self.send(py, Signal::Kill)
    }

    /// Sends the signal with this number to the process, but not to its descendants (Unix).
    fn _send_signal(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        self.send(py, Signal::Number(number))
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
    /// Sends a signal by way of the reactor, which knows whether the process ID still belongs to the child.
    fn send(&self, py: Python<'_>, signal: Signal) -> PyResult<()> {
        let state = self.0.get(py);
        if let Some(event_loop) = state.event_loop.borrow().upgrade() {
            event_loop.check_thread()?;
        }
        let process = state.process.borrow().clone();
        let process =
            process.ok_or_else(|| PyProcessLookupError::new_err("no process was started"))?;
        match process.signal(signal, SignalTarget::Process) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(PyProcessLookupError::new_err(error.to_string()))
            }
            sent => sent.map_err(|error| os_error("signal", &error)),
        }
    }

    /// The object to name in a report of a slow callback: the protocol, if there is one.
    fn named<'py>(child: &Bound<'py, Child>) -> Bound<'py, PyAny> {
        let protocol = child.get().protocol_of(child.py());
        protocol.unwrap_or_else(|| child.as_any().clone())
    }

    fn protocol_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.0.get(py).protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }
}
