//! The table of the Python objects that a loop calls.

use std::cell::{Cell, RefCell};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::type_object::PyTypeCheck;
use slab::Slab;

/// The number of an object in a table. Once the object was removed, its key is never valid again.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    index: usize,
    serial: u64,
}

struct Entry {
    serial: u64,
    object: Py<PyAny>,
}

/// The Python objects that a loop calls, of all kinds.
#[derive(Default)]
pub(crate) struct Table {
    entries: RefCell<Slab<Entry>>,
    next_serial: Cell<u64>,
}

impl Table {
    pub(crate) fn insert(&self, object: Py<PyAny>) -> Key {
        let serial = self.next_serial.get();
        self.next_serial.set(serial + 1);
        let entry = Entry { serial, object };
        let index = self.entries.borrow_mut().insert(entry);
        Key { index, serial }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>, key: Key) -> Option<Bound<'py, PyAny>> {
        let entries = self.entries.borrow();
        let entry = entries.get(key.index)?;
        (entry.serial == key.serial).then(|| entry.object.bind(py).clone())
    }

    /// Puts `object` in the place of the one with this key. Dropping that one may run any code of Python's.
    pub(crate) fn replace(&self, key: Key, object: Py<PyAny>) -> Option<Py<PyAny>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key.index)?;
        (entry.serial == key.serial).then(|| std::mem::replace(&mut entry.object, object))
    }

    /// Takes the object out of the table. Dropping it may run any code of Python's.
    pub(crate) fn remove(&self, key: Key) -> Option<Py<PyAny>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get(key.index)?;
        if entry.serial != key.serial {
            return None;
        }
        Some(entries.remove(key.index).object)
    }

    /// All objects of one class.
    pub(crate) fn all<'py, T: PyTypeCheck>(&self, py: Python<'py>) -> Vec<Bound<'py, T>> {
        let entries = self.entries.borrow();
        let objects = entries.iter().map(|(_, entry)| entry.object.bind(py));
        objects
            .filter_map(|object| object.cast::<T>().ok().cloned())
            .collect()
    }

    /// Visits the objects, unless the table is being changed: they then live until a later collection.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.entries.try_borrow() {
            Ok(entries) => entries
                .iter()
                .try_for_each(|(_, entry)| visit.call(&entry.object)),
            Err(_) => Ok(()),
        }
    }
}
