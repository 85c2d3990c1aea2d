//! Passes a transport's callbacks on to its Python object, and opens the connections of streams.

use std::rc::Rc;

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidewaiter::port::{PassedDescriptors, RawDescriptor};
use tidewaiter::{Address, ConnectError, Factory, Protocol, Reactor, Reason, Transport};

use super::{Stream, passing};
use crate::core::failures::{not_connected, os_error, refused};
use crate::core::slot::{Slot, enter};
use crate::core::sockets;
use crate::twisted::face::{Accepted, TwistedLoop};

/// Asks for a stream for an accepted connection.
type Open = dyn FnOnce(&Transport) -> Option<Slot<Stream>>;

/// The protocol of every connection and pipe: finds the stream's Python object and calls it.
pub(in crate::twisted) struct Bridge {
    /// The stream; `None` until an accepted connection has one.
    slot: Option<Slot<Stream>>,
    /// Set for an accepted connection until it is made.
    open: Option<Box<Open>>,
}

impl Bridge {
    fn to(slot: Slot<Stream>) -> Bridge {
        Bridge {
            slot: Some(slot),
            open: None,
        }
    }

    /// Makes the bridge of an accepted connection, which calls `open` for a stream.
    pub(in crate::twisted) fn accepted(
        open: impl FnOnce(&Transport) -> Option<Slot<Stream>> + 'static,
    ) -> Bridge {
        Bridge {
            slot: None,
            open: Some(Box::new(open)),
        }
    }

    /// Looks at the stream's object, if there is one.
    fn find(&self, look: impl FnOnce(&Bound<'_, Stream>)) {
        if let Some(slot) = &self.slot {
            slot.find(|_, stream| look(stream));
        }
    }

    /// Calls the stream's object in its log context, unless the connection is lost, as far as Python knows. An
    /// exception loses the connection. A report of a slow callback names `method`.
    fn call(
        &self,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, Stream>) -> PyResult<Bound<'py, PyAny>>,
    ) {
        if let Some(slot) = &self.slot {
            call_live(slot, method, call);
        }
    }
}

fn call_live(
    slot: &Slot<Stream>,
    method: &str,
    call: impl for<'py> FnOnce(&Bound<'py, Stream>) -> PyResult<Bound<'py, PyAny>>,
) {
    slot.find(|event_loop, stream| {
        if stream.get().is_live(stream.py()) {
            enter(event_loop, stream, method, call);
        }
    });
}

impl Protocol for Bridge {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(open) = self.open.take() {
            self.slot = open(transport);
        } else if let Some(slot) = &self.slot {
            slot.call("_streamMade", |stream| {
                let state = stream.get().state(stream.py());
                state.begin(transport);
                stream.call_method0(intern!(stream.py(), "_streamMade"))
            });
        }
        self.find(|stream| {
            let state = stream.get().state(stream.py());
            state.pause_if_not_reading(transport);
        });
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.call("dataReceived", |stream| {
            let py = stream.py();
            let protocol = stream.get().protocol(py)?;
            protocol.call_method1(intern!(py, "dataReceived"), (PyBytes::new(py, data),))
        });
    }

    fn descriptors_received(&mut self, _: &Transport, passed: PassedDescriptors) {
        self.call("fileDescriptorReceived", |stream| {
            passing::receive(stream, passed)
        });
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.call("_streamEnded", |stream| {
            stream.call_method0(intern!(stream.py(), "_streamEnded"))
        });
    }

    fn write_connection_lost(&mut self, _: &Transport) {
        self.find(|stream| {
            stream.get().state(stream.py()).write_disconnected.set(true);
        });
        self.call("_streamWriteEnded", |stream| {
            stream.call_method0(intern!(stream.py(), "_streamWriteEnded"))
        });
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        let how = match reason {
            Reason::Done => "done",
            Reason::Aborted => "aborted",
            _ => "lost",
        };
        self.call("_streamLost", |stream| {
            stream.call_method1(intern!(stream.py(), "_streamLost"), (how,))
        });
        self.find(|stream| stream.get().state(stream.py()).end());
        if let Some(slot) = &self.slot {
            slot.remove();
        }
    }
}

/// The factory for a connection that a stream's `_connect` makes.
struct Caller(Slot<Stream>);

impl Factory for Caller {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Bridge::to(self.0.clone())))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        let refused = not_connected(&error);
        call_live(&self.0, "_streamRefused", |stream| {
            let py = stream.py();
            stream.call_method1(intern!(py, "_streamRefused"), (refused.value(py),))
        });
        self.0.remove();
    }
}

#[pymethods]
impl Stream {
    /// Takes over the connection that a listener on `twisted_loop` has just accepted. To be called inside `_accepted`.
    fn _adopt(slf: &Bound<'_, Self>, twisted_loop: &TwistedLoop) -> PyResult<()> {
        let py = slf.py();
        let event_loop = twisted_loop.enter(py)?;
        let face = twisted_loop.face(py);
        let transport = match face.accepted.take() {
            Some(Accepted::Offered(transport)) => transport,
            other => {
                face.accepted.replace(other);
                return Err(PyAttributeError::new_err("no connection was accepted"));
            }
        };
        let slot = Stream::enlist(slf, &event_loop, Rc::downgrade(&face.log));
        face.accepted.replace(Some(Accepted::Adopted(slot)));
        slf.get().state(py).begin(&transport);
        Ok(())
    }

    /// Takes over the connected socket with this number, whose peer is `address`. It belongs to the loop from here on,
    /// even if this raises. `_streamMade` follows from the loop.
    fn _take(
        slf: &Bound<'_, Self>,
        twisted_loop: &TwistedLoop,
        descriptor: RawDescriptor,
        address: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let socket = sockets::stream(descriptor)?;
        let event_loop = twisted_loop.enter(py)?;
        let peer = sockets::address(address)?;
        let log = Rc::downgrade(&twisted_loop.face(py).log);
        let slot = Stream::enlist(slf, &event_loop, log);
        let bridge = Bridge::to(slot.clone());
        match event_loop.reactor.adopt_stream(socket, peer, bridge) {
            Ok(transport) => {
                slf.get().state(py).begin(&transport);
                Ok(())
            }
            Err(error) => {
                slot.remove();
                Err(refused("adopt", &error))
            }
        }
    }

    /// Takes over the connection of `other`, which is lost from here on without being told.
    fn _succeed(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<()> {
        let (state, others) = (slf.get().state(slf.py()), other.get().state(slf.py()));
        let (Some(transport), Some(slot)) = (others.transport()?, others.slot()) else {
            return Err(PyAttributeError::new_err("it has no connection"));
        };
        others.end();
        state.log.replace(others.log.borrow().clone());
        state.slot.replace(Some(slot.clone()));
        state.begin(&transport);
        slot.pass_to(slf);
        Ok(())
    }

    /// Reads from the descriptor with this number, or writes to it. It stays the application's.
    fn _open(
        slf: &Bound<'_, Self>,
        twisted_loop: &TwistedLoop,
        descriptor: RawDescriptor,
        writes: bool,
    ) -> PyResult<()> {
        let event_loop = twisted_loop.enter(slf.py())?;
        let log = Rc::downgrade(&twisted_loop.face(slf.py()).log);
        let slot = Stream::enlist(slf, &event_loop, log);
        let bridge = Bridge::to(slot.clone());
        let (input, output) = match writes {
            true => (None, Some(descriptor)),
            false => (Some(descriptor), None),
        };
        match event_loop.reactor.open_descriptors(input, output, bridge) {
            Ok(transport) => {
                Stream::open(slf, &transport);
                Ok(())
            }
            Err(error) => {
                slot.remove();
                Err(os_error("open", &error))
            }
        }
    }

    /// Connects the socket with this number, which belongs to the loop from here on, to `address`, as in
    /// `socket.connect`. `_streamMade` or `_streamRefused` follows from the loop.
    fn _connect(
        slf: &Bound<'_, Self>,
        twisted_loop: &TwistedLoop,
        descriptor: RawDescriptor,
        address: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let event_loop = twisted_loop.enter(py)?;
        let peer = sockets::address(address)?;
        let socket = sockets::stream(descriptor)?;
        let log = Rc::downgrade(&twisted_loop.face(py).log);
        let slot = Stream::enlist(slf, &event_loop, log);
        let connector = event_loop
            .reactor
            .connect_tcp_with(socket, peer, Caller(slot));
        slf.get().state(py).connector.replace(Some(connector));
        Ok(())
    }
}
