//! Processes that fork.
//!
//! A loop that makes no turn when the process forks is there in both: whichever makes the next turn takes
//! it up, as with daemons and with servers that fork their workers before they run. One that is in a turn
//! stays with its process: the copy refuses to do anything but to be taken down, which disturbs nobody.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::core::{Core, Loop};
use crate::failures::refused;

/// Where a loop stands, as far as forks are concerned.
#[derive(Default)]
pub(crate) struct Belonging {
    /// In a turn, from which nothing can be taken along.
    pub(crate) in_turn: Cell<bool>,
    /// It was made ready for a fork, and has made no turn since.
    suspended: Cell<bool>,
    /// This process is a copy of the one that it belongs to.
    copied: Cell<bool>,
}

impl Loop {
    /// Whether this process is a copy of the one that the loop belongs to.
    pub(crate) fn is_copy(&self) -> bool {
        self.belonging.copied.get()
    }

    pub(crate) fn check_process(&self) -> PyResult<()> {
        if self.is_copy() {
            return Err(PyRuntimeError::new_err(
                "the reactor ran when this process was forked, and belongs to the parent: the child may make \
                 one of its own",
            ));
        }
        Ok(())
    }

    fn suspend(&self) -> PyResult<()> {
        if !self.belonging.suspended.get() {
            let suspended = self.reactor.before_fork();
            suspended
                .map_err(|error| refused("the reactor cannot be made ready for a fork", &error))?;
            self.belonging.suspended.set(true);
        }
        Ok(())
    }

    /// To be called before each turn.
    pub(crate) fn take_up(&self) -> PyResult<()> {
        if self.belonging.suspended.get() {
            let taken = self.reactor.after_fork();
            taken.map_err(|error| refused("the reactor cannot go on after a fork", &error))?;
            self.belonging.suspended.set(false);
        }
        Ok(())
    }
}

#[pymethods]
impl Core {
    /// Makes the loop ready to live on in a child process.
    fn before_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)?.suspend()
    }

    /// Takes the loop up again, in the process that goes on with it.
    fn after_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)?.take_up()
    }

    /// For `os.register_at_fork`: makes the loop ready, unless it is in a turn.
    fn _before_any_fork(&self, py: Python<'_>) -> PyResult<()> {
        match self.enter(py) {
            Ok(inside) if !inside.belonging.in_turn.get() => inside.suspend(),
            _ => Ok(()),
        }
    }

    /// For `os.register_at_fork`: takes note that this process is a child.
    fn _in_child(&self, py: Python<'_>) {
        if let Some(inside) = self.inside(py)
            && !inside.belonging.suspended.get()
        {
            inside.belonging.copied.set(true);
        }
    }

    /// Refuses when this process is a copy of the one that the loop belongs to.
    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        match self.inside(py) {
            Some(inside) => inside.check_process(),
            None => Ok(()),
        }
    }
}
