//! Passes a datagram socket's callbacks on to its Python object, and takes sockets over.

use std::io::{self, ErrorKind};
use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidewaiter::port::{Datagram, DatagramError, PortKind, RawDescriptor};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Reason};

use super::{Datagrams, Naming, State};
use crate::core::failures::{os_error, refused};
use crate::core::slot::{Slot, enter};
use crate::core::sockets;
use crate::twisted::face::TwistedLoop;

/// The protocol of every datagram socket: finds the socket's Python object and calls it.
struct Bridge(Slot<Datagrams>);

impl Bridge {
    /// Calls the socket's object in its log context, unless the socket is closed, as far as Python knows. A report of a
    /// slow callback names `method`.
    fn call(
        &self,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, Datagrams>, &State) -> PyResult<Bound<'py, PyAny>>,
    ) {
        self.0.find(|event_loop, socket| {
            if socket.get().is_live(socket.py()) {
                enter(event_loop, socket, method, |socket| {
                    call(socket, socket.get().state(socket.py()))
                });
            }
        });
    }
}

impl DatagramProtocol for Bridge {
    fn datagram_received(&mut self, _: &DatagramTransport, datagram: &Datagram<'_>) {
        self.call("datagramReceived", |socket, state| {
            let py = socket.py();
            let protocol = socket.get().protocol(py)?;
            let bytes = datagram.bytes();
            let data = PyBytes::new(py, &bytes[..bytes.len().min(state.max_packet_size.get())]);
            let received = intern!(py, "datagramReceived");
            if state.naming.get() == Naming::Nobody {
                return protocol.call_method1(received, (data,));
            }
            let name = match datagram.sender() {
                Some(sender) => state
                    .peers
                    .name(py, sender, || state.name_of(socket, sender))?,
                None => py.None().into_bound(py),
            };
            protocol.call_method1(received, (data, name))
        });
    }

    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        let is_refusal = is_refusal(&error.source);
        self.call("_receiveFailed", |socket, state| {
            let py = socket.py();
            if !is_refusal {
                state.peers.doubt();
            }
            if is_refusal && !state.is_connected() {
                // Another peer's refusal is of no interest to the protocol.
                return Ok(py.None().into_bound(py));
            }
            let raised = os_error(error.call, &error.source).into_value(py);
            socket.call_method1(intern!(py, "_receiveFailed"), (raised, is_refusal))
        });
    }

    fn stopped(&mut self, _: &DatagramTransport, _: Reason) {
        self.0
            .find(|_, socket| drop(socket.get().state(socket.py()).transport.take()));
        self.0.call_last("_closed", |socket| {
            socket.call_method0(intern!(socket.py(), "_closed"))
        });
    }
}

/// Whether the peer refuses datagrams.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

impl State {
    /// The sender's address as Twisted has it.
    fn name_of<'py>(
        &self,
        socket: &Bound<'py, Datagrams>,
        sender: &Address,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = socket.py();
        match sender.socket_addr() {
            Some(ip) if ip.is_ipv4() => sockets::to_python(py, sender),
            Some(std::net::SocketAddr::V6(ip)) if ip.scope_id() == 0 => {
                let pair = (ip.ip().to_string(), ip.port()).into_pyobject(py)?;
                Ok(pair.into_any())
            }
            Some(_) => {
                let address = sockets::to_python(py, sender)?;
                socket.call_method1(intern!(py, "_named"), (address,))
            }
            None => sockets::to_python(py, sender),
        }
    }
}

#[pymethods]
impl Datagrams {
    /// Takes over the datagram socket with this number, which belongs to the loop from here on, even if this raises. It
    /// receives nothing until `startReading`. A UNIX socket with `one_peer` is connected.
    fn _take(
        slf: &Bound<'_, Self>,
        twisted_loop: &TwistedLoop,
        descriptor: RawDescriptor,
        one_peer: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let socket = sockets::datagrams(descriptor)?;
        let event_loop = twisted_loop.enter(py)?;
        let state = slf.get().state(py);
        let slot = Slot::new(&event_loop, slf);
        let taken = event_loop
            .reactor
            .adopt_datagrams(socket, Bridge(slot.clone()));
        let transport = match taken {
            Ok(transport) => transport,
            Err(error) => {
                slot.remove();
                return Err(refused("adopt", &error));
            }
        };
        let local = transport.local_addr();
        let is_ip = matches!(local, Ok(Address::Ip(_)));
        let port = event_loop.reactor.port_info().kind;
        state.gathers.set(is_ip && port != PortKind::Iocp);
        state.naming.set(match local {
            Ok(Address::Ip(ip)) if ip.is_ipv6() => Naming::V6,
            Ok(Address::Unix(_)) if one_peer => Naming::Nobody,
            Ok(Address::Unix(_)) => Naming::Path,
            _ => Naming::V4,
        });
        if !state.reading.get() {
            transport.pause_receiving();
        }
        state.log.replace(Rc::downgrade(&twisted_loop.face(py).log));
        state.slot.replace(Some(slot));
        state.transport.replace(Some(transport));
        Ok(())
    }

    /// Connects the socket to the peer at `address`, as in `socket.connect`.
    fn _set_peer(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(transport) = self.state(py).transport()? else {
            return Ok(());
        };
        let peer = sockets::address(address)?;
        let connected = transport.set_peer(Some(&peer));
        connected.map_err(|error| os_error("connect", &error))
    }

    /// Closes the socket, unless it is closed. `_closed` follows from the loop. Returns false in a forked child if the
    /// socket belongs to the parent: nothing follows there.
    fn _close(&self, py: Python<'_>) -> PyResult<bool> {
        let state = self.state(py);
        let transport = state.transport()?;
        let known = state.transport.take();
        if let Some(transport) = &transport {
            transport.close();
        }
        Ok(known.is_none() || transport.is_some())
    }

    /// The OS's number of the socket, while it is open.
    fn _descriptor(&self, py: Python<'_>) -> PyResult<Option<RawDescriptor>> {
        let transport = self.state(py).transport()?;
        Ok(transport.and_then(|transport| transport.raw_descriptor()))
    }
}
