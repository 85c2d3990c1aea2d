//! The hooks that Python registers: for exceptions, for slow callbacks and for the library's log records.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::core::event_loop::Loop;
use crate::core::failures::raised;

type Hook = RefCell<Option<Py<PyAny>>>;

/// The hooks of one loop.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Called as `on_error(what, exception, subject)`.
    pub(super) on_error: Hook,
    /// Called as `on_slow(called, method, seconds)` when a callback took longer than `slow`.
    pub(super) on_slow: Hook,
    /// The limit for `on_slow`; `None` to measure nothing.
    pub(super) slow: Cell<Option<Duration>>,
    pub(crate) slow_count: Cell<u64>,
    /// Called as `on_log(level, target, message)`.
    pub(crate) on_log: Hook,
    /// While this object's `debug` is true, a delayed call stores the result of `describe`.
    pub(super) debugged: Hook,
    /// Called as `describe()` when a delayed call is made; returns the stack of its origin.
    pub(super) describe: Hook,
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
    /// Calls Python, and calls `on_slow` if that took too long. The report names `method` of `called`, or `called`
    /// itself if `method` is empty.
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

    /// As [`call`](Loop::call), but the report names the object that the callback returns, unless it returns `None`.
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

    /// Whether callbacks are timed.
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

    /// Passes an exception that a callback raised to `on_error`.
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
            // The hook itself failed, so there is no other hook to report to.
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

    /// Returns the origin of the delayed call that is being made, if delayed calls are being debugged.
    pub(crate) fn origin<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.debugs(py)? {
            return Ok(None);
        }
        bound(py, &self.hooks.describe)
            .map(|describe| describe.call0())
            .transpose()
    }
}
