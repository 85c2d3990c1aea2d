//! The Python class `Core`: an event loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tidewaiter::Remote;

use crate::core::endings;
use crate::core::event_loop::{Loop, duration};
use crate::core::exits::UnwindGuard;
use crate::core::failures::no_turn;
use crate::core::lock::Locked;
use crate::core::records;

/// A call that another thread asked for.
struct RemoteCall {
    callable: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

impl RemoteCall {
    /// Makes the call, and reports the exception that it raises, if it does.
    fn make(&self, py: Python<'_>, event_loop: &Loop) {
        let callable = self.callable.bind(py);
        let hooks = &event_loop.hooks;
        let named = || callable.clone();
        let made = hooks.timed(
            named,
            "",
            |named, _| named,
            || {
                let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
                callable.call(self.args.bind(py), kwargs)
            },
        );
        if let Err(error) = made {
            hooks.report("thread", &error, callable);
        }
    }
}

/// A loop on a completion port, with calls from other threads.
///
/// It can be made in any thread, and runs in one. While it waits there, other threads may only call
/// `call_from_thread` and `wake`.
#[pyclass(frozen, weakref, module = "tidewaiter._tidewaiter")]
pub(crate) struct Core {
    event_loop: Locked<RefCell<Option<Rc<Loop>>>>,
    /// Outside of the loop, because other threads add to it while the loop waits.
    calls: Locked<RefCell<VecDeque<RemoteCall>>>,
    remote: Remote,
}

impl Core {
    /// The loop, if this thread may use it now.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<Rc<Loop>> {
        let event_loop = self.event_loop(py);
        let event_loop =
            event_loop.ok_or_else(|| PyRuntimeError::new_err("the reactor is gone"))?;
        event_loop.check_thread()?;
        Ok(event_loop)
    }

    /// The loop, without a check. The caller must not use the reactor while another thread waits in it.
    pub(crate) fn event_loop(&self, py: Python<'_>) -> Option<Rc<Loop>> {
        self.event_loop.get(py).borrow().clone()
    }

    /// Makes one turn of the loop. The caller holds an [`UnwindGuard`].
    pub(crate) fn one_turn(
        &self,
        py: Python<'_>,
        event_loop: &Loop,
        limit: Option<Duration>,
    ) -> PyResult<()> {
        let fork_state = &event_loop.fork_state;
        fork_state.take_up(&event_loop.reactor)?;
        fork_state.check_process()?;
        let nested = fork_state.in_turn.replace(true);
        let turned = self.make_calls_and_wait(py, event_loop, limit);
        fork_state.in_turn.set(nested);
        turned?;
        if event_loop.is_copy() {
            return Ok(());
        }
        // Runs Python's signal handlers, if this is Python's main thread.
        py.check_signals()
    }

    /// Makes the calls that are ready, then waits for events and delivers them. In this order, as in asyncio's loops, a
    /// task that is ready runs before events that come only now.
    ///
    /// A callback may fork. In the child, the loop is the parent's, so the rest of the turn is left out or its outcome
    /// ignored.
    fn make_calls_and_wait(
        &self,
        py: Python<'_>,
        event_loop: &Loop,
        limit: Option<Duration>,
    ) -> PyResult<()> {
        event_loop.make_ready_calls(py)?;
        if event_loop.is_copy() {
            return Ok(());
        }
        let limit = event_loop.wait_limit(py, limit)?;
        if !event_loop.ready.is_empty() {
            event_loop.reactor.skip_wait();
        }
        let turned = event_loop.iterate(limit);
        if let Err(error) = turned {
            return match event_loop.is_copy() {
                true => Ok(()),
                false => Err(no_turn(&error)),
            };
        }
        self.make_remote_calls(py, event_loop);
        records::deliver(py, &event_loop.hooks);
        event_loop.hooks.take_raised()
    }

    /// Makes the calls that other threads asked for. Calls added meanwhile wait for the next turn.
    fn make_remote_calls(&self, py: Python<'_>, event_loop: &Loop) {
        let count = self.calls.get(py).borrow().len();
        for _ in 0..count {
            let Some(call) = self.calls.get(py).borrow_mut().pop_front() else {
                return;
            };
            event_loop
                .thread_calls
                .set(event_loop.thread_calls.get() + 1);
            call.make(py, event_loop);
        }
        if count > 0 && !self.calls.get(py).borrow().is_empty() {
            self.remote.wake();
        }
    }
}

#[pymethods]
impl Core {
    /// Opens the port with this name (`iocp`, `uring` or `poll`). By default, opens the port that `TIDEWAITER_PORT`
    /// names, otherwise the machine's best.
    #[new]
    #[pyo3(signature = (port=None))]
    fn new(port: Option<&str>) -> PyResult<Core> {
        let event_loop = Loop::open(port)?;
        let remote = event_loop.reactor.remote();
        Ok(Core {
            event_loop: Locked::new(RefCell::new(Some(Rc::new(event_loop)))),
            calls: Locked::new(RefCell::default()),
            remote,
        })
    }

    /// Makes one turn of the loop: fires due timers, waits for an event for up to `timeout` seconds (without a limit
    /// if `None`), and calls back.
    #[pyo3(signature = (timeout=None))]
    fn turn(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let event_loop = self.enter(py)?;
        let _guard = UnwindGuard::begin();
        self.one_turn(py, &event_loop, timeout.map(duration))
    }

    /// Closes the port and all that is on it. Every later call is refused.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.event_loop(py) {
            Some(event_loop) if event_loop.is_copy() => {}
            Some(event_loop) => {
                event_loop.check_thread()?;
                if event_loop.fork_state.in_turn.get() {
                    let message = "the loop is in a turn: it cannot be closed";
                    return Err(PyRuntimeError::new_err(message));
                }
            }
            None => return Ok(()),
        }
        self.__clear__();
        Ok(())
    }

    /// Ends the current or next wait. May be called from any thread.
    fn wake(&self) {
        self.remote.wake();
    }

    /// Asks the loop to call `callable(*args, **kwargs)`, after all earlier requests. May be called from any thread.
    /// Raises in a forked child if the loop belongs to the parent.
    #[pyo3(signature = (callable, *args, **kwargs))]
    fn call_from_thread(
        &self,
        py: Python<'_>,
        callable: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<()> {
        self.check_process(py)?;
        let call = RemoteCall {
            callable,
            args,
            kwargs,
        };
        let mut calls = self.calls.get(py).borrow_mut();
        calls.push_back(call);
        if calls.len() == 1 {
            self.remote.wake();
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(event_loop) = self.event_loop.visited().try_borrow()
            && let Some(event_loop) = event_loop.as_ref()
        {
            event_loop.traverse(&visit)?;
        }
        if let Ok(calls) = self.calls.visited().try_borrow() {
            for call in calls.iter() {
                visit.call(&call.callable)?;
                visit.call(&call.args)?;
                visit.call(&call.kwargs)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Drop the Python objects first: their destructors may still use the loop.
        let event_loop = Python::attach(|py| {
            drop(self.calls.get(py).take());
            self.event_loop.get(py).take()
        });
        drop(event_loop);
    }
}

/// Forks.
#[pymethods]
impl Core {
    /// Prepares the loop for a fork, so that the child can use it.
    fn before_fork(&self, py: Python<'_>) -> PyResult<()> {
        let event_loop = self.enter(py)?;
        event_loop.fork_state.suspend(&event_loop.reactor)
    }

    /// Resumes the loop after a fork, in the process that goes on using it.
    fn after_fork(&self, py: Python<'_>) -> PyResult<()> {
        let event_loop = self.enter(py)?;
        event_loop.fork_state.take_up(&event_loop.reactor)
    }

    /// For `os.register_at_fork`: prepares the loop for a fork, unless it is in a turn.
    fn _before_any_fork(&self, py: Python<'_>) {
        let Some(event_loop) = self.event_loop(py) else {
            return;
        };
        let fork_state = &event_loop.fork_state;
        if event_loop.is_copy() || event_loop.waiting.now() || fork_state.in_turn.get() {
            return;
        }
        if let Err(error) = fork_state.suspend(&event_loop.reactor) {
            // The loop then stays with this process, as if it were in a turn.
            log::debug!("{error}");
        }
    }

    /// For `os.register_at_fork`: notes that this process is a forked child.
    fn _in_child(&self, py: Python<'_>) {
        endings::forget_others();
        if let Some(event_loop) = self.event_loop(py) {
            event_loop.fork_state.note_child();
        }
    }

    /// Raises if this process is a forked child, and the loop belongs to the parent.
    pub(crate) fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        match self.event_loop(py) {
            Some(event_loop) => event_loop.fork_state.check_process(),
            None => Ok(()),
        }
    }
}

/// Hooks.
#[pymethods]
impl Core {
    /// Registers `on_error(what, exception, subject)`, which is called for each exception that a callback raises.
    fn set_on_error(&self, py: Python<'_>, on_error: Option<Py<PyAny>>) -> PyResult<()> {
        self.enter(py)?.hooks.on_error.set(on_error);
        Ok(())
    }

    /// Registers `on_slow(called, method, seconds)`, which is called when a callback takes longer than `limit`
    /// seconds, or never if `limit` is `None`. The callback was `method` of `called`, or `called` itself if `method`
    /// is empty.
    fn set_on_slow(
        &self,
        py: Python<'_>,
        limit: Option<f64>,
        on_slow: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let event_loop = self.enter(py)?;
        event_loop.hooks.slow.set(limit.map(duration));
        event_loop.hooks.on_slow.set(on_slow);
        Ok(())
    }

    /// Registers `on_log(level, target, message)`, which is called for each warning and error that the library logs.
    fn set_on_log(&self, py: Python<'_>, on_log: Option<Py<PyAny>>) -> PyResult<()> {
        self.enter(py)?.hooks.on_log.set(on_log);
        Ok(())
    }
}
