//! The calls with which Twisted's reactor runs a loop and sees what is on it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::core::exits::UnwindGuard;
use crate::twisted::datagrams::Datagrams;
use crate::twisted::face::TwistedLoop;
use crate::twisted::listener::Listener;
use crate::twisted::stream::Stream;

#[pymethods]
impl TwistedLoop {
    /// From here on, the loop calls streams with the context `{key: {**base, "system": name}}` on top of `stack`,
    /// which must be the stack of contexts of the thread that runs the loop.
    fn set_context(
        &self,
        py: Python<'_>,
        stack: Bound<'_, PyList>,
        key: Py<PyAny>,
        base: Bound<'_, PyDict>,
    ) -> PyResult<()> {
        self.enter(py)?;
        self.face(py).log.set(stack, key, base);
        Ok(())
    }

    /// While `debugged.debug` is true, stores the result of `describe()` as the `creator` of each new delayed call.
    fn set_debug(
        &self,
        py: Python<'_>,
        debugged: Option<Py<PyAny>>,
        describe: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        self.enter(py)?;
        let debug = &self.face(py).debug;
        debug.debugged.set(debugged);
        debug.describe.set(describe);
        Ok(())
    }

    /// Makes turns while `owner._started` is true; calls `owner.runUntilCurrent()` before a turn if
    /// `owner._justStopped` is true. It reads these only when it begins and after each
    /// [`interrupt`](TwistedLoop::interrupt): reading them before each turn would cost as much as a short turn. Returns
    /// early in a child process that was forked in a turn.
    fn run(&self, owner: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = owner.py();
        let event_loop = self.enter(py)?;
        let face = self.face(py);
        let _guard = UnwindGuard::begin();
        face.interrupted.set(true);
        loop {
            while face.interrupted.replace(false) {
                if !owner.getattr(intern!(py, "_started"))?.is_truthy()? {
                    return Ok(());
                }
                if owner.getattr(intern!(py, "_justStopped"))?.is_truthy()? {
                    owner.call_method0(intern!(py, "runUntilCurrent"))?;
                    face.interrupted.set(true);
                }
            }
            if event_loop.is_copy() {
                return Ok(());
            }
            self.core.get().one_turn(py, &event_loop, None)?;
        }
    }

    /// Ends the current turn without waiting, and makes `run` check whether its owner has stopped.
    fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        match self.core.get().event_loop(py) {
            Some(event_loop) if event_loop.is_copy() => {}
            _ => {
                let event_loop = self.enter(py)?;
                event_loop.reactor.crash();
                // Asyncio's calls are made before the wait.
                event_loop.reactor.skip_wait();
                self.face(py).interrupted.set(true);
            }
        }
        Ok(())
    }

    /// The streams that are not lost, the listeners, and the datagram sockets that are open.
    fn live(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let event_loop = match self.core.get().event_loop(py) {
            Some(event_loop) if event_loop.is_copy() => event_loop,
            _ => self.enter(py)?,
        };
        let streams = event_loop.objects.all::<Stream>(py).into_iter();
        let streams = streams.filter(|stream| stream.get().is_live(py));
        let listeners = event_loop.objects.all::<Listener>(py).into_iter();
        let listeners = listeners.filter_map(|listener| listener.get().object(py));
        let datagrams = event_loop.objects.all::<Datagrams>(py).into_iter();
        let datagrams = datagrams.filter(|socket| socket.get().is_live(py));
        Ok(streams
            .map(|stream| stream.into_any().unbind())
            .chain(datagrams.map(|socket| socket.into_any().unbind()))
            .chain(listeners.map(Bound::unbind))
            .collect())
    }
}
