//! Converts Python's sockets and addresses to the library's.

#![expect(
    unsafe_code,
    reason = "a number becomes an owned socket: the compiler cannot see that Python gave it up"
)]

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream};
use std::path::Path;

use pyo3::exceptions::{PyOSError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tidewaiter::port::{DatagramSocket, ListeningSocket, OwnedDescriptor, RawDescriptor};
use tidewaiter::{Address, UnixAddress};

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

/// A duplicate of one of Python's descriptors, which stays Python's.
#[cfg(unix)]
pub(crate) fn duplicate(descriptor: RawDescriptor) -> PyResult<OwnedDescriptor> {
    use std::os::fd::FromRawFd;

    // SAFETY: reads a descriptor's entry, and fails if there is none with this number.
    let number = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if number < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call opened it just now.
    Ok(unsafe { OwnedDescriptor::from_raw_fd(number) })
}

#[cfg(windows)]
pub(crate) fn duplicate(descriptor: RawDescriptor) -> PyResult<OwnedDescriptor> {
    Err(no_socket(descriptor))
}

/// The number of a descriptor that is Python's from here on.
#[cfg(unix)]
pub(crate) fn given(descriptor: OwnedDescriptor) -> RawDescriptor {
    std::os::fd::IntoRawFd::into_raw_fd(descriptor)
}

/// No descriptors come on Windows.
#[cfg(windows)]
pub(crate) fn given(_: OwnedDescriptor) -> RawDescriptor {
    RawDescriptor::MAX
}

/// Takes over a file.
#[cfg(unix)]
pub(crate) fn file(descriptor: RawDescriptor) -> PyResult<std::fs::File> {
    owned(descriptor).map(std::fs::File::from)
}

/// On Windows, files opened by Python cannot be sent: they were not opened for overlapped I/O.
#[cfg(windows)]
pub(crate) fn file(descriptor: RawDescriptor) -> PyResult<std::fs::File> {
    Err(no_socket(descriptor))
}

/// The error for the number of a closed socket, or one that nothing has.
fn no_socket(descriptor: RawDescriptor) -> PyErr {
    PyValueError::new_err(format!("{descriptor} is not a socket"))
}

/// Takes over a stream socket of any family, connected or not.
pub(crate) fn stream(descriptor: RawDescriptor) -> PyResult<TcpStream> {
    owned(descriptor).map(TcpStream::from)
}

/// Takes over a listening socket.
pub(crate) fn listener(descriptor: RawDescriptor) -> PyResult<ListeningSocket> {
    owned(descriptor).map(ListeningSocket::from)
}

/// Takes over a datagram socket.
pub(crate) fn datagrams(descriptor: RawDescriptor) -> PyResult<DatagramSocket> {
    owned(descriptor).map(DatagramSocket::from)
}

/// Converts an address from Python's form: `(host, port)` or `(host, port, flow, scope)` for IP; the path of a UNIX
/// socket, as text or bytes, or an abstract name, which begins with a NUL.
pub(crate) fn address(value: &Bound<'_, PyAny>) -> PyResult<Address> {
    match value.cast::<PyTuple>() {
        Ok(tuple) => ip(tuple).map(Address::from),
        Err(_) => unix(value).map(Address::from),
    }
}

fn ip(tuple: &Bound<'_, PyTuple>) -> PyResult<SocketAddr> {
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

fn unix(name: &Bound<'_, PyAny>) -> PyResult<UnixAddress> {
    let text;
    let name = match name.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes(),
        Err(_) => {
            text = name.extract::<OsString>()?;
            text.as_encoded_bytes()
        }
    };
    let address = match name {
        [] => return Ok(UnixAddress::unnamed()),
        [0, rest @ ..] => UnixAddress::from_abstract_name(rest),
        path => UnixAddress::from_pathname(path_of(path)?),
    };
    address.map_err(|error| PyOSError::new_err(error.to_string()))
}

#[cfg(unix)]
fn path_of(name: &[u8]) -> PyResult<&Path> {
    use std::os::unix::ffi::OsStrExt;

    Ok(Path::new(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(windows)]
fn path_of(name: &[u8]) -> PyResult<&Path> {
    let text = std::str::from_utf8(name);
    text.map(Path::new)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Converts an address to Python's form: the reverse of [`address`]. The address of a UNIX socket without a name
/// becomes `None`.
pub(crate) fn to_python<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    match address {
        Address::Ip(SocketAddr::V4(ip)) => Ok((ip.ip().to_string(), ip.port())
            .into_pyobject(py)?
            .into_any()),
        Address::Ip(SocketAddr::V6(ip)) => {
            let host = ip.ip().to_string();
            let tuple = (host, ip.port(), ip.flowinfo(), ip.scope_id());
            Ok(tuple.into_pyobject(py)?.into_any())
        }
        Address::Unix(unix) => match (unix.as_pathname(), unix.as_abstract_name()) {
            (Some(path), _) => Ok(path.as_os_str().into_pyobject(py)?.into_any()),
            (None, Some(name)) => Ok(PyBytes::new(py, &[b"\0", name].concat()).into_any()),
            (None, None) => Ok(py.None().into_bound(py)),
        },
        Address::Pipe(name) => Ok(name.as_str().into_pyobject(py)?.into_any()),
        other => Err(PyValueError::new_err(format!(
            "{other} is not the address of a connection"
        ))),
    }
}
