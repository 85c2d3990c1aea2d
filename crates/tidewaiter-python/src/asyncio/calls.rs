//! The calls that make calls: `call_soon`, `call_later` and their kin.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::asyncio::face::AsyncioLoop;
use crate::asyncio::handle::{self, Handle, TimerHandle};
use crate::core::event_loop::Loop;

impl AsyncioLoop {
    /// In debug mode, checks what `method` was given, and that this is the loop's thread if it must be.
    fn check(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        method: &str,
        this_thread: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        if !slf.get().debug(py) {
            return Ok(());
        }
        if this_thread {
            slf.call_method0(intern!(py, "_check_thread"))?;
        }
        slf.call_method1(intern!(py, "_check_callback"), (callback, method))?;
        Ok(())
    }

    fn soon<'py>(
        slf: &Bound<'py, Self>,
        event_loop: &Loop,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let handle = Handle::soon(slf, callback, args, context)?;
        let object = handle.clone().into_any().unbind();
        event_loop.make_soon(object, handle::make);
        Ok(handle)
    }

    /// Makes a call at the time that `when` returns, given the present time.
    fn at<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        when: impl FnOnce(f64) -> f64,
        (callback, args): (Bound<'py, PyAny>, &Bound<'py, PyTuple>),
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let py = slf.py();
        let event_loop = slf.get().open(py)?;
        Self::check(slf, &callback, method, true)?;
        let handle = Handle::of(slf, callback, args, context)?;
        let now = event_loop.timers.time(py)?;
        TimerHandle::schedule(handle, &event_loop, py, when(now), now)
    }
}

#[pymethods]
impl AsyncioLoop {
    /// Calls `callback(*args)` in the next turn, in `context` or else in a copy of the current context.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let event_loop = slf.get().open(slf.py())?;
        Self::check(slf, &callback, "call_soon", true)?;
        Self::soon(slf, &event_loop, callback, args, context)
    }

    /// As `call_soon`; may be called from any thread.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let event_loop = slf.get().open(slf.py())?;
        Self::check(slf, &callback, "call_soon_threadsafe", false)?;
        if context.is_some() {
            return Self::soon(slf, &event_loop, callback, args, context);
        }
        let handle = Handle::from_thread(slf, callback, args)?;
        event_loop.make_soon(handle.clone().into_any().unbind(), handle::make);
        Ok(handle)
    }

    /// Calls `callback(*args)` once, no earlier than `delay` seconds from now.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: Option<f64>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let delay = delay.ok_or_else(|| PyTypeError::new_err("delay must not be None"))?;
        Self::at(
            slf,
            "call_later",
            |now| now + delay,
            (callback, args),
            context,
        )
    }

    /// Calls `callback(*args)` once, no earlier than at `when` by the loop's clock.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: Option<f64>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let when = when.ok_or_else(|| PyTypeError::new_err("when cannot be None"))?;
        Self::at(slf, "call_at", |_| when, (callback, args), context)
    }

    /// Has the loop run a handle in the next turn, unless it was cancelled: one of ours, or one of asyncio's own.
    fn _add_callback(&self, handle: Bound<'_, PyAny>) -> PyResult<()> {
        let event_loop = self.open(handle.py())?;
        let make = match handle.cast::<Handle>() {
            Ok(_) => handle::make,
            Err(_) => handle::make_other,
        };
        event_loop.make_soon(handle.unbind(), make);
        Ok(())
    }
}
