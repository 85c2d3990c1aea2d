//! A datagram socket's methods for sending.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyOverflowError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyMemoryView, PyString, PyTuple};
use tidewaiter::Address;

use super::bridge::is_refusal;
use super::{Datagrams, Naming, State};
use crate::core::failures::os_error;
use crate::core::peers::{Destination, GATHERED_BYTES_MAX};
use crate::core::sockets;

/// The bytes of any object that has some.
fn bytes_of<'a>(data: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    let bytes = PyMemoryView::from(data)?.call_method0(intern!(data.py(), "tobytes"))?;
    Ok(Cow::Owned(bytes.extract()?))
}

/// The parts of an address that is an ordinary pair of an ordinary string and an ordinary number.
fn pair<'py>(name: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyString>, Bound<'py, PyInt>)> {
    let pair = name.cast_exact::<PyTuple>().ok()?;
    if pair.len() != 2 {
        return None;
    }
    let host = pair.get_item(0).ok()?.cast_into_exact().ok()?;
    let port = pair.get_item(1).ok()?.cast_into_exact().ok()?;
    Some((host, port))
}

impl State {
    /// Reads an address in its usual form for this kind of socket. Returns `None` for another.
    fn plain_address(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<Address>> {
        if self.naming.get() == Naming::Path {
            let is_plain = name.is_exact_instance_of::<PyString>();
            return is_plain.then(|| sockets::address(name)).transpose();
        }
        let Some((host, port)) = pair(name) else {
            return Ok(None);
        };
        let (host, port) = (host.to_cow()?, port.extract::<u16>());
        let port = port.map_err(|_| PyOverflowError::new_err("sendto(): port must be 0-65535."));
        let address = match self.naming.get() {
            Naming::V4 => host
                .parse::<Ipv4Addr>()
                .ok()
                .map(|ip| port.map(|port| SocketAddr::from((ip, port)))),
            _ => host
                .parse::<Ipv6Addr>()
                .ok()
                .map(|ip| port.map(|port| SocketAddrV6::new(ip, port, 0, 0).into())),
        };
        Ok(address.transpose()?.map(Address::from))
    }
}

/// The peer that the application names.
fn destination(socket: &Bound<'_, Datagrams>, name: &Bound<'_, PyAny>) -> PyResult<Destination> {
    let state = socket.get().state(socket.py());
    if let Some(kept) = state.peers.destination(name) {
        return Ok(kept);
    }
    let address = match state.plain_address(name)? {
        Some(address) => {
            state.peers.keep(name, address.clone());
            address
        }
        None => {
            let other = socket.call_method1(intern!(socket.py(), "_destination"), (name,))?;
            sockets::address(&other)?
        }
    };
    Ok(Destination {
        address: Some(address),
        reached: false,
    })
}

#[pymethods]
impl Datagrams {
    /// Sends a datagram: to the peer at `addr`, or to the peer that the socket is connected to. Returns its size.
    ///
    /// The first datagram to a peer goes to the OS at once, so that its error is raised here. Small ones that follow go
    /// together, at the end of the turn; after an error, the next one goes at once again.
    #[pyo3(signature = (datagram, addr=None))]
    fn write<'py>(
        slf: &Bound<'py, Self>,
        datagram: &Bound<'py, PyAny>,
        addr: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let state = slf.get().state(py);
        let Some(transport) = state.transport()? else {
            if state.is_copy() {
                return Ok(py.None().into_bound(py));
            }
            return Err(PyAttributeError::new_err("socket"));
        };
        let (name, peer) = if state.is_connected() {
            state.check_is_peer(addr)?;
            (None, state.peers.connected())
        } else {
            let name = addr.ok_or_else(|| PyAssertionError::new_err("no address"))?;
            (Some(name), destination(slf, name)?)
        };
        let bytes = bytes_of(datagram)?;
        if peer.reached && bytes.len() <= GATHERED_BYTES_MAX {
            match &peer.address {
                Some(address) => transport.send_to(&bytes, address),
                None => transport.send(&bytes),
            }
        } else if let Err(error) = transport.try_send(&bytes, peer.address.as_ref()) {
            let raised = os_error("send", &error).into_value(py);
            return slf.call_method1(intern!(py, "_sendFailed"), (raised, is_refusal(&error)));
        } else if state.gathers.get() {
            state.peers.note_reached(name);
        }
        Ok(bytes.len().into_pyobject(py)?.into_any())
    }
}

impl State {
    /// Checks that `address` is `None` or the peer's.
    fn check_is_peer(&self, address: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(address) = address else {
            return Ok(());
        };
        let py = address.py();
        let connected = self.connected_address.borrow();
        let connected = connected.as_ref().map(|peer| peer.bind(py).clone());
        match connected {
            Some(peer) if !address.eq(&peer)? => Err(PyAssertionError::new_err(
                "the socket is connected to another address",
            )),
            _ => Ok(()),
        }
    }
}
