//! The hooks that Python registers: for exceptions, for slow callbacks and for the library's log records.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::core::failures::raised;

/// A callable that Python registers.
#[derive(Default)]
pub(crate) struct Hook(RefCell<Option<Py<PyAny>>>);

impl Hook {
    pub(crate) fn set(&self, callable: Option<Py<PyAny>>) {
        let replaced = self.0.replace(callable);
        drop(replaced);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let hook = self.0.borrow();
        hook.as_ref().map(|hook| hook.bind(py).clone())
    }

    /// Calls the hook, if there is one.
    fn tell<'py>(
        &self,
        py: Python<'py>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        if let Some(Err(error)) = self.get(py).map(|hook| call(&hook)) {
            // The hook itself failed, so there is no other hook to report to.
            error.write_unraisable(py, None);
        }
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow() {
            Ok(hook) => visit.call(&*hook),
            Err(_) => Ok(()),
        }
    }
}

/// The hooks of one loop.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Called as `on_error(what, exception, subject)`. What it raises itself ends the turn.
    pub(super) on_error: Hook,
    /// An exception that ends the turn that is being made.
    raised: RefCell<Option<PyErr>>,
    /// Called as `on_slow(called, method, seconds)` when a callback took longer than `slow`.
    pub(super) on_slow: Hook,
    /// The limit for `on_slow`; `None` to measure nothing.
    pub(super) slow: Cell<Option<Duration>>,
    pub(super) slow_count: Cell<u64>,
    /// Called as `on_log(level, target, message)`.
    pub(super) on_log: Hook,
}

impl Hooks {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let hooks = [&self.on_error, &self.on_slow, &self.on_log];
        hooks.into_iter().try_for_each(|hook| hook.traverse(visit))
    }

    /// Calls Python, and calls `on_slow` if that took too long. The report names `method` of an object, or the object
    /// itself if `method` is empty. The object is the one that `named` returned before the call, as `on_behalf_of`
    /// corrects it by the result of the call.
    pub(crate) fn timed<'py>(
        &self,
        named: impl FnOnce() -> Bound<'py, PyAny>,
        method: &str,
        on_behalf_of: impl FnOnce(Bound<'py, PyAny>, &Bound<'py, PyAny>) -> Bound<'py, PyAny>,
        callback: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(limit) = self.slow.get() else {
            return callback();
        };
        let named = named();
        let started = Instant::now();
        let result = callback();
        let took = started.elapsed();
        if took > limit {
            self.slow_count.set(self.slow_count.get() + 1);
            let named = match &result {
                Ok(returned) => on_behalf_of(named, returned),
                Err(_) => named,
            };
            self.on_slow.tell(named.py(), |hook| {
                hook.call1((&named, method, took.as_secs_f64()))
            });
        }
        result
    }

    /// Passes an exception that a callback raised to `on_error`. If that raises one itself, such as an interrupt that
    /// the program is to get, this ends the turn.
    pub(crate) fn report(&self, what: &str, error: &PyErr, subject: &Bound<'_, PyAny>) {
        let py = subject.py();
        let Some(hook) = self.on_error.get(py) else {
            return;
        };
        if let Err(error) = hook.call1((what, raised(py, error), subject)) {
            self.raise_from_turn(error);
        }
    }

    /// Has the turn that is being made end with `error`, as soon as the events of its wait were handled.
    pub(crate) fn raise_from_turn(&self, error: PyErr) {
        let replaced = self.raised.replace(Some(error));
        drop(replaced);
    }

    /// Raises what [`raise_from_turn`](Hooks::raise_from_turn) was given.
    pub(super) fn take_raised(&self) -> PyResult<()> {
        self.raised.take().map_or(Ok(()), Err)
    }

    /// Passes a record of the library's log to `on_log`.
    pub(super) fn log(&self, py: Python<'_>, level: &str, target: &str, message: &str) {
        self.on_log
            .tell(py, |hook| hook.call1((level, target, message)));
    }
}
