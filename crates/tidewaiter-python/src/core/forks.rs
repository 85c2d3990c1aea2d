//! Loops in processes that fork.
//!
//! If a loop is not in a turn when the process forks, both processes can use it: the parent resumes it with its next
//! turn, and the child with its first call. Daemons need this, and servers that fork workers before they run. A loop
//! that is in a turn stays with the parent: its copy in the child refuses all calls. Destroying the copy does not
//! affect the parent.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tidewaiter::Reactor;

use crate::core::failures::{no_turn, refused};

/// A loop's state with regard to forks.
#[derive(Default)]
pub(crate) struct ForkState {
    /// The loop is in a turn, so a child forked now cannot use it.
    pub(super) in_turn: Cell<bool>,
    /// The loop was prepared for a fork, and has made no turn since.
    suspended: Cell<bool>,
    /// This process is a forked child, and may resume the loop.
    offered: Cell<bool>,
    /// This process is a forked child, and the loop belongs to the parent.
    copied: Cell<bool>,
}

impl ForkState {
    /// Whether this process is a forked child, and the loop belongs to the parent.
    pub(super) fn is_copy(&self) -> bool {
        self.copied.get()
    }

    pub(super) fn check_process(&self) -> PyResult<()> {
        if self.is_copy() {
            return Err(PyRuntimeError::new_err(
                "the reactor ran when this process was forked, and belongs to the parent: the child may make \
                 one of its own",
            ));
        }
        Ok(())
    }

    /// Prepares the reactor for a fork, so that the child can use it.
    pub(super) fn suspend(&self, reactor: &Reactor) -> PyResult<()> {
        if !self.suspended.get() {
            let suspended = reactor.before_fork();
            suspended
                .map_err(|error| refused("the reactor cannot be made ready for a fork", &error))?;
            self.suspended.set(true);
        }
        Ok(())
    }

    /// Resumes the reactor in a forked child that may use it. To be called before each use of the loop.
    pub(super) fn take_up_in_child(&self, reactor: &Reactor) -> PyResult<()> {
        if self.offered.get() {
            return self.take_up(reactor);
        }
        Ok(())
    }

    /// Resumes the reactor if it was prepared for a fork. To be called before each turn.
    pub(super) fn take_up(&self, reactor: &Reactor) -> PyResult<()> {
        if self.suspended.get() {
            let taken = reactor.after_fork();
            taken.map_err(|error| no_turn(&error))?;
            self.suspended.set(false);
            self.offered.set(false);
        }
        Ok(())
    }

    /// Notes that this process is a forked child.
    pub(super) fn note_child(&self) {
        let offered = self.suspended.get();
        self.offered.set(offered);
        self.copied.set(!offered);
    }
}
