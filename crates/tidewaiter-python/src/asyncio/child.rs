//! The Python class `AsyncioChild`: a child process as asyncio's transports of subprocesses use it.

use std::cell::RefCell;

use pyo3::exceptions::{PyProcessLookupError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason, Transport};

use crate::asyncio::streams::{AsyncioStream, WeakStream};
use crate::core::children;
use crate::core::class::Core;
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, raised};
use crate::core::lock::Locked;
use crate::core::program::{Program, return_code};
use crate::core::slot::{Callee, Slot};

/// The parts of a child that are known once its process was started.
#[derive(Clone)]
struct Started {
    process: Process,
    slot: Slot<AsyncioChild>,
}

/// The Python objects of a child, until it is over.
struct Objects {
    /// The transport, which the loop calls.
    owner: Py<PyAny>,
    protocol: Py<PyAny>,
    /// The context in which the loop calls them.
    context: Py<PyAny>,
}

struct State {
    started: RefCell<Option<Started>>,
    objects: RefCell<Option<Objects>>,
    /// The streams that take what arrives from the child's descriptors, in place of the protocol.
    streams: RefCell<Vec<(ChildFd, WeakStream)>>,
}

/// A child process.
///
/// The loop calls `protocol.pipe_data_received(fd, data)`, and on the owner `_pipe_lost(fd, exception)`, `_pipe_drained(fd)`,
/// `_exited(returncode)`, once all its handles are closed `_ended()`, and `_failed(exception)` if one of these raised
/// an exception.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct AsyncioChild(Locked<State>);

impl Callee for AsyncioChild {
    const KIND: &'static str = "child";

    fn named<'py>(child: &Bound<'py, AsyncioChild>) -> Bound<'py, PyAny> {
        let py = child.py();
        let protocol = child.get().object(py, |objects| &objects.protocol);
        protocol.unwrap_or_else(|| child.as_any().clone())
    }

    /// Passes the exception to the owner, which raises what is to end the loop.
    fn failed(child: &Bound<'_, AsyncioChild>, event_loop: &Loop, error: &PyErr) {
        let py = child.py();
        if let Some(owner) = child.get().object(py, |objects| &objects.owner)
            && let Err(error) = owner.call_method1(intern!(py, "_failed"), (raised(py, error),))
        {
            event_loop.hooks.raise_from_turn(error);
        }
    }
}

impl AsyncioChild {
    fn object<'py>(
        &self,
        py: Python<'py>,
        which: impl FnOnce(&Objects) -> &Py<PyAny>,
    ) -> Option<Bound<'py, PyAny>> {
        let objects = self.0.get(py).objects.borrow();
        objects
            .as_ref()
            .map(|objects| which(objects).bind(py).clone())
    }

    /// The transport of the pipe at the child's descriptor `child_fd`, while it is open.
    pub(super) fn transport(&self, py: Python<'_>, child_fd: ChildFd) -> Option<Transport> {
        let started = self.0.get(py).started.borrow();
        started.as_ref()?.process.pipe(child_fd)
    }

    fn stream(&self, py: Python<'_>, child_fd: ChildFd) -> Option<WeakStream> {
        let streams = self.0.get(py).streams.borrow();
        let found = streams.iter().find(|(fd, _)| *fd == child_fd)?;
        Some(found.1.clone())
    }

    /// The child's place in its loop's table, once its process was started.
    pub(super) fn slot(&self, py: Python<'_>) -> Option<Slot<AsyncioChild>> {
        let started = self.0.get(py).started.borrow();
        started.as_ref().map(|started| started.slot.clone())
    }

    /// Calls a method of one of the objects in the child's context.
    fn call<'py, const N: usize>(
        &self,
        which: impl FnOnce(&Objects) -> &Py<PyAny>,
        method: &Bound<'py, PyString>,
        args: [&Bound<'py, PyAny>; N],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = method.py();
        let context = self.object(py, |objects| &objects.context);
        match context.zip(self.object(py, which)) {
            Some((context, object)) => context::call_method(&context, &object, method, args),
            None => Ok(py.None().into_bound(py)),
        }
    }

    /// Calls a method of the owner in the child's context.
    pub(super) fn tell<'py>(
        &self,
        method: &Bound<'py, PyString>,
        argument: Option<i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(argument) = argument else {
            return self.call(|objects| &objects.owner, method, []);
        };
        let argument = argument.into_pyobject(method.py())?;
        self.call(|objects| &objects.owner, method, [argument.as_any()])
    }
}

/// The process protocol of every child: passes each event on to the child's Python objects.
struct ChildBridge(Slot<AsyncioChild>);

impl ProcessProtocol for ChildBridge {
    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        self.0.call("pipe_data_received", |child| {
            let py = child.py();
            if let Some(stream) = child.get().stream(py, child_fd) {
                stream.feed(py, data)?;
                return Ok(py.None().into_bound(py));
            }
            let received = intern!(py, "pipe_data_received");
            let (child_fd, data) = (child_fd.into_pyobject(py)?, PyBytes::new(py, data));
            let args = [child_fd.as_any(), data.as_any()];
            child
                .get()
                .call(|objects| &objects.protocol, received, args)
        });
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, reason: Reason) {
        self.0.call("_pipe_lost", |child| {
            let py = child.py();
            let cause = match reason {
                Reason::Reset(error) | Reason::TimedOut(error) => Some(os_error("pipe", &error)),
                Reason::Os { call, source } => Some(os_error(call, &source)),
                _ => None,
            };
            let (child_fd, cause) = (
                child_fd.into_pyobject(py)?,
                cause.map(|error| raised(py, &error)).into_pyobject(py)?,
            );
            let args = [child_fd.as_any(), cause.as_any()];
            child
                .get()
                .call(|objects| &objects.owner, intern!(py, "_pipe_lost"), args)
        });
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.0.call("_exited", |child| {
            let exited = intern!(child.py(), "_exited");
            child.get().tell(exited, Some(return_code(status)))
        });
    }

    fn process_ended(&mut self, _: &Process, _: ExitStatus) {
        self.0.call_last("_ended", |child| {
            let py = child.py();
            let told = child.get().tell(intern!(py, "_ended"), None);
            if told.is_ok() {
                child.get().let_go(py);
            }
            told
        });
    }
}

#[pymethods]
impl AsyncioChild {
    /// Makes the child of the transport `owner`. The loop calls both objects in a copy of the current context.
    #[new]
    fn new(py: Python<'_>, owner: Py<PyAny>, protocol: Py<PyAny>) -> PyResult<AsyncioChild> {
        let context = context::copy_of_current(py)?.unbind();
        Ok(AsyncioChild(Locked::new(State {
            started: RefCell::new(None),
            objects: RefCell::new(Some(Objects {
                owner,
                protocol,
                context,
            })),
            streams: RefCell::default(),
        })))
    }

    /// Starts the program and returns its process ID, and the numbers of its pipes in the child.
    fn spawn(
        slf: &Bound<'_, Self>,
        core: &Core,
        program: &Bound<'_, PyAny>,
    ) -> PyResult<(u32, Vec<ChildFd>)> {
        let py = slf.py();
        let event_loop = core.enter(py)?;
        let command = Program::read(program)?.command()?;
        let slot = Slot::new(&event_loop, slf);
        let bridge = ChildBridge(slot.clone());
        let process = match event_loop.reactor.spawn_process(&command, bridge) {
            Ok(process) => process,
            Err(error) => {
                slot.remove();
                return Err(children::not_started(&error));
            }
        };
        let pipes = process.pipes();
        let pid = process.pid();
        let state = slf.get().0.get(py);
        state.started.replace(Some(Started { process, slot }));
        Ok((pid, pipes))
    }

    /// From here on, `stream` takes what arrives from this descriptor, or else the protocol.
    fn deliver_to(
        &self,
        py: Python<'_>,
        child_fd: ChildFd,
        stream: Option<&Bound<'_, AsyncioStream>>,
    ) {
        let mut streams = self.0.get(py).streams.borrow_mut();
        streams.retain(|(fd, _)| *fd != child_fd);
        if let Some(stream) = stream {
            streams.push((child_fd, stream.get().weak(py)));
        }
    }

    /// From here on, `protocol` is called.
    fn set_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        self.0.get(py).streams.borrow_mut().clear();
        let replaced = match self.0.get(py).objects.borrow_mut().as_mut() {
            Some(objects) => std::mem::replace(&mut objects.protocol, protocol),
            None => protocol,
        };
        drop(replaced);
    }

    /// Sends the signal with this number to the process (Unix).
    fn send_signal(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        children::signal(
            &self.process(py)?,
            Signal::Number(number),
            SignalTarget::Process,
        )
    }

    /// Kills the process; with `tree`, its descendants, too.
    fn kill(&self, py: Python<'_>, tree: bool) -> PyResult<()> {
        children::signal(&self.process(py)?, Signal::Kill, target(tree))
    }

    /// Asks the process to end, and with `tree` its descendants, too.
    fn terminate(&self, py: Python<'_>, tree: bool) -> PyResult<()> {
        children::signal(&self.process(py)?, Signal::Terminate, target(tree))
    }

    /// Sets the size of the process's terminal.
    fn resize(&self, py: Python<'_>, rows: u16, columns: u16) -> PyResult<()> {
        children::resize(&self.process(py)?, rows, columns)
    }

    /// Lets the loop call no more: the child's end is of no interest.
    fn forget(&self, py: Python<'_>) {
        let started = self.0.get(py).started.borrow().clone();
        if let Some(started) = started {
            started.slot.remove();
        }
        self.let_go(py);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(objects) = self.0.visited().objects.try_borrow() else {
            return Ok(());
        };
        let Some(objects) = objects.as_ref() else {
            return Ok(());
        };
        visit.call(&objects.owner)?;
        visit.call(&objects.protocol)?;
        visit.call(&objects.context)
    }

    fn __clear__(&self) {
        Python::attach(|py| self.let_go(py));
    }
}

impl AsyncioChild {
    fn let_go(&self, py: Python<'_>) {
        let objects = self.0.get(py).objects.take();
        drop(objects);
    }

    /// The process that was started, for a call from the loop's thread.
    fn process(&self, py: Python<'_>) -> PyResult<Process> {
        let started = self.0.get(py).started.borrow().clone();
        let Some(Started { process, slot }) = started else {
            return Err(PyProcessLookupError::new_err("no process was started"));
        };
        let event_loop = slot
            .event_loop()
            .ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))?;
        event_loop.check_thread()?;
        Ok(process)
    }
}

fn target(tree: bool) -> SignalTarget {
    if tree {
        SignalTarget::Tree
    } else {
        SignalTarget::Process
    }
}
