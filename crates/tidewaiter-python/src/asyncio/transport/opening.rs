//! How transports begin.

use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Address, Transport};

use std::cell::{Cell, OnceCell, RefCell};

use super::bridge::Bridge;
use super::delivery::Receiver;
use super::flow::WriteFlow;
use super::{SocketTransport, State};
use crate::asyncio::face::AsyncioLoop;
use crate::core::context;
use crate::core::event_loop::Loop;
use crate::core::failures::refused;
use crate::core::lock::Locked;
use crate::core::slot::Slot;
use crate::core::sockets;

impl SocketTransport {
    /// Makes a transport, and adds it to the loop's table. Its callbacks run in `context`.
    pub(in crate::asyncio) fn make<'py>(
        event_loop: &Rc<Loop>,
        home: &Bound<'py, AsyncioLoop>,
        context: &Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, SocketTransport>, Slot<SocketTransport>)> {
        let py = home.py();
        let state = State {
            home: home.clone().unbind(),
            context: context.clone().unbind(),
            slot: OnceCell::new(),
            link: RefCell::new(None),
            descriptor: Cell::new(None),
            receiver: RefCell::new(Some(Receiver::new(protocol)?)),
            server: RefCell::new(None),
            write_flow: WriteFlow::default(),
            paused: Cell::new(false),
            closing: Cell::new(false),
            eof_written: Cell::new(false),
            conn_lost: Cell::new(0),
            extra: RefCell::new(None),
        };
        let transport = Bound::new(py, SocketTransport(Locked::new(state)))?;
        if let Some(server) = server {
            attach(server, &transport)?;
            let state = transport.get().state(py);
            state.server.replace(Some(server.clone().unbind()));
        }
        let slot = Slot::new(event_loop, &transport);
        // `set` cannot fail: the cell is empty until here.
        let _ = transport.get().state(py).slot.set(slot.clone());
        Ok((transport, slot))
    }

    /// Connects the object to its open connection.
    pub(in crate::asyncio) fn begin(&self, py: Python<'_>, link: &Transport) {
        let state = self.state(py);
        let peer = link.peer_addr();
        if !matches!(peer, Some(Address::Pipe(_)))
            && let Some(descriptor) = link.raw_descriptor()
        {
            state.descriptor.set(Some(descriptor));
            let numbers = state.home.get().numbers(py);
            numbers.borrow_mut().insert(descriptor);
        }
        state.link.replace(Some(link.clone()));
        if matches!(peer, Some(Address::Ip(_))) {
            // As asyncio does: small writes are not delayed. A connection that has failed tells that by itself.
            let _ = link.set_no_delay(true);
        }
    }

    /// Has `waiter` get a result once `connection_made` has returned.
    pub(in crate::asyncio) fn tell(&self, py: Python<'_>, waiter: Py<PyAny>) {
        self.state(py)
            .with_extra(|extra| extra.waiter = Some(waiter));
    }

    /// The library has begun the connection. The protocol is told at once, or by the loop's `call_soon` if a program
    /// has replaced that, since asyncio's transports call it.
    pub(super) fn begun(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let state = transport.get().state(py);
        let home = state.home.bind(py);
        if !home.get().is_call_soon_replaced(py) {
            return SocketTransport::made(transport);
        }
        if let Some(link) = state.link.borrow().as_ref() {
            link.pause_producing();
        }
        let call = transport.getattr(intern!(py, "_call_connection_made"))?;
        home.call_method1(intern!(py, "call_soon"), (call,))?;
        Ok(())
    }

    /// Tells the protocol that the connection is made.
    fn made(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let state = transport.get().state(py);
        if let Some(protocol) = transport.get().protocol_of(py) {
            let called = SocketTransport::deliver_to_stream(transport, &protocol).and_then(|()| {
                state.call(
                    &protocol,
                    intern!(py, "connection_made"),
                    [transport.as_any()],
                )
            });
            if let Err(error) = called {
                let message = "Exception in callback connection_made()";
                state.report(transport, message, error, Some(&protocol))?;
            }
        }
        let waiter = state.with_extra_if(|extra| extra.waiter.take()).flatten();
        if let Some(waiter) = waiter {
            if !waiter
                .call_method0(py, intern!(py, "done"))?
                .is_truthy(py)?
            {
                waiter.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
            }
            state.read_soon(transport);
        }
        Ok(())
    }

    /// Calls a method of the protocol without arguments.
    pub(super) fn call_protocol0<'py>(
        &self,
        py: Python<'py>,
        method: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.protocol_of(py) {
            Some(protocol) => self.state(py).call(&protocol, method, []),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

#[pymethods]
impl SocketTransport {
    /// Tells the protocol that the connection is made, and then reads.
    fn _call_connection_made(slf: &Bound<'_, Self>) -> PyResult<()> {
        SocketTransport::made(slf)?;
        slf.get().state(slf.py()).read_soon(slf);
        Ok(())
    }
}

/// Whether a connection is over a named pipe of Windows. Its number is that of no socket.
pub(super) fn is_pipe(link: &Transport) -> bool {
    matches!(link.peer_addr(), Some(Address::Pipe(_)))
}

/// Has a new transport read.
fn read(_: &Loop, object: &Bound<'_, PyAny>) -> PyResult<()> {
    // Cannot fail: only transports are queued with this function.
    let transport = object.cast::<SocketTransport>()?;
    let state = transport.get().state(object.py());
    match state.transport()? {
        Some(link) if state.is_reading() => state.read_on(transport, &link),
        _ => Ok(()),
    }
}

impl State {
    /// Reads once the code that waits for the transport has got it: it may set a protocol before anything arrives.
    fn read_soon(&self, transport: &Bound<'_, SocketTransport>) {
        let link = self.link.borrow().clone();
        if let (Some(link), Some(event_loop)) = (link, self.event_loop()) {
            link.pause_producing();
            event_loop.make_soon(transport.clone().into_any().unbind(), read);
        }
    }

    /// Ends a transport that has no connection.
    fn give_up(&self, transport: &Bound<'_, SocketTransport>) -> PyResult<()> {
        self.closing.set(true);
        let receiver = self.receiver.take();
        drop(receiver);
        self.part(transport.py())?;
        self.detach_from_server(transport)
    }
}

/// Tells a server of a new connection.
fn attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, SocketTransport>) -> PyResult<()> {
    let py = server.py();
    let method = intern!(py, "_attach");
    if py.version_info() >= (3, 13) {
        server.call_method1(method, (transport,))?;
    } else {
        server.call_method0(method)?;
    }
    Ok(())
}

#[pymethods]
impl AsyncioLoop {
    /// Makes a transport of the connected socket with this number, whose peer is `address`. It belongs to the loop from
    /// here on, even if this raises. `connection_made` follows from the loop, and then a result for `waiter`. `view`
    /// is the socket as Python sees it.
    #[expect(clippy::too_many_arguments, reason = "as asyncio passes them")]
    fn _open_stream(
        slf: &Bound<'_, Self>,
        descriptor: RawDescriptor,
        address: &Bound<'_, PyAny>,
        protocol: Bound<'_, PyAny>,
        waiter: Option<Py<PyAny>>,
        extra: Option<Bound<'_, PyDict>>,
        server: Option<&Bound<'_, PyAny>>,
        view: Py<PyAny>,
    ) -> PyResult<Py<SocketTransport>> {
        let py = slf.py();
        let socket = sockets::stream(descriptor)?;
        let event_loop = slf.get().open(py)?;
        event_loop.check_thread()?;
        let peer = sockets::address(address)?;
        let context = context::copy_of_current(py)?;
        let (transport, slot) =
            SocketTransport::make(&event_loop, slf, &context, protocol, server)?;
        let state = transport.get().state(py);
        if let Some(extra) = extra {
            state.set_values(extra);
        }
        state.with_extra(|extra| {
            extra.waiter = waiter;
            extra.view = Some(view);
        });
        let adopted = event_loop
            .reactor
            .adopt_stream(socket, peer, Bridge::To(slot));
        match adopted {
            Ok(link) => {
                transport.get().begin(py, &link);
                Ok(transport.unbind())
            }
            Err(error) => {
                state.give_up(&transport)?;
                Err(refused("adopt", &error))
            }
        }
    }
}
