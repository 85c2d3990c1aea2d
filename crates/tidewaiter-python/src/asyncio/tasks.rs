//! Makes tasks and futures.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::asyncio::face::AsyncioLoop;

/// A module of asyncio's, in which tests and tools replace classes.
fn module<'py>(
    py: Python<'py>,
    name: &'static str,
    cell: &'static PyOnceLock<Py<PyAny>>,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let found =
        cell.get_or_try_init(py, || Ok::<_, PyErr>(py.import(name)?.into_any().unbind()))?;
    Ok(found.bind(py))
}

#[pymethods]
impl AsyncioLoop {
    /// A future of this loop.
    pub(super) fn create_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static FUTURES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let class = module(py, "asyncio.futures", &FUTURES)?.getattr(intern!(py, "Future"))?;
        class.call((), Some(&AsyncioLoop::named(slf)?))
    }

    /// A task that runs `coro` on this loop. The other arguments are those of asyncio's own method.
    #[pyo3(signature = (coro, **kwargs))]
    fn create_task<'py>(
        slf: &Bound<'py, Self>,
        coro: Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static TASKS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (py, this) = (slf.py(), slf.get());
        if this.has_task_factory(py) || this.debug(py) {
            let base = py
                .import(intern!(py, "asyncio"))?
                .getattr(intern!(py, "BaseEventLoop"))?;
            return base.call_method(intern!(py, "create_task"), (slf, coro), kwargs);
        }
        if this.is_closed(py) {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        let class = module(py, "asyncio.tasks", &TASKS)?.getattr(intern!(py, "Task"))?;
        let named = AsyncioLoop::named(slf)?;
        let Some(kwargs) = kwargs else {
            return class.call((coro,), Some(&named));
        };
        let all = kwargs.copy()?;
        all.set_item(intern!(py, "loop"), slf)?;
        class.call((coro,), Some(&all))
    }
}
