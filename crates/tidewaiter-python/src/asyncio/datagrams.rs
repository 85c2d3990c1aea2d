//! The Python class `AsyncioDatagrams`: the datagram socket below one of asyncio's transports.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use tidewaiter::port::{Datagram, DatagramError, PortKind, RawDescriptor};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Reason};

use crate::asyncio::exceptions::leave_loop;
use crate::asyncio::face::AsyncioLoop;
use crate::asyncio::owner::{Owner, bytes_of};
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};
use crate::core::lock::Locked;
use crate::core::peers::{Destination, GATHERED_BYTES_MAX, Peers};
use crate::core::slot::{Callee, Slot};
use crate::core::sockets;

/// How the application names a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    V4,
    V6,
    /// By the path or the abstract name of a UNIX socket.
    Unix,
}

struct State {
    owner: Owner,
    /// This socket's place in its loop's table.
    slot: OnceCell<Slot<AsyncioDatagrams>>,
    /// Set until the socket is closed.
    transport: RefCell<Option<DatagramTransport>>,
    /// The peer that the application named for all datagrams, if it did.
    remote: Option<Py<PyAny>>,
    is_connected: Cell<bool>,
    naming: Cell<Naming>,
    /// Whether datagrams of one turn may go to the OS together. On Windows, that saves no calls.
    gathers: Cell<bool>,
    peers: Peers,
    /// With more bytes queued, the protocol is asked to pause.
    high: Cell<usize>,
    /// Whether the protocol was asked to pause.
    is_paused: Cell<bool>,
    is_closing: Cell<bool>,
}

/// A datagram socket for one of asyncio's transports, its owner, which has this object's methods as its own.
///
/// The loop calls `datagram_received` and `error_received` of the protocol, and `_pause_writing(None)`, `_resume_writing(None)`,
/// `_lost_write(None)` and `_ended(None)` of the owner. A destination that is not a plain address goes through
/// `_resolved(address)`.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct AsyncioDatagrams(Locked<State>);

impl Callee for AsyncioDatagrams {
    const KIND: &'static str = "datagrams";

    fn named<'py>(socket: &Bound<'py, AsyncioDatagrams>) -> Bound<'py, PyAny> {
        let protocol = socket.get().state(socket.py()).owner.protocol(socket.py());
        protocol.unwrap_or_else(|| socket.as_any().clone())
    }

    /// Calls return only the exceptions that are to leave the loop.
    fn failed(socket: &Bound<'_, AsyncioDatagrams>, event_loop: &Loop, error: &PyErr) {
        leave_loop(event_loop, socket.py(), error);
    }
}

impl AsyncioDatagrams {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }
}

/// The protocol of every datagram socket: finds the socket's Python object and calls it.
struct Bridge(Slot<AsyncioDatagrams>);

impl Bridge {
    /// Calls the socket's object. An exception is reported as one of the protocol's `method`, and the socket goes on.
    fn call(&self, method: &str, call: impl FnOnce(Python<'_>, &State) -> PyResult<()>) {
        self.0.call(method, |socket| {
            let py = socket.py();
            let state = socket.get().state(py);
            call(py, state).or_else(|error| state.owner.report(py, method, error))?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl DatagramProtocol for Bridge {
    fn datagram_received(&mut self, _: &DatagramTransport, datagram: &Datagram<'_>) {
        self.call("datagram_received", |py, state| {
            let data = PyBytes::new(py, datagram.bytes()).into_any();
            let name = match datagram.sender() {
                Some(sender) => {
                    let named = || sockets::to_python(py, sender);
                    state.peers.name(py, sender, named)?
                }
                None => py.None().into_bound(py),
            };
            let method = intern!(py, "datagram_received");
            state.owner.call(method, [&data, &name]).map(drop)
        });
    }

    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        self.call("error_received", |py, state| {
            state.peers.doubt();
            let error = os_error(error.call, &error.source).into_value(py);
            let method = intern!(py, "error_received");
            state.owner.call(method, [error.bind(py)]).map(drop)
        });
    }

    /// Only `abort` drops datagrams.
    fn datagrams_dropped(&mut self, _: &DatagramTransport, _: usize) {}

    fn write_resumed(&mut self, transport: &DatagramTransport) {
        self.call("resume_writing", |py, state| {
            if state.is_closing.get() {
                transport.close();
            } else if state.is_paused.replace(false) {
                state.owner.tell(intern!(py, "_resume_writing"), None)?;
            }
            Ok(())
        });
    }

    fn stopped(&mut self, _: &DatagramTransport, _: Reason) {
        self.0.call_last("connection_lost", |socket| {
            let py = socket.py();
            let state = socket.get().state(py);
            state.is_closing.set(true);
            drop(state.transport.take());
            state.owner.tell_ended(py, None)?;
            Ok(py.None().into_bound(py))
        });
    }
}

impl State {
    fn begin(&self, transport: DatagramTransport, slot: Slot<AsyncioDatagrams>) {
        self.naming.set(match transport.local_addr() {
            Ok(Address::Ip(ip)) if ip.is_ipv6() => Naming::V6,
            Ok(Address::Unix(_)) => Naming::Unix,
            _ => Naming::V4,
        });
        let port = transport.reactor().port_info().kind;
        self.gathers
            .set(self.naming.get() != Naming::Unix && port != PortKind::Iocp);
        self.is_connected.set(transport.peer_addr().is_ok());
        self.transport.replace(Some(transport));
        // `set` cannot fail: the cell is empty until here.
        let _ = self.slot.set(slot);
    }

    /// Tells the protocol, which has just sent something, of an error.
    fn tell_error(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let protocol = self.owner.open_protocol(py)?;
        let told = protocol.call_method1(intern!(py, "error_received"), (error.into_value(py),));
        told.map(drop)
    }

    /// The transport, while the socket is open. Raises if this thread may not use the loop. There is none if the
    /// loop is gone, and in a forked child if the loop belongs to the parent, so that calls have no effect there.
    fn transport(&self) -> PyResult<Option<DatagramTransport>> {
        let event_loop = self.slot.get().and_then(Slot::event_loop);
        match event_loop.filter(|event_loop| !event_loop.is_copy()) {
            Some(event_loop) => event_loop.check_thread()?,
            None => return Ok(None),
        }
        Ok(self.transport.borrow().clone())
    }

    /// Reads an address that needs no look-up. Returns `None` for another.
    fn plain_address(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<Address>> {
        if self.naming.get() == Naming::Unix {
            return sockets::address(name).map(Some);
        }
        let host = name.cast_exact::<PyTuple>().ok();
        let host =
            host.and_then(|tuple| tuple.get_item(0).ok()?.cast_into_exact::<PyString>().ok());
        let Some(host) = host else {
            return Ok(None);
        };
        let is_plain = match host.to_cow()?.parse() {
            Ok(IpAddr::V4(_)) => self.naming.get() == Naming::V4,
            Ok(IpAddr::V6(_)) => self.naming.get() == Naming::V6,
            Err(_) => false,
        };
        is_plain.then(|| sockets::address(name)).transpose()
    }

    /// The peer that the application names.
    fn destination(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<Destination> {
        if let Some(kept) = self.peers.destination(name) {
            return Ok(kept);
        }
        let address = match self.plain_address(name)? {
            Some(address) => {
                let is_plain = name.is_exact_instance_of::<PyTuple>()
                    || name.is_exact_instance_of::<PyString>();
                if is_plain {
                    self.peers.keep(name, address.clone());
                }
                address
            }
            None => {
                let owner = self.owner.transport(py);
                let owner =
                    owner.ok_or_else(|| PyValueError::new_err("the transport is closed"))?;
                sockets::address(&owner.call_method1(intern!(py, "_resolved"), (name,))?)?
            }
        };
        Ok(Destination {
            address: Some(address),
            reached: false,
        })
    }

    /// Checks that the application names no peer but the one that it named for all datagrams.
    fn check_is_remote(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        match &self.remote {
            Some(remote) if !name.eq(remote.bind(py))? => {
                let remote = remote.bind(py).repr()?;
                Err(PyValueError::new_err(format!(
                    "Invalid address: must be None or {remote}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Asks the protocol to pause if too much is queued.
    fn pause_if_full(&self, py: Python<'_>, transport: &DatagramTransport) -> PyResult<()> {
        let high = self.high.get();
        if transport.queued_bytes() > high {
            transport.flush();
        }
        if transport.queued_bytes() > high && !self.is_paused.replace(true) {
            return self.owner.tell(intern!(py, "_pause_writing"), None);
        }
        Ok(())
    }
}

#[pymethods]
impl AsyncioLoop {
    /// Takes over the socket with this number, which belongs to the loop from here on, even if this raises. It receives
    /// nothing until `resume`. `remote` is the peer that the application named for all datagrams.
    fn _open_datagrams(
        slf: &Bound<'_, Self>,
        descriptor: RawDescriptor,
        owner: Py<PyAny>,
        protocol: Py<PyAny>,
        remote: Option<Py<PyAny>>,
    ) -> PyResult<Py<AsyncioDatagrams>> {
        let py = slf.py();
        let socket = sockets::datagrams(descriptor)?;
        let event_loop = slf.get().open(py)?;
        event_loop.check_thread()?;
        let state = State {
            owner: Owner::new(slf, owner, protocol)?,
            slot: OnceCell::new(),
            transport: RefCell::new(None),
            remote,
            is_connected: Cell::new(false),
            naming: Cell::new(Naming::V4),
            gathers: Cell::new(false),
            peers: Peers::default(),
            high: Cell::new(usize::MAX),
            is_paused: Cell::new(false),
            is_closing: Cell::new(false),
        };
        let object = Bound::new(py, AsyncioDatagrams(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &object);
        let adopted = event_loop
            .reactor
            .adopt_datagrams(socket, Bridge(slot.clone()));
        let transport = adopted.map_err(|error| {
            slot.remove();
            refused("adopt", &error)
        })?;
        transport.pause_receiving();
        transport.queue_without_limit();
        object.get().state(py).begin(transport, slot);
        Ok(object.unbind())
    }
}

#[pymethods]
impl AsyncioDatagrams {
    /// Sends a datagram: to the peer at `addr`, or to the peer that the socket is connected to.
    ///
    /// The first datagram to a peer goes to the OS at once, so that the protocol is told of its error here. Small ones that
    /// follow go together, at the end of the turn; after an error, the next one goes at once again.
    #[pyo3(signature = (data, addr=None))]
    fn sendto(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        addr: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let state = self.state(py);
        let bytes = bytes_of(data)?;
        if let Some(addr) = addr {
            state.check_is_remote(py, addr)?;
        }
        let transport = state.transport()?.filter(|_| !state.is_closing.get());
        let Some(transport) = transport else {
            return state.owner.tell(intern!(py, "_lost_write"), None);
        };
        let name = addr.filter(|_| !state.is_connected.get());
        let peer = match name {
            Some(name) => match state.destination(py, name) {
                Ok(peer) => peer,
                Err(error) if error.is_instance_of::<PyOSError>(py) => {
                    return state.tell_error(py, error);
                }
                Err(error) => return Err(error),
            },
            None => state.peers.connected(),
        };
        if peer.reached && bytes.len() <= GATHERED_BYTES_MAX {
            match &peer.address {
                Some(address) => transport.send_to(&bytes, address),
                None => transport.send(&bytes),
            }
        } else if let Err(error) = transport.try_send(&bytes, peer.address.as_ref()) {
            return state.tell_error(py, os_error("sendto", &error));
        } else if state.gathers.get() {
            state.peers.note_reached(name);
        }
        state.pause_if_full(py, &transport)
    }

    /// How many bytes the OS has not taken yet.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        let transport = self.state(py).transport.borrow();
        transport
            .as_ref()
            .map_or(0, DatagramTransport::queued_bytes)
    }

    /// Asks the protocol to pause while more than `high` bytes are queued. It resumes once the OS has taken all of them.
    fn set_marks(&self, py: Python<'_>, _low: usize, high: usize) -> PyResult<()> {
        let state = self.state(py);
        state.high.set(high);
        match state.transport()? {
            Some(transport) => state.pause_if_full(py, &transport),
            None => Ok(()),
        }
    }

    /// Receives nothing until `resume`.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(transport) = self.state(py).transport()? {
            transport.pause_receiving();
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        if let Some(transport) = state.transport()?
            && !state.is_closing.get()
        {
            transport.resume_receiving();
        }
        Ok(())
    }

    /// Closes the socket: once everything queued is sent, or at once. `_stopped` of the owner follows from the loop.
    fn close(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        let state = self.state(py);
        let Some(transport) = state.transport()? else {
            return Ok(());
        };
        state.is_closing.set(true);
        transport.pause_receiving();
        transport.flush();
        if at_once || transport.queued() == 0 {
            transport.close();
        }
        Ok(())
    }

    fn set_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        self.state(py).owner.set_protocol(protocol);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.remote)?;
        state.owner.traverse(&visit)
    }

    fn __clear__(&self) {
        Python::attach(|py| self.state(py).owner.clear());
    }
}
