//! Processes that fork.
//!
//! A loop that makes no turn when the process forks is there in both: the parent takes it up with its next
//! turn, the child when it does anything with it, as with daemons and with servers that fork their workers
//! before they run. One that is in a turn stays with its process: the copy refuses to do anything but to be
//! taken down, which disturbs nobody.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::core::{Core, Loop};
use crate::endings;
use crate::failures::{no_turn, refused};

/// Where a loop stands, as far as forks are concerned.
#[derive(Default)]
pub(crate) struct Belonging {
    /// In a turn, from which nothing can be taken along.
    pub(crate) in_turn: Cell<bool>,
    /// It was made ready for a fork, and has made no turn since.
    suspended: Cell<bool>,
    /// This process is a child, and may have it.
    offered: Cell<bool>,
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

    /// To be called before anything is done with the loop.
    pub(crate) fn take_up_in_child(&self) -> PyResult<()> {
        if self.belonging.offered.get() {
            return self.take_up();
        }
        Ok(())
    }

    /// To be called before each turn.
    pub(crate) fn take_up(&self) -> PyResult<()> {
        if self.belonging.suspended.get() {
            let taken = self.reactor.after_fork();
            taken.map_err(|error| no_turn(&error))?;
            self.belonging.suspended.set(false);
            self.belonging.offered.set(false);
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
    fn _before_any_fork(&self, py: Python<'_>) {
        let Some(inside) = self.inside(py) else {
            return;
        };
        if inside.is_copy() || inside.waiting.now() || inside.belonging.in_turn.get() {
            return;
        }
        if let Err(error) = inside.suspend() {
            // It stays with this process, as if it were in a turn.
            log::debug!("{error}");
        }
    }

    /// For `os.register_at_fork`: takes note that this process is a child.
    fn _in_child(&self, py: Python<'_>) {
        endings::forget_others();
        if let Some(inside) = self.inside(py) {
            let offered = inside.belonging.suspended.get();
            inside.belonging.offered.set(offered);
            inside.belonging.copied.set(!offered);
        }
    }

    /// Refuses when this process is a copy of the one that the loop belongs to.
    pub(crate) fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        match self.inside(py) {
            Some(inside) => inside.check_process(),
            None => Ok(()),
        }
    }
}
