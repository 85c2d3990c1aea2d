//! Loops in processes that fork.
//!
//! If a loop is not in a turn when the process forks, both processes can use it: the parent resumes it with its next
//! turn, and the child with its first call. Daemons need this, and servers that fork workers before they run. A loop
//! that is in a turn stays with the parent: its copy in the child refuses all calls. Destroying the copy does not
//! affect the parent.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::core::class::{Core, Loop};
use crate::core::endings;
use crate::core::failures::{no_turn, refused};

/// A loop's state with regard to forks.
#[derive(Default)]
pub(crate) struct ForkState {
    /// The loop is in a turn, so a child forked now cannot use it.
    pub(crate) in_turn: Cell<bool>,
    /// The loop was prepared for a fork, and has made no turn since.
    suspended: Cell<bool>,
    /// This process is a forked child, and may resume the loop.
    offered: Cell<bool>,
    /// This process is a forked child, and the loop belongs to the parent.
    copied: Cell<bool>,
}

impl Loop {
    /// Whether this process is a forked child, and the loop belongs to the parent.
    pub(crate) fn is_copy(&self) -> bool {
        self.fork_state.copied.get()
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
        if !self.fork_state.suspended.get() {
            let suspended = self.reactor.before_fork();
            suspended
                .map_err(|error| refused("the reactor cannot be made ready for a fork", &error))?;
            self.fork_state.suspended.set(true);
        }
        Ok(())
    }

    /// Resumes the loop in a forked child that may use it. To be called before each use of the loop.
    pub(crate) fn take_up_in_child(&self) -> PyResult<()> {
        if self.fork_state.offered.get() {
            return self.take_up();
        }
        Ok(())
    }

    /// Resumes the loop if it was prepared for a fork. To be called before each turn.
    pub(crate) fn take_up(&self) -> PyResult<()> {
        if self.fork_state.suspended.get() {
            let taken = self.reactor.after_fork();
            taken.map_err(|error| no_turn(&error))?;
            self.fork_state.suspended.set(false);
            self.fork_state.offered.set(false);
        }
        Ok(())
    }
}

#[pymethods]
impl Core {
    /// Prepares the loop for a fork, so that the child can use it.
    fn before_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)?.suspend()
    }

    /// Resumes the loop after a fork, in the process that goes on using it.
    fn after_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)?.take_up()
    }

    /// For `os.register_at_fork`: prepares the loop for a fork, unless it is in a turn.
    fn _before_any_fork(&self, py: Python<'_>) {
        let Some(event_loop) = self.event_loop(py) else {
            return;
        };
        if event_loop.is_copy() || event_loop.waiting.now() || event_loop.fork_state.in_turn.get() {
            return;
        }
        if let Err(error) = event_loop.suspend() {
            // The loop then stays with this process, as if it were in a turn.
            log::debug!("{error}");
        }
    }

    /// For `os.register_at_fork`: notes that this process is a forked child.
    fn _in_child(&self, py: Python<'_>) {
        endings::forget_others();
        if let Some(event_loop) = self.event_loop(py) {
            let offered = event_loop.fork_state.suspended.get();
            event_loop.fork_state.offered.set(offered);
            event_loop.fork_state.copied.set(!offered);
        }
    }

    /// Raises if this process is a forked child, and the loop belongs to the parent.
    pub(crate) fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        match self.event_loop(py) {
            Some(event_loop) => event_loop.check_process(),
            None => Ok(()),
        }
    }
}
