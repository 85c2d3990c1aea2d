//! State that the interpreter lock protects, and the one place that releases the lock.
//!
//! One thread at a time may use a reactor: the thread that holds Python's lock. We release the lock in one place
//! only, around a wait that may block. The waiting thread is then inside the port, so [`Waiting`] makes calls from
//! other threads fail.

#![expect(
    unsafe_code,
    reason = "the compiler cannot see that the interpreter lock serializes all access"
)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::core::endings;

/// A value that may be accessed only while the interpreter lock is held.
pub(crate) struct Locked<T>(T);

// SAFETY: references to the value come only from `get` and `visited`, whose callers hold the interpreter lock, or from
// `&mut self`. The lock makes one thread's accesses visible to the next thread.
unsafe impl<T> Send for Locked<T> {}
// SAFETY: as for `Send`: there is one lock, so no two threads use such a reference at the same time. The lock is
// released during a borrow only around waits, and `Waiting` then keeps other threads out.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Locked<T> {
        Locked(value)
    }

    pub(crate) fn get<'a>(&'a self, _lock: Python<'a>) -> &'a T {
        &self.0
    }

    /// Gives access to the garbage collector's visits, which hold the lock but have no token for it.
    pub(crate) fn visited(&self) -> &T {
        &self.0
    }
}

/// The number of references to an object. With the lock, it does not change.
pub(crate) fn references<T>(_lock: Python<'_>, object: &Py<T>) -> isize {
    // SAFETY: reads a field of the object, which `object` keeps alive.
    unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) }
}

/// The place of the list of weak references in the objects of a class.
pub(crate) struct WeakList(usize);

impl WeakList {
    /// Finds it in a class that takes weak references.
    pub(crate) fn of(class: &Bound<'_, PyType>) -> PyResult<WeakList> {
        let offset = class.getattr(intern!(class.py(), "__weakrefoffset__"))?;
        offset.extract().map(WeakList)
    }

    /// Whether an object of exactly the class has weak references.
    pub(crate) fn has_some(&self, object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: the interpreter says that an object of the class has a pointer at this offset.
        let list = unsafe { object.as_ptr().byte_add(self.0) }.cast::<*mut c_void>();
        // SAFETY: as above; `object` keeps the memory alive, and no other thread changes it while this one has the lock.
        !unsafe { list.read() }.is_null()
    }
}

/// Raises `StopIteration` with a value, which must be no exception and no tuple. The caller returns to Python at once,
/// without a result. An error of pyo3's means the same, but makes an exception object, which coroutines do without up
/// to Python 3.11.
pub(crate) fn stop_iteration(value: &Bound<'_, PyAny>) {
    // SAFETY: the interpreter runs, so its exceptions exist.
    let class = unsafe { pyo3::ffi::PyExc_StopIteration };
    // SAFETY: both objects are alive, and the token of `value` shows that this thread holds the lock.
    unsafe { pyo3::ffi::PyErr_SetObject(class, value.as_ptr()) };
}

/// Raises in a sub-interpreter. Those of Python 3.12 and later may each have a lock of their own, and all would share
/// this module's state.
pub(crate) fn refuse_sub_interpreters(_lock: Python<'_>) -> PyResult<()> {
    // SAFETY: this thread holds a lock, so it has a current interpreter.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    // SAFETY: the interpreter is the current one, so it is alive.
    let number = unsafe { pyo3::ffi::PyInterpreterState_GetID(interpreter) };
    if number == MAIN_INTERPRETER {
        return Ok(());
    }
    let message = "tidewaiter works in the main interpreter only, not in subinterpreters";
    Err(PyImportError::new_err(message))
}

/// Raises where the interpreter has no lock. A free-threaded Python turns it on for this module, but not if the user
/// told it to do without.
pub(crate) fn refuse_to_go_without(py: Python<'_>) -> PyResult<()> {
    let sys = py.import(intern!(py, "sys"))?;
    // Pythons older than 3.13 always have it.
    let has_lock = match sys.getattr_opt(intern!(py, "_is_gil_enabled"))? {
        Some(asked) => asked.call0()?.is_truthy()?,
        None => true,
    };
    if has_lock {
        return Ok(());
    }
    let message =
        "tidewaiter needs the interpreter lock, which PYTHON_GIL=0 or -X gil=0 turned off";
    Err(PyImportError::new_err(message))
}

/// The number of the interpreter that a process begins with.
const MAIN_INTERPRETER: i64 = 0;

/// Whether a thread waits at the port without the interpreter lock.
#[derive(Default)]
pub(crate) struct Waiting(AtomicBool);

impl Waiting {
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets other threads run Python while `wait` runs.
    pub(crate) fn release(&self, wait: &mut dyn FnMut()) {
        struct Carried<'a>(&'a mut dyn FnMut());
        // SAFETY: `detach` calls the closure on this thread. It requires `Send` so that the closure uses nothing of
        // the interpreter without the lock, and a port's wait does not.
        unsafe impl Send for Carried<'_> {}
        impl Carried<'_> {
            fn call(self) {
                (self.0)();
            }
        }
        let carried = Carried(wait);
        // SAFETY: a reactor waits in a turn, and the thread that makes a turn holds the lock. `Python::attach` would drop
        // objects that other threads gave up, and their destructors may not use the loop between its sends and its wait.
        let py = unsafe { Python::assume_attached() };
        self.0.store(true, Ordering::Relaxed);
        py.detach(move || {
            carried.call();
            endings::stay_if_over();
        });
        self.0.store(false, Ordering::Relaxed);
    }
}
