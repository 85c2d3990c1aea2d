//! Converts Python's sockets and addresses to the library's.

#![expect(
    unsafe_code,
    reason = "a number becomes an owned socket: the compiler cannot see that Python gave it up"
)]

use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tidewaiter::Address;
use tidewaiter::port::RawDescriptor;

#[cfg(unix)]
fn owned(descriptor: RawDescriptor) -> PyResult<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;

    // SAFETY: reads a flag of the descriptor; it fails if no descriptor with this number is open.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(no_socket(descriptor));
    }
    // SAFETY: the Python side hands over only sockets that it opened, each once, and turns its own socket object into
    // one that does not close the descriptor.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(windows)]
fn owned(descriptor: RawDescriptor) -> PyResult<std::os::windows::io::OwnedSocket> {
    use std::os::windows::io::FromRawSocket;

    if descriptor == RawDescriptor::MAX {
        return Err(no_socket(descriptor));
    }
    // SAFETY: as on Unix, Python opened the socket and has given it up.
    Ok(unsafe { std::os::windows::io::OwnedSocket::from_raw_socket(descriptor) })
}

/// The error for the number of a closed socket, or one that nothing has.
fn no_socket(descriptor: RawDescriptor) -> PyErr {
    PyValueError::new_err(format!("{descriptor} is not a socket"))
}

/// Takes over a socket, connected or not.
pub(crate) fn stream(descriptor: RawDescriptor) -> PyResult<TcpStream> {
    owned(descriptor).map(TcpStream::from)
}

/// Takes over a listening socket.
pub(crate) fn listener(descriptor: RawDescriptor) -> PyResult<TcpListener> {
    owned(descriptor).map(TcpListener::from)
}

/// Converts an address from Python's form: `(host, port)`, or `(host, port, flow, scope)`.
pub(crate) fn address(tuple: &Bound<'_, PyTuple>) -> PyResult<SocketAddr> {
    let host: String = tuple.get_item(0)?.extract()?;
    let port: i64 = tuple.get_item(1)?.extract()?;
    // Python's own message.
    let port = u16::try_from(port)
        .map_err(|_| PyOverflowError::new_err("connect_ex(): port must be 0-65535."))?;
    // Drop an IPv6 scope from the host: the tuple's fourth element has it, too.
    let bare = host.split('%').next().unwrap_or_default();
    let ip: IpAddr = bare
        .parse()
        .map_err(|_| PyValueError::new_err(format!("{host:?} is not an IP address")))?;
    match ip {
        IpAddr::V6(ip) if tuple.len() == 4 => {
            let (flow, scope) = (tuple.get_item(2)?.extract()?, tuple.get_item(3)?.extract()?);
            Ok(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

/// Converts an IP address to Python's form: the reverse of [`address`].
pub(crate) fn tuple<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyTuple>> {
    let ip = address.socket_addr();
    match ip.ok_or_else(|| PyValueError::new_err(format!("{address} is not an IP address")))? {
        SocketAddr::V4(address) => (address.ip().to_string(), address.port()).into_pyobject(py),
        SocketAddr::V6(address) => (
            address.ip().to_string(),
            address.port(),
            address.flowinfo(),
            address.scope_id(),
        )
            .into_pyobject(py),
    }
}
