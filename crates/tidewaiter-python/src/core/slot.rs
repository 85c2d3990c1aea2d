//! The way from a callback of the library to the Python object that it is for.
//!
//! The library's callbacks hold no references to Python objects, only slots. The objects are in the loop's table, where
//! the garbage collector sees them, and dropping the loop drops all of them.

use std::marker::PhantomData;
use std::rc::{Rc, Weak};

use pyo3::prelude::*;
use pyo3::type_object::PyTypeCheck;

use crate::core::event_loop::Loop;
use crate::core::table::Key;

/// A class of objects that the loop calls.
pub(crate) trait Callee: PyTypeCheck + Sized {
    /// The kind of object, as `on_error` gets it.
    const KIND: &'static str;

    /// The object that `on_error` gets.
    fn subject<'py>(object: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        object.as_any().clone()
    }

    /// The object that a report of a slow callback names.
    fn named<'py>(object: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        Self::subject(object)
    }

    /// As `named`, but asked after the call, which may tell by its result on whose behalf it was.
    fn on_behalf_of<'py>(
        named: Bound<'py, PyAny>,
        _returned: &Bound<'py, PyAny>,
    ) -> Bound<'py, PyAny> {
        named
    }

    /// Makes a call in the object's context.
    fn in_context<R>(_object: &Bound<'_, Self>, call: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        call()
    }

    /// Handles an exception that a call raised.
    fn failed(object: &Bound<'_, Self>, event_loop: &Loop, error: &PyErr) {
        let hooks = &event_loop.hooks;
        hooks.report(Self::KIND, error, &Self::subject(object));
    }
}

/// The place of one Python object in its loop's table. Finds nothing once the object was removed or the loop is gone.
pub(crate) struct Slot<T> {
    home: Weak<Loop>,
    key: Key,
    class: PhantomData<fn(T)>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot {
            home: self.home.clone(),
            key: self.key,
            class: PhantomData,
        }
    }
}

impl<T: Callee> Slot<T> {
    /// Adds `object` to the loop's table.
    pub(crate) fn new(event_loop: &Rc<Loop>, object: &Bound<'_, T>) -> Slot<T> {
        let object = object.as_any().clone().unbind();
        Slot {
            home: Rc::downgrade(event_loop),
            key: event_loop.objects.insert(object),
            class: PhantomData,
        }
    }

    pub(crate) fn event_loop(&self) -> Option<Rc<Loop>> {
        self.home.upgrade()
    }

    /// Looks at the object, if there is one.
    pub(crate) fn find(&self, look: impl FnOnce(&Loop, &Bound<'_, T>)) {
        let Some(event_loop) = self.home.upgrade() else {
            return;
        };
        Python::attach(|py| {
            if let Some(object) = event_loop.objects.get(py, self.key)
                && let Ok(object) = object.cast_into::<T>()
            {
                look(&event_loop, &object);
            }
        });
    }

    /// Calls the object, if there is one, as [`enter`] does.
    pub(crate) fn call(
        &self,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, T>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        self.find(|event_loop, object| enter(event_loop, object, method, call));
    }

    /// As [`call`](Slot::call), but removes the object from the table first.
    pub(crate) fn call_last(
        &self,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, T>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        let Some(event_loop) = self.home.upgrade() else {
            return;
        };
        Python::attach(|py| {
            if let Some(object) = event_loop.objects.remove(self.key)
                && let Ok(object) = object.into_bound(py).cast_into::<T>()
            {
                enter(&event_loop, &object, method, call);
            }
        });
    }

    /// Puts `object` in the place of this one: the loop calls that from here on.
    pub(crate) fn pass_to(&self, object: &Bound<'_, T>) {
        if let Some(event_loop) = self.home.upgrade() {
            let object = object.as_any().clone().unbind();
            let replaced = event_loop.objects.replace(self.key, object);
            Python::attach(|_| drop(replaced));
        }
    }

    /// Removes the object from the table: nothing calls it from here on.
    pub(crate) fn remove(&self) {
        if let Some(event_loop) = self.home.upgrade() {
            let object = event_loop.objects.remove(self.key);
            Python::attach(|_| drop(object));
        }
    }
}

/// Calls an object in its context, and handles the exception that this raises, if it does. A report of a slow callback
/// names `method` of the object, or the object itself if `method` is empty.
pub(crate) fn enter<'py, T: Callee>(
    event_loop: &Loop,
    object: &Bound<'py, T>,
    method: &str,
    call: impl FnOnce(&Bound<'py, T>) -> PyResult<Bound<'py, PyAny>>,
) {
    let called = T::in_context(object, || {
        let named = || T::named(object);
        let hooks = &event_loop.hooks;
        hooks.timed(named, method, T::on_behalf_of, || call(object))
    });
    if let Err(error) = called {
        T::failed(object, event_loop, &error);
    }
}
