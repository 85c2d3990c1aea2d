//! Calls on sockets that take effect at once, without an operation; the same for every OS.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::admission::{
    check_packets, check_streams_to, invalid, not_a_file, not_a_process, not_a_serial_port,
    not_a_socket, not_a_terminal, not_for_datagrams,
};
use super::calls::{Answer, Control, Query};
use super::options::{PortKind, SocketOption};
use super::serial::{self, SerialChange};
use super::socket::{Socket as FreeSocket, SocketRepr};
use super::unix_socket::peer_credentials;
#[cfg(windows)]
use super::unix_socket::reported_address as unix_address;
use crate::os::{Address, OsFile, OsPipe, RawDescriptor, UnixAddress};
use crate::process::{OsProcess, TerminalSize};

/// The object of the OS behind a handle.
pub(super) enum Object<'a> {
    Socket(&'a Socket),
    Pipe(&'a OsPipe),
    Serial(&'a OsPipe),
    Process(&'a OsProcess),
    #[cfg_attr(windows, expect(dead_code, reason = "that port opens no files"))]
    UnopenedFile,
    File(&'a OsFile),
}

impl Object<'_> {
    pub(super) fn control(&self, control: Control<'_>) -> io::Result<()> {
        match (self, control) {
            (Object::Process(process), Control::Signal(call)) => call.send(process),
            (_, Control::Signal(..)) => Err(not_a_process()),
            (Object::Pipe(pipe), Control::Resize(size)) => resize(pipe, size),
            (_, Control::Resize(_)) => Err(not_a_terminal()),
            (Object::Serial(port), Control::Serial(change)) => change_serial(port, change),
            (_, Control::Serial(_)) => Err(not_a_serial_port()),
            (Object::Socket(socket), Control::SetOption(option)) => set_option(socket, option),
            (Object::Socket(socket), Control::ShutdownWrite) => socket.shutdown(Shutdown::Write),
            (Object::Socket(socket), Control::HoldEnds(hold)) => hold_ends(socket, hold),
            (_, Control::SetPeer(_) | Control::Multicast(_)) => Err(not_for_datagrams()),
            (_, Control::SetOption(_) | Control::ShutdownWrite | Control::HoldEnds(_)) => {
                Err(not_a_socket())
            }
        }
    }

    pub(super) fn query(&self, query: Query) -> io::Result<Answer> {
        match (self, query) {
            (Object::Socket(socket), Query::RawDescriptor) => {
                Ok(Answer::RawDescriptor(raw_descriptor(socket)))
            }
            (Object::Pipe(pipe) | Object::Serial(pipe), Query::RawDescriptor) => {
                Ok(Answer::RawDescriptor(pipe_descriptor(pipe)))
            }
            (Object::File(file), Query::RawDescriptor) => {
                Ok(Answer::RawDescriptor(file_descriptor(file)))
            }
            (Object::File(file), Query::File) => Ok(Answer::File(OsFile::clone(file))),
            (_, Query::File) | (Object::UnopenedFile, Query::RawDescriptor) => Err(not_a_file()),
            (Object::Process(_), Query::RawDescriptor) => Err(invalid("the handle is a process")),
            (Object::Process(process), Query::Usage) => Ok(Answer::Usage(process.usage()?)),
            (_, Query::Usage) => Err(not_a_process()),
            (Object::Serial(port), Query::ModemLines) => {
                Ok(Answer::ModemLines(serial::lines(port)?))
            }
            (_, Query::ModemLines) => Err(not_a_serial_port()),
            (_, Query::Multicast) => Err(not_for_datagrams()),
            (Object::Socket(socket), Query::LocalAddress) => {
                Ok(Answer::Address(local_addr(socket)?))
            }
            (Object::Socket(socket), Query::PeerAddress) => Ok(Answer::Address(peer_addr(socket)?)),
            (Object::Socket(socket), Query::Unacknowledged) => {
                Ok(Answer::Bytes(unacknowledged(socket)?))
            }
            (Object::Socket(socket), Query::PeerCredentials) => {
                Ok(Answer::Credentials(peer_credentials(socket)?))
            }
            (
                _,
                Query::LocalAddress
                | Query::PeerAddress
                | Query::Unacknowledged
                | Query::PeerCredentials,
            ) => Err(not_a_socket()),
        }
    }
}

impl FreeSocket {
    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The OS's error; [`Unsupported`](io::ErrorKind::Unsupported) for a simulated socket.
    pub fn local_addr(&self) -> io::Result<Address> {
        match &self.0 {
            SocketRepr::Own(socket) => socket.local_addr().ok_or_else(no_os_socket),
            _ => local_addr(self.os()?),
        }
    }

    /// Sets an option of the socket.
    ///
    /// # Errors
    ///
    /// The OS's error; [`Unsupported`](io::ErrorKind::Unsupported) for a connection that is no socket of the OS, such as a
    /// simulated one.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        set_option(self.os()?, option)
    }

    /// Sets whether calls on the socket return at once instead of waiting. Every process that has the socket shares this
    /// mode. A port sets it for the sockets that it accepts or adopts; ordinary programs expect that it is not set.
    ///
    /// # Errors
    ///
    /// The OS's error; [`Unsupported`](io::ErrorKind::Unsupported) for a connection that is no socket of the OS, such as a
    /// simulated one.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.os()?.set_nonblocking(nonblocking)
    }

    /// The OS's number of the socket, for instance for a child's
    /// [`Stdio::Descriptor`](crate::process::Stdio::Descriptor); `None` for a simulated one. The number means this socket
    /// only as long as this value lives.
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        match &self.0 {
            SocketRepr::Os(os) | SocketRepr::Plain(os) => Some(raw_descriptor(os)),
            SocketRepr::Own(socket) => socket.raw_descriptor(),
        }
    }

    fn os(&self) -> io::Result<&Socket> {
        match &self.0 {
            SocketRepr::Os(os) | SocketRepr::Plain(os) => Ok(os),
            SocketRepr::Own(_) => Err(no_os_socket()),
        }
    }
}

fn no_os_socket() -> io::Error {
    let message = "the connection is no socket of the OS";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

fn change_serial(port: &OsPipe, change: SerialChange) -> io::Result<()> {
    match change {
        SerialChange::Line(line, on) => serial::set_line(port, line, on),
        SerialChange::BaudRate(baud_rate) => serial::set_baud_rate(port, baud_rate),
        SerialChange::Discard(queue) => serial::discard(port, queue),
    }
}

#[cfg(unix)]
fn raw_descriptor(socket: &Socket) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

#[cfg(windows)]
fn raw_descriptor(socket: &Socket) -> RawDescriptor {
    std::os::windows::io::AsRawSocket::as_raw_socket(socket)
}

#[cfg(unix)]
fn pipe_descriptor(pipe: &OsPipe) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(pipe)
}

#[cfg(windows)]
fn pipe_descriptor(pipe: &OsPipe) -> RawDescriptor {
    std::os::windows::io::AsRawHandle::as_raw_handle(pipe).addr() as RawDescriptor
}

#[cfg(unix)]
fn file_descriptor(file: &OsFile) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(&**file)
}

#[cfg(windows)]
fn file_descriptor(file: &OsFile) -> RawDescriptor {
    std::os::windows::io::AsRawHandle::as_raw_handle(&**file).addr() as RawDescriptor
}

#[cfg(unix)]
fn resize(pipe: &OsPipe, size: TerminalSize) -> io::Result<()> {
    let resized = crate::process::resize_terminal(pipe, size);
    resized.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTTY) => not_a_terminal(),
        _ => error,
    })
}

/// Fails: on Windows, the pipes of a terminal know it, and do not come here.
#[cfg(windows)]
fn resize(_pipe: &OsPipe, _size: TerminalSize) -> io::Result<()> {
    Err(not_a_terminal())
}

/// Sets whether the socket holds back the last partial segment until the next send can fill it
/// (`TCP_CORK`).
#[cfg(target_os = "linux")]
fn hold_ends(socket: &Socket, hold: bool) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_cork(socket, hold)?)
}

/// Does nothing: these systems release the held bytes only with another send, if they hold any.
#[cfg(not(target_os = "linux"))]
fn hold_ends(_socket: &Socket, _hold: bool) -> io::Result<()> {
    Ok(())
}

/// Opens an unconnected socket of the kind and family of `peer`, bound to `local` if given.
pub(super) fn stream(
    port: PortKind,
    peer: &Address,
    local: Option<&Address>,
    packets: bool,
) -> io::Result<Socket> {
    check_packets(port, packets)?;
    check_streams_to(port, "connect to", peer)?;
    if let Address::Pipe(_) = peer {
        return Err(invalid(
            "a client of a named pipe has no address of its own",
        ));
    }
    if let Some(local) = local {
        check_streams_to(port, "connect from", local)?;
    }
    let socket = open_socket(peer, packets)?;
    if let Some(local) = local {
        socket.bind(&os_address(local)?)?;
    }
    Ok(socket)
}

/// Sets an option. The error names it.
pub(super) fn set_option(socket: &Socket, option: SocketOption) -> io::Result<()> {
    // Most OSes count whole seconds, and none accepts zero.
    let second = |time: Duration| time.max(Duration::from_secs(1));
    let keep_alive = TcpKeepalive::new();
    let set = match option {
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on),
        SocketOption::KeepAlive(None) => socket.set_keepalive(false),
        SocketOption::KeepAlive(Some(idle)) => {
            socket.set_tcp_keepalive(&keep_alive.with_time(second(idle)))
        }
        SocketOption::KeepAliveInterval(interval) => {
            socket.set_tcp_keepalive(&keep_alive.with_interval(second(interval)))
        }
        SocketOption::KeepAliveRetries(count) => {
            socket.set_tcp_keepalive(&keep_alive.with_retries(count))
        }
        SocketOption::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes),
        SocketOption::SendBuffer(bytes) => socket.set_send_buffer_size(bytes),
        // An IPv4 socket refuses the option of IPv6. An IPv6 socket may take both, so its own comes first.
        SocketOption::HopLimit(hops) => socket
            .set_unicast_hops_v6(hops)
            .or_else(|_| socket.set_ttl_v4(hops)),
        SocketOption::TypeOfService(bits) => set_type_of_service(socket, bits),
        SocketOption::UserTimeout(timeout) => set_user_timeout(socket, timeout),
        SocketOption::Device(ref name) => bind_device(socket, name),
    };
    set.map_err(|error| io::Error::new(error.kind(), SetOptionError(option, error)))
}

/// The error of an option that was not set.
#[derive(Debug)]
struct SetOptionError(SocketOption, io::Error);

impl fmt::Display for SetOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0, self.1)
    }
}

impl std::error::Error for SetOptionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.1)
    }
}

#[cfg(unix)]
fn set_type_of_service(socket: &Socket, bits: u32) -> io::Result<()> {
    // As with the hop limit.
    socket
        .set_tclass_v6(bits)
        .or_else(|_| socket.set_tos_v4(bits))
}

/// Does nothing for IPv6, because Windows has no such option; it ignores that of IPv4.
#[cfg(windows)]
fn set_type_of_service(_socket: &Socket, _bits: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn set_user_timeout(socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_user_timeout(timeout)
}

#[cfg(not(target_os = "linux"))]
fn set_user_timeout(_socket: &Socket, _timeout: Option<Duration>) -> io::Result<()> {
    Err(linux_alone())
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind_device(Some(name.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_device(_socket: &Socket, _name: &str) -> io::Result<()> {
    Err(linux_alone())
}

#[cfg(not(target_os = "linux"))]
fn linux_alone() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Linux has this option")
}

pub(super) fn local_addr(socket: &Socket) -> io::Result<Address> {
    address(&socket.local_addr()?)
}

pub(super) fn peer_addr(socket: &Socket) -> io::Result<Address> {
    address(&socket.peer_addr()?)
}

/// The number of sent bytes that the peer's system has not acknowledged; an end of the sending side
/// may count as one byte.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
#[expect(unsafe_code, reason = "socket2 does not have this query")]
fn unacknowledged(socket: &Socket) -> io::Result<usize> {
    #[cfg(target_os = "freebsd")]
    use libc::FIONWRITE as QUESTION;
    #[cfg(target_os = "linux")]
    use libc::TIOCOUTQ as QUESTION;
    use std::os::fd::AsRawFd;

    let mut count: std::ffi::c_int = 0;
    // SAFETY: the call writes one number of this type, for which there is room.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), QUESTION, &raw mut count) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn unacknowledged(_socket: &Socket) -> io::Result<usize> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this OS does not tell what is not acknowledged",
    ))
}

/// Makes closing the socket reset its connection.
pub(super) fn reset_on_close(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

/// Opens a socket of the address's family, for a stream or for sequenced packets.
pub(super) fn open_socket(address: &Address, packets: bool) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        Address::Ip(_) if packets => {
            return Err(invalid("only UNIX sockets have sequenced packets"));
        }
        Address::Ip(address) => (Domain::for_address(*address), Some(Protocol::TCP)),
        _ => (Domain::UNIX, None),
    };
    let kind = if packets {
        Type::SEQPACKET
    } else {
        Type::STREAM
    };
    let socket = Socket::new(domain, kind, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The address as the OS takes it.
pub(super) fn os_address(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Ip(address) => Ok((*address).into()),
        Address::Unix(address) => os_unix_address(address),
        Address::Pipe(_) => Err(invalid("a pipe's name is no address of a socket")),
    }
}

/// An abstract name begins with a NUL there.
#[cfg(unix)]
fn os_unix_address(address: &UnixAddress) -> io::Result<SockAddr> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => SockAddr::unix(path),
        (None, Some(name)) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        (None, None) => Err(invalid("the address has no name")),
    }
}

#[cfg(windows)]
fn os_unix_address(address: &UnixAddress) -> io::Result<SockAddr> {
    match address.as_pathname() {
        Some(path) => SockAddr::unix(path),
        None => Err(invalid("the address has no name")),
    }
}

/// The address that the OS reports.
pub(super) fn address(address: &SockAddr) -> io::Result<Address> {
    if let Some(ip) = address.as_socket() {
        return Ok(ip.into());
    }
    unix_address(address).map(Address::Unix).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the socket has an address of an unknown kind",
        )
    })
}

#[cfg(unix)]
fn unix_address(address: &SockAddr) -> Option<UnixAddress> {
    if address.is_unnamed() {
        return Some(UnixAddress::unnamed());
    }
    match address.as_pathname() {
        Some(path) => Some(UnixAddress::from_reported_path(path)),
        None => UnixAddress::from_abstract_name(address.as_abstract_namespace()?).ok(),
    }
}

/// Enlarges a pipe's buffer to 256 KiB, which is a few reads; more would not fit into the
/// processor's cache. Failures are harmless: the descriptor is not a pipe, or the user has used up
/// the memory allowed for pipes.
#[cfg(target_os = "linux")]
pub(super) fn widen_pipe(pipe: std::os::fd::BorrowedFd<'_>) {
    const WIDE_BYTES: usize = 1 << 18;
    let widened = rustix::pipe::fcntl_getpipe_size(pipe).and_then(|size| {
        if size < WIDE_BYTES {
            rustix::pipe::fcntl_setpipe_size(pipe, WIDE_BYTES)?;
        }
        Ok(())
    });
    if let Err(error) = widened {
        log::debug!("a pipe could not be enlarged: {error}");
    }
}

/// Makes calls on a descriptor non-blocking. Leaves files alone, which others share and which never block.
#[cfg(unix)]
pub(super) fn unblock(descriptor: impl std::os::fd::AsFd) -> io::Result<()> {
    use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};

    let flags = fcntl_getfl(&descriptor)?;
    if flags.contains(OFlags::NONBLOCK) {
        return Ok(());
    }
    let kind = FileType::from_raw_mode(fstat(&descriptor)?.st_mode);
    if kind != FileType::RegularFile {
        fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// Does nothing: other systems enlarge pipes by themselves.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn widen_pipe(_pipe: std::os::fd::BorrowedFd<'_>) {}

#[cfg(test)]
mod tests {
    use super::{PortKind, stream};
    use std::io;

    #[test]
    fn an_address_that_is_not_ours_is_refused() {
        let peer = ([127, 0, 0, 1], 9).into();
        let local = ([192, 0, 2, 1], 0).into();
        let opened = stream(PortKind::Poll, &peer, Some(&local), false);
        let error = opened.expect_err("not our address");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
