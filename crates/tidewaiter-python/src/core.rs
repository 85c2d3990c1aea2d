//! The loop as Python sees it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use slab::Slab;
use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, Remote, Transport};

use crate::child::Child;
use crate::context::Context;
use crate::failures::{os_error, refused};
use crate::lock::{Locked, Waiting};
use crate::stream::{Bridge, Stream};
use crate::timer::DelayedCall;
use crate::watch::Watched;

/// What Python wants to be told.
#[derive(Default)]
struct Hooks {
    /// Called as `on_error(what, exception, subject)`.
    on_error: RefCell<Option<Py<PyAny>>>,
    /// Called as `on_slow(callable, seconds)`...
    on_slow: RefCell<Option<Py<PyAny>>>,
    /// ...when a callback took longer than this.
    slow: Cell<Option<Duration>>,
}

/// A reactor, and what Python keeps on it.
///
/// The reactor's callbacks hold this weakly, and reach Python's objects through its tables: so the
/// garbage collector sees every reference, and a reactor that is dropped takes all of it along.
pub(crate) struct Loop {
    pub(crate) reactor: Reactor,
    hooks: Hooks,
    pub(crate) timers: RefCell<Slab<Py<DelayedCall>>>,
    pub(crate) watched: RefCell<Slab<Watched>>,
    pub(crate) streams: RefCell<Slab<Py<Stream>>>,
    pub(crate) listeners: RefCell<Slab<Py<PyAny>>>,
    pub(crate) children: RefCell<Slab<Py<Child>>>,
    /// A connection on its way from the library to the Python object that is being made for it.
    pub(crate) accepted: RefCell<Option<(Transport, Bridge)>>,
    context: RefCell<Option<Context>>,
    waiting: Arc<Waiting>,
}

impl Loop {
    /// Whether this thread may touch the loop now.
    pub(crate) fn check_thread(&self) -> PyResult<()> {
        if self.waiting.now() {
            return Err(PyRuntimeError::new_err(
                "the reactor waits in another thread: only callFromThread may be called from this one",
            ));
        }
        Ok(())
    }

    /// Makes `call` with `named` on top of the thread's stack of contexts.
    pub(crate) fn in_context<R>(
        &self,
        py: Python<'_>,
        named: impl FnOnce(&Context) -> PyResult<Py<PyDict>>,
        call: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let stack = match self.context.borrow().as_ref() {
            Some(context) => Some(context.push(py, named(context)?)?),
            None => None,
        };
        let result = call();
        if let Some(stack) = stack {
            stack.pop()?;
        }
        result
    }

    /// Calls Python, and tells it if that took too long, naming `named`.
    pub(crate) fn call<R>(
        &self,
        named: &Bound<'_, PyAny>,
        callback: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let Some(limit) = self.hooks.slow.get() else {
            return callback();
        };
        let started = Instant::now();
        let result = callback();
        let took = started.elapsed();
        if took > limit {
            self.tell(named.py(), &self.hooks.on_slow, |hook| {
                hook.call1((named, took.as_secs_f64()))
            });
        }
        result
    }

    /// Tells Python of an exception that a callback raised.
    pub(crate) fn report(&self, what: &str, error: &PyErr, subject: &Bound<'_, PyAny>) {
        let py = subject.py();
        self.tell(py, &self.hooks.on_error, |hook| {
            hook.call1((what, error.value(py), subject))
        });
    }

    fn tell<'py>(
        &self,
        py: Python<'py>,
        hook: &RefCell<Option<Py<PyAny>>>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        let hook = hook.borrow().as_ref().map(|hook| hook.bind(py).clone());
        if let Some(Err(error)) = hook.map(|hook| call(&hook)) {
            // Nobody is left to tell.
            error.write_unraisable(py, None);
        }
    }
}

/// What another thread asked for.
struct RemoteCall {
    callable: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

/// A loop on a completion port, with its timers, and the way in from other threads.
///
/// Made in any thread, and run in one. While it waits there, other threads may only call
/// `call_from_thread` and `wake`.
#[pyclass(frozen, weakref, module = "tidewaiter._tidewaiter")]
pub(crate) struct Core {
    inside: Locked<RefCell<Option<Rc<Loop>>>>,
    /// Outside of the loop: other threads come here while it waits.
    calls: Locked<RefCell<VecDeque<RemoteCall>>>,
    remote: Remote,
}

impl Core {
    /// The loop, for the thread that may touch it.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<Rc<Loop>> {
        let inside = self.inside.get(py).borrow().clone();
        let inside = inside.ok_or_else(|| PyRuntimeError::new_err("the reactor is gone"))?;
        inside.check_thread()?;
        Ok(inside)
    }

    fn one_turn(&self, py: Python<'_>, inside: &Loop, limit: Option<Duration>) -> PyResult<()> {
        inside
            .reactor
            .iterate(limit)
            .map_err(|error| refused("a turn of the loop", &error))?;
        self.make_remote_calls(py, inside);
        // Python's signal handlers run in Python's main thread, and here is where it comes by.
        py.check_signals()
    }

    /// Makes the calls that other threads asked for. What these add waits for the next turn.
    fn make_remote_calls(&self, py: Python<'_>, inside: &Loop) {
        let count = self.calls.get(py).borrow().len();
        for _ in 0..count {
            let Some(call) = self.calls.get(py).borrow_mut().pop_front() else {
                return;
            };
            let callable = call.callable.bind(py);
            let made = inside.call(callable, || {
                callable.call(
                    call.args.bind(py),
                    call.kwargs.as_ref().map(|kwargs| kwargs.bind(py)),
                )
            });
            if let Err(error) = made {
                inside.report("thread", &error, callable);
            }
        }
        if count > 0 && !self.calls.get(py).borrow().is_empty() {
            self.remote.wake();
        }
    }
}

/// A number of seconds as a duration; what is too long for one, or no number, is as long as can be.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[pymethods]
impl Core {
    /// Opens the best port of this machine, or the one named (`iocp`, `uring` or `poll`), or the one that
    /// `TIDEWAITER_PORT` names.
    #[new]
    #[pyo3(signature = (port=None))]
    fn new(port: Option<&str>) -> PyResult<Core> {
        let waiting = Arc::new(Waiting::default());
        let released = Arc::clone(&waiting);
        let mut builder = Reactor::builder()
            .signals(false)
            .around_wait(move |wait| released.release(wait));
        if let Some(name) = port {
            let kind: PortKind = name.parse().map_err(PyValueError::new_err::<String>)?;
            builder = builder.port(kind);
        }
        let reactor = builder
            .build()
            .map_err(|error| os_error("no completion port", &error))?;
        let remote = reactor.remote();
        let inside = Loop {
            reactor,
            hooks: Hooks::default(),
            timers: RefCell::default(),
            watched: RefCell::default(),
            streams: RefCell::default(),
            listeners: RefCell::default(),
            children: RefCell::default(),
            accepted: RefCell::default(),
            context: RefCell::default(),
            waiting: Arc::clone(&waiting),
        };
        Ok(Core {
            inside: Locked::new(RefCell::new(Some(Rc::new(inside)))),
            calls: Locked::new(RefCell::default()),
            remote,
        })
    }

    /// Has `on_error(what, exception, subject)` called with each exception that a callback raises.
    fn set_on_error(&self, py: Python<'_>, on_error: Option<Py<PyAny>>) -> PyResult<()> {
        let replaced = self.enter(py)?.hooks.on_error.replace(on_error);
        drop(replaced);
        Ok(())
    }

    /// Has `on_slow(callable, seconds)` called when a callback takes longer than `limit` seconds; `None`:
    /// never.
    fn set_on_slow(
        &self,
        py: Python<'_>,
        limit: Option<f64>,
        on_slow: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let inside = self.enter(py)?;
        inside.hooks.slow.set(limit.map(duration));
        let replaced = inside.hooks.on_slow.replace(on_slow);
        drop(replaced);
        Ok(())
    }

    /// Has callbacks of streams made with `{key: {**base, "system": name}}` on top of `stack`, which is
    /// the context of the thread that runs the loop.
    fn set_context(
        &self,
        py: Python<'_>,
        stack: Bound<'_, PyList>,
        key: Py<PyAny>,
        base: Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let context = Context::new(stack, key, base);
        let replaced = self.enter(py)?.context.replace(Some(context));
        drop(replaced);
        Ok(())
    }

    /// Makes one turn of the loop: fires what is due, waits up to `timeout` seconds (`None`: as long as
    /// it takes) for something to happen, and calls back.
    #[pyo3(signature = (timeout=None))]
    fn turn(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let inside = self.enter(py)?;
        self.one_turn(py, &inside, timeout.map(duration))
    }

    /// Makes turns while `owner._started`; has `owner.runUntilCurrent()` called before a turn when
    /// `owner._justStopped`.
    fn run(&self, owner: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = owner.py();
        let inside = self.enter(py)?;
        while owner.getattr(intern!(py, "_started"))?.is_truthy()? {
            if owner.getattr(intern!(py, "_justStopped"))?.is_truthy()? {
                owner.call_method0(intern!(py, "runUntilCurrent"))?;
            } else {
                self.one_turn(py, &inside, None)?;
            }
        }
        Ok(())
    }

    /// Keeps the turn that is under way from waiting.
    fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)?.reactor.crash();
        Ok(())
    }

    /// Ends the current or next wait. From any thread.
    fn wake(&self) {
        self.remote.wake();
    }

    /// Has the loop call `callable(*args, **kwargs)`, after all that was asked for before. From any
    /// thread.
    #[pyo3(signature = (callable, *args, **kwargs))]
    fn call_from_thread(
        &self,
        py: Python<'_>,
        callable: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) {
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
    }

    /// Calls `callable(*args, **kwargs)` once, no earlier than `delay` seconds from now.
    #[pyo3(signature = (delay, callable, *args, **kwargs))]
    fn call_later(
        &self,
        py: Python<'_>,
        delay: f64,
        callable: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Py<DelayedCall>> {
        DelayedCall::arm(py, &self.enter(py)?, delay, callable, args, kwargs)
    }

    /// The delayed calls that are pending.
    fn delayed_calls(&self, py: Python<'_>) -> PyResult<Vec<Py<DelayedCall>>> {
        let inside = self.enter(py)?;
        let timers = inside.timers.borrow();
        Ok(timers.iter().map(|(_, call)| call.clone_ref(py)).collect())
    }

    /// The streams that are not lost, and the listeners.
    fn live(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let inside = self.enter(py)?;
        let streams = inside.streams.borrow();
        let listeners = inside.listeners.borrow();
        let live = streams
            .iter()
            .filter(|(_, stream)| stream.get().is_live(py));
        let live = live.map(|(_, stream)| stream.clone_ref(py).into_any());
        Ok(live
            .chain(listeners.iter().map(|(_, listener)| listener.clone_ref(py)))
            .collect())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let inside = self.inside.visited().borrow();
        let Some(inside) = inside.as_ref() else {
            return Ok(());
        };
        visit.call(&*inside.hooks.on_error.borrow())?;
        visit.call(&*inside.hooks.on_slow.borrow())?;
        for (_, call) in inside.timers.borrow().iter() {
            visit.call(call)?;
        }
        for (_, watched) in inside.watched.borrow().iter() {
            visit.call(&watched.callback)?;
        }
        for (_, stream) in inside.streams.borrow().iter() {
            visit.call(stream)?;
        }
        for (_, listener) in inside.listeners.borrow().iter() {
            visit.call(listener)?;
        }
        for (_, child) in inside.children.borrow().iter() {
            visit.call(child)?;
        }
        if let Some(context) = inside.context.borrow().as_ref() {
            context.traverse(&visit)?;
        }
        for call in self.calls.visited().borrow().iter() {
            visit.call(&call.callable)?;
            visit.call(&call.args)?;
            visit.call(&call.kwargs)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Python's objects go first: they may look at the loop once more.
        let inside = Python::attach(|py| {
            drop(self.calls.get(py).take());
            self.inside.get(py).take()
        });
        drop(inside);
    }
}
