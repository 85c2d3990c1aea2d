//! The end of a connection, as the protocol learns of it.

use std::io;

use bytes::Bytes;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Producer, ProducerKind, Reason, Transport};

use super::{SocketTransport, State};
use crate::asyncio::exceptions::{leaves_loop, report};
use crate::asyncio::face::AsyncioLoop;
use crate::core::failures::raised;
use crate::core::slot::Slot;

/// The exception for an error of the OS, with Python's own words for it.
fn os_exception<'py>(py: Python<'py>, error: &io::Error) -> PyResult<Bound<'py, PyAny>> {
    let Some(number) = error.raw_os_error() else {
        return Ok(PyErr::from(io::Error::from(error.kind()))
            .into_value(py)
            .into_bound(py)
            .into_any());
    };
    let words = py
        .import(intern!(py, "os"))?
        .call_method1(intern!(py, "strerror"), (number,))?;
    // The last element is Windows's error number, from which Python derives `errno` there.
    let exception = PyOSError::new_err((number, words.unbind(), py.None(), number));
    Ok(exception.into_value(py).into_bound(py).into_any())
}

impl SocketTransport {
    /// The library has ended the connection.
    pub(super) fn ended(
        transport: &Bound<'_, Self>,
        link: &Transport,
        reason: &Reason,
    ) -> PyResult<()> {
        let py = transport.py();
        let state = transport.get().state(py);
        let exception = match reason {
            Reason::Reset(error) | Reason::TimedOut(error) | Reason::Os { source: error, .. } => {
                Some(os_exception(py, error)?)
            }
            _ => state.lost_with(py),
        };
        state.with_extra(|extra| extra.peer = link.peer_addr());
        if exception.is_none() && !state.closing.get() {
            // Both sides have ended, and the protocol wanted to stay. It is told once it closes the transport.
            return state.part(py);
        }
        if state
            .event_loop()
            .is_none_or(|event_loop| event_loop.ready.is_empty())
        {
            return SocketTransport::tell_lost(transport, exception);
        }
        // A task that data of this turn woke runs before the protocol is told, as on asyncio's loops.
        state.closing.set(true);
        state.part(py)?;
        state.tell_soon(transport, exception)
    }

    /// Tells the protocol that the connection is lost, and lets go of everything.
    fn tell_lost(transport: &Bound<'_, Self>, exception: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let py = transport.py();
        let state = transport.get().state(py);
        state.closing.set(true);
        state.conn_lost.set(state.conn_lost.get().max(1));
        if let Some(stream) = state.stream() {
            stream.end(py, exception.as_ref())?;
        }
        let protocol = transport.get().protocol_of(py);
        let told = match &protocol {
            Some(protocol) => {
                let exception = exception.unwrap_or_else(|| py.None().into_bound(py));
                state.call(protocol, intern!(py, "connection_lost"), [&exception])
            }
            None => Ok(py.None().into_bound(py)),
        };
        let receiver = state.receiver.take();
        state.part(py)?;
        drop(receiver);
        state.detach_from_server(transport)?;
        match told {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = "Exception in callback connection_lost()";
                state.report(transport, message, error, protocol.as_ref())
            }
        }
    }

    /// Handles an exception of the protocol's, or one that makes it impossible to go on: reports it, unless the system
    /// raised it, and loses the connection. Fails if the loop has to end for the exception.
    pub(super) fn fatal_error(
        transport: &Bound<'_, Self>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = transport.py();
        if leaves_loop(py, &error) {
            return Err(error);
        }
        let state = transport.get().state(py);
        let exception = raised(py, &error).into_bound(py).into_any();
        if error.is_instance_of::<PyOSError>(py) {
            if state.home.get().debug(py) {
                let logger = py.import("asyncio.log")?.getattr("logger")?;
                logger.call_method1("debug", ("%r: %s", transport, message))?;
            }
        } else {
            let protocol = transport.get().protocol_of(py);
            state.report(transport, message, error, protocol.as_ref())?;
        }
        SocketTransport::_force_close(transport, Some(exception))
    }
}

/// Registered once the transport is to be closed: does so when everything is sent, also what a protocol writes that was
/// paused before.
struct CloseWhenSent(Slot<SocketTransport>);

impl Producer for CloseWhenSent {
    // It is a pull producer, which is never paused.
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.0.call("resume_writing", |transport| {
            let py = transport.py();
            let state = transport.get().state(py);
            state.resume_writer(transport)?;
            let link = state.link.borrow().clone();
            if let Some(link) = link.filter(|link| link.queued() == 0) {
                link.release_connection();
            }
            Ok(py.None().into_bound(py))
        });
    }
}

#[pymethods]
impl AsyncioLoop {
    /// Whether a transport uses the socket with this number.
    fn _is_transports(&self, py: Python<'_>, descriptor: RawDescriptor) -> bool {
        self.numbers(py).borrow().contains(&descriptor)
    }

    /// The transports of all connections that are not lost.
    fn _socket_transports<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<Bound<'py, SocketTransport>>> {
        match self.event_loop(py) {
            Some(event_loop) => Ok(event_loop.objects.all::<SocketTransport>(py)),
            None => Ok(Vec::new()),
        }
    }
}

impl State {
    /// Lets go of the connection. The OS may reuse the socket's number from here on.
    pub(super) fn part(&self, py: Python<'_>) -> PyResult<()> {
        self.link.take();
        if let Some(descriptor) = self.descriptor.take() {
            let numbers = self.home.get().numbers(py);
            numbers.borrow_mut().remove(&descriptor);
        }
        if let Some(slot) = self.slot.get() {
            slot.remove();
        }
        match self.with_extra_if(|extra| extra.view.take()).flatten() {
            Some(view) => view.call_method0(py, intern!(py, "detach")).map(drop),
            None => Ok(()),
        }
    }

    /// Passes an exception to the loop's exception handler. Fails if it is to leave the loop.
    pub(super) fn report(
        &self,
        transport: &Bound<'_, SocketTransport>,
        message: &str,
        error: PyErr,
        protocol: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let about = [
            ("transport", Some(transport.as_any())),
            ("protocol", protocol),
        ];
        report(&self.home, transport.py(), message, error, &about)
    }

    /// Closes the connection once the queue is sent. Does not linger as the library's own transports do: a peer that
    /// goes on sending is to get a reset, as from asyncio's.
    fn close_when_sent(
        &self,
        transport: &Bound<'_, SocketTransport>,
        link: &Transport,
    ) -> PyResult<()> {
        match self.slot.get() {
            Some(slot) if link.queued() > 0 => {
                link.pause_producing();
                link.register_producer(CloseWhenSent(slot.clone()), ProducerKind::Pull);
            }
            _ => {
                self.conn_lost.set(self.conn_lost.get() + 1);
                link.release_connection();
                return self.tell_unless_told(transport);
            }
        }
        Ok(())
    }

    pub(super) fn detach_from_server(
        &self,
        transport: &Bound<'_, SocketTransport>,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        let detach = intern!(py, "_detach");
        if py.version_info() >= (3, 13) {
            server.call_method1(py, detach, (transport,))?;
        } else {
            server.call_method0(py, detach)?;
        }
        Ok(())
    }

    /// Has the loop tell the protocol that the connection is lost, unless it was told: in the next turn, as asyncio's
    /// transports do, whether or not the socket is closed by then.
    fn tell_unless_told(&self, transport: &Bound<'_, SocketTransport>) -> PyResult<()> {
        if self.receiver.borrow().is_none() || self.event_loop().is_none() {
            return Ok(());
        }
        self.tell_soon(transport, self.lost_with(transport.py()))
    }

    fn tell_soon(
        &self,
        transport: &Bound<'_, SocketTransport>,
        exception: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = transport.py();
        let tell = transport.getattr("_call_connection_lost")?;
        let call_soon = intern!(py, "call_soon");
        self.home
            .call_method1(py, call_soon, (tell, exception))
            .map(drop)
    }
}

#[pymethods]
impl SocketTransport {
    /// Closes the connection once everything is sent.
    pub(super) fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let link = state.transport()?;
        if state.closing.replace(true) {
            return Ok(());
        }
        match link {
            Some(link) => state.close_when_sent(slf, &link),
            None => state.tell_unless_told(slf),
        }
    }

    /// Closes the connection at once.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        SocketTransport::_force_close(slf, None)
    }

    /// Closes the connection at once. The protocol is told of `exc`.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let link = state.transport()?;
        state.closing.set(true);
        state.conn_lost.set(state.conn_lost.get() + 1);
        if let Some(exc) = exc {
            state.with_extra(|extra| {
                extra.lost_with.get_or_insert(exc.unbind());
            });
        }
        match link {
            Some(link) => {
                if link.queued() > 0 {
                    // asyncio's transports offer each write to the OS at once, so that only the rest is lost.
                    link.write_through(Bytes::new());
                }
                link.release_connection();
                state.tell_unless_told(slf)
            }
            None => state.tell_unless_told(slf),
        }
    }

    #[pyo3(signature = (exc, message="Fatal error on transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        SocketTransport::fatal_error(slf, PyErr::from_value(exc), message)
    }

    /// Lets go of the connection, because the loop is closed: the protocol is not told.
    fn _abandon(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        state.closing.set(true);
        state.part(py)
    }

    fn _call_connection_lost(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        SocketTransport::tell_lost(slf, exc)
    }
}
