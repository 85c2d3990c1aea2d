//! Loops in processes that fork.
//!
//! If a loop is not in a turn when the process forks, both processes can use it: the parent resumes it with its next
//! turn, and the child with its first call. Daemons need this, and servers that fork workers before they run. A loop
//! that is in a turn stays with the parent: its copy in the child refuses all calls. Destroying the copy does not
//! affect the parent.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::core::event_loop::Loop;
use crate::core::failures::{no_turn, refused};

/// A loop's state with regard to forks.
#[derive(Default)]
pub(crate) struct ForkState {
    /// The loop is in a turn, so a child forked now cannot use it.
    pub(crate) in_turn: Cell<bool>,
    /// The loop was prepared for a fork, and has made no turn since.
    pub(super) suspended: Cell<bool>,
    /// This process is a forked child, and may resume the loop.
    pub(super) offered: Cell<bool>,
    /// This process is a forked child, and the loop belongs to the parent.
    pub(super) copied: Cell<bool>,
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

    pub(super) fn suspend(&self) -> PyResult<()> {
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
