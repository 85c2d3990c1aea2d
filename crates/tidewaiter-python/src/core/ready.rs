//! Calls that are ready to be made: a turn of the loop makes them before it waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// Makes the call that an object stands for, on the loop `L`. An error leaves the turn: exceptions that the loop's face
/// reports instead are not returned.
pub(crate) type Make<L> = for<'a, 'py> fn(&'a L, &'a Bound<'py, PyAny>) -> PyResult<()>;

/// A call: the object that stands for it, and how to make it.
struct ReadyCall<L> {
    object: Py<PyAny>,
    make: Make<L>,
}

/// The queue of ready calls. Every thread that holds the interpreter lock may add to it.
pub(crate) struct ReadyCalls<L> {
    queue: RefCell<VecDeque<ReadyCall<L>>>,
    made: Cell<u64>,
}

impl<L> ReadyCalls<L> {
    pub(super) fn new() -> ReadyCalls<L> {
        ReadyCalls {
            queue: RefCell::default(),
            made: Cell::default(),
        }
    }

    pub(super) fn push(&self, object: Py<PyAny>, make: Make<L>) {
        self.queue
            .borrow_mut()
            .push_back(ReadyCall { object, make });
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// How many calls were made.
    pub(crate) fn made(&self) -> u64 {
        self.made.get()
    }

    /// Makes the calls that are queued now. Calls that they add wait for the next turn, as do those that are left when
    /// one raises, or when `is_over` is true after it.
    pub(super) fn make_all(
        &self,
        py: Python<'_>,
        event_loop: &L,
        is_over: impl Fn() -> bool,
    ) -> PyResult<()> {
        for _ in 0..self.len() {
            let Some(call) = self.queue.borrow_mut().pop_front() else {
                break;
            };
            self.made.set(self.made.get() + 1);
            (call.make)(event_loop, call.object.bind(py))?;
            if is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Drops all calls.
    pub(crate) fn clear(&self) {
        // Dropped outside of the borrow, because this may run any code of Python's.
        let dropped = self.queue.take();
        drop(dropped);
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.queue.try_borrow() {
            Ok(queue) => queue.iter().try_for_each(|call| visit.call(&call.object)),
            Err(_) => Ok(()),
        }
    }
}
