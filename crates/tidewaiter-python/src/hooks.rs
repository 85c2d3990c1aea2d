//! Whom Python wants to be told: of exceptions, of slow callbacks, of what the library logs.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::core::{Core, Loop, duration};
use crate::failures::raised;

type Hook = RefCell<Option<Py<PyAny>>>;

/// What Python wants to be told.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Called as `on_error(what, exception, subject)`.
    on_error: Hook,
    /// Called as `on_slow(called, method, seconds)`...
    on_slow: Hook,
    /// ...when a callback took longer than this.
    slow: Cell<Option<Duration>>,
    pub(crate) slow_count: Cell<u64>,
    /// Called as `on_log(level, target, message)`.
    pub(crate) on_log: Hook,
    /// While its `debug` is true, delayed calls remember where they come from...
    debugged: Hook,
    /// ...as this says.
    describe: Hook,
}

impl Hooks {
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let hooks = [
            &self.on_error,
            &self.on_slow,
            &self.on_log,
            &self.debugged,
            &self.describe,
        ];
        for hook in hooks {
            if let Ok(hook) = hook.try_borrow() {
                visit.call(&*hook)?;
            }
        }
        Ok(())
    }
}

fn bound<'py>(py: Python<'py>, hook: &Hook) -> Option<Bound<'py, PyAny>> {
    hook.borrow().as_ref().map(|hook| hook.bind(py).clone())
}

impl Loop {
    /// Calls Python, and tells it if that took too long: it was `method` of `called`, or `called` itself
    /// if that is empty.
    pub(crate) fn call<R>(
        &self,
        called: &Bound<'_, PyAny>,
        method: &str,
        callback: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        self.measure(callback, |_, seconds| {
            self.tell(called.py(), &self.hooks.on_slow, |hook| {
                hook.call1((called, method, seconds))
            });
        })
    }

    /// As [`call`](Loop::call), for a callback that returns on whose behalf it was called.
    pub(crate) fn call_on_behalf<'py>(
        &self,
        called: &Bound<'py, PyAny>,
        callback: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.measure(callback, |result, seconds| {
            let known = result.as_ref().ok().filter(|result| !result.is_none());
            self.tell(called.py(), &self.hooks.on_slow, |hook| {
                hook.call1((known.unwrap_or(called), "", seconds))
            });
        })
    }

    /// Whether anybody wants to know of slow callbacks.
    pub(crate) fn is_timed(&self) -> bool {
        self.hooks.slow.get().is_some()
    }

    fn measure<R>(
        &self,
        callback: impl FnOnce() -> PyResult<R>,
        was_slow: impl FnOnce(&PyResult<R>, f64),
    ) -> PyResult<R> {
        let Some(limit) = self.hooks.slow.get() else {
            return callback();
        };
        let started = Instant::now();
        let result = callback();
        let took = started.elapsed();
        if took > limit {
            self.hooks.slow_count.set(self.hooks.slow_count.get() + 1);
            was_slow(&result, took.as_secs_f64());
        }
        result
    }

    /// Tells Python of an exception that a callback raised.
    pub(crate) fn report(&self, what: &str, error: &PyErr, subject: &Bound<'_, PyAny>) {
        let py = subject.py();
        self.tell(py, &self.hooks.on_error, |hook| {
            hook.call1((what, raised(py, error), subject))
        });
    }

    pub(crate) fn tell<'py>(
        &self,
        py: Python<'py>,
        hook: &Hook,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        if let Some(Err(error)) = bound(py, hook).map(|hook| call(&hook)) {
            // Nobody is left to tell.
            error.write_unraisable(py, None);
        }
    }

    /// Whether delayed calls are being debugged.
    pub(crate) fn debugs(&self, py: Python<'_>) -> PyResult<bool> {
        match bound(py, &self.hooks.debugged) {
            Some(debugged) => debugged.getattr(intern!(py, "debug"))?.is_truthy(),
            None => Ok(false),
        }
    }

    /// Where the call that is being made comes from, if anybody wants to know.
    pub(crate) fn origin<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.debugs(py)? {
            return Ok(None);
        }
        bound(py, &self.hooks.describe)
            .map(|describe| describe.call0())
            .transpose()
    }
}

#[pymethods]
impl Core {
    /// Has `on_error(what, exception, subject)` called with each exception that a callback raises.
    fn set_on_error(&self, py: Python<'_>, on_error: Option<Py<PyAny>>) -> PyResult<()> {
        let replaced = self.enter(py)?.hooks.on_error.replace(on_error);
        drop(replaced);
        Ok(())
    }

    /// Has `on_slow(called, method, seconds)` called when a callback takes longer than `limit` seconds;
    /// `None`: never. It was `method` of `called`, or `called` itself if that is empty.
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

    /// Has `on_log(level, target, message)` called for what the library logs as a warning or an error.
    fn set_on_log(&self, py: Python<'_>, on_log: Option<Py<PyAny>>) -> PyResult<()> {
        let replaced = self.enter(py)?.hooks.on_log.replace(on_log);
        drop(replaced);
        Ok(())
    }

    /// Has delayed calls remember, in their `creator`, what `describe()` returns when they are made, while
    /// `debugged.debug` is true.
    fn set_debug(
        &self,
        py: Python<'_>,
        debugged: Option<Py<PyAny>>,
        describe: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let inside = self.enter(py)?;
        let replaced = (
            inside.hooks.debugged.replace(debugged),
            inside.hooks.describe.replace(describe),
        );
        drop(replaced);
        Ok(())
    }
}
