//! Sockets and pipes on their way into a port.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, SockRef, Type};

use crate::os::{Address, OsPipe, RawDescriptor};

/// A stream socket that belongs to no port yet. It may be connected or not. Dropping it closes it.
///
/// It can be sent to another thread, for a port there to [adopt](super::Port::adopt).
#[derive(Debug)]
pub struct Socket(pub(crate) SocketRepr);

#[derive(Debug)]
pub(crate) enum SocketRepr {
    Os(socket2::Socket),
    /// A socket whose mode a port leaves alone. A port made it, so that it does not block, and is the system's own
    /// handle, with no provider layered over it; or it is shared.
    Plain(socket2::Socket),
    /// A connection that is no socket of the OS, which only a port of the kind that made it can adopt: one of a simulated
    /// network, for example.
    Own(Box<dyn PortSocket>),
}

impl Socket {
    /// A connection to `peer` that a port has accepted.
    #[cfg(unix)]
    pub(super) fn accepted(socket: socket2::Socket, peer: &Address) -> Socket {
        // Only UNIX sockets have packets: spare the others the call.
        if matches!(peer, Address::Unix(_)) && is_of_packets(&socket) {
            // Adopting it asks for its type.
            return Socket(SocketRepr::Os(socket));
        }
        Socket(SocketRepr::Plain(socket))
    }

    /// Whether this is a connection of sequenced packets or messages.
    pub(crate) fn keeps_packets(&self) -> bool {
        match &self.0 {
            SocketRepr::Os(socket) => is_of_packets(socket),
            SocketRepr::Plain(_) => false,
            SocketRepr::Own(connection) => connection.keeps_messages(),
        }
    }

    /// Whether the socket is of the family of `peer`. Windows does not tell before it is bound: then any may be.
    pub(crate) fn is_of_family_of(&self, peer: &Address) -> bool {
        let (SocketRepr::Os(socket) | SocketRepr::Plain(socket)) = &self.0 else {
            return true;
        };
        let family = match peer {
            Address::Ip(address) => Domain::for_address(*address),
            Address::Unix(_) => Domain::UNIX,
            Address::Pipe(_) => return false,
        };
        socket
            .local_addr()
            .map_or(true, |own| own.domain() == family)
    }
}

fn is_of_packets(socket: &socket2::Socket) -> bool {
    socket.r#type().is_ok_and(|kind| kind == Type::SEQPACKET)
}

/// A connection that is no socket of the OS.
pub(crate) trait PortSocket: Any + fmt::Debug + Send + Sync {
    /// The address of our end, if it can be told.
    fn local_addr(&self) -> Option<Address> {
        None
    }

    /// Whether it carries messages instead of a stream.
    fn keeps_messages(&self) -> bool {
        false
    }

    /// The OS's number of the object, if the OS knows it.
    fn raw_descriptor(&self) -> Option<RawDescriptor> {
        None
    }
}

/// The error of a port that is given a connection of another kind of port.
pub(super) fn of_another_port() -> io::Error {
    wrong_kind(
        "the connection is no socket of the OS: only a port of the kind that made it can adopt it",
    )
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket(SocketRepr::Os(stream.into()))
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Socket {
    fn from(stream: std::os::unix::net::UnixStream) -> Socket {
        std::os::fd::OwnedFd::from(stream).into()
    }
}

/// Takes any stream socket of the OS: a TCP or UNIX socket, connected or not, also of sequenced packets.
#[cfg(unix)]
impl From<std::os::fd::OwnedFd> for Socket {
    fn from(descriptor: std::os::fd::OwnedFd) -> Socket {
        Socket(SocketRepr::Os(descriptor.into()))
    }
}

/// Takes any stream socket of the OS, connected or not.
#[cfg(windows)]
impl From<std::os::windows::io::OwnedSocket> for Socket {
    fn from(socket: std::os::windows::io::OwnedSocket) -> Socket {
        Socket(SocketRepr::Os(socket.into()))
    }
}

impl TryFrom<Socket> for TcpStream {
    type Error = Socket;

    /// Takes the OS's socket out. Whether it blocks depends on its origin, and on the port that
    /// accepted it: set the mode that you need. Fails for a connection that is none, such as a simulated one, and gives it
    /// back.
    fn try_from(socket: Socket) -> Result<TcpStream, Socket> {
        match socket.0 {
            SocketRepr::Os(os) | SocketRepr::Plain(os) => Ok(os.into()),
            repr @ SocketRepr::Own(_) => Err(Socket(repr)),
        }
    }
}

/// A listening stream socket that belongs to no port yet. Dropping it closes it.
#[derive(Debug)]
pub struct ListeningSocket {
    pub(super) socket: socket2::Socket,
    pub(crate) one_at_a_time: bool,
    /// As [`ListenOptions::for_programs`](super::ListenOptions::for_programs).
    pub(crate) for_programs: bool,
}

impl ListeningSocket {
    fn new(socket: socket2::Socket) -> ListeningSocket {
        ListeningSocket {
            socket,
            one_at_a_time: false,
            for_programs: false,
        }
    }

    /// Makes a reactor accept connections one at a time: see
    /// [`ListenOptions::one_at_a_time`](super::ListenOptions::one_at_a_time).
    #[must_use]
    pub fn one_at_a_time(mut self) -> ListeningSocket {
        self.one_at_a_time = true;
        self
    }
}

impl From<TcpListener> for ListeningSocket {
    fn from(listener: TcpListener) -> ListeningSocket {
        ListeningSocket::new(listener.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for ListeningSocket {
    fn from(listener: std::os::unix::net::UnixListener) -> ListeningSocket {
        ListeningSocket::new(std::os::fd::OwnedFd::from(listener).into())
    }
}

/// Takes any listening socket of the OS; the port that adopts it refuses others.
#[cfg(unix)]
impl From<std::os::fd::OwnedFd> for ListeningSocket {
    fn from(descriptor: std::os::fd::OwnedFd) -> ListeningSocket {
        ListeningSocket::new(descriptor.into())
    }
}

/// Takes any listening socket of the OS; the port that adopts it refuses others.
#[cfg(windows)]
impl From<std::os::windows::io::OwnedSocket> for ListeningSocket {
    fn from(socket: std::os::windows::io::OwnedSocket) -> ListeningSocket {
        ListeningSocket::new(socket.into())
    }
}

/// A datagram socket that belongs to no port yet. Dropping it closes it.
///
/// The port that adopts it changes none of its options, because other processes may use the socket, too: it learns of
/// errors only as far as the socket reports them by itself.
///
/// ```
/// use tidewaiter::port::{DatagramSocket, Port, PortOptions, Request, Token};
///
/// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let mut port = Port::open(&PortOptions::default())?;
/// let handle = port.adopt(DatagramSocket::from(socket))?;
/// port.submit(handle, Request::ReceiveDatagrams, Token(1))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct DatagramSocket(pub(super) socket2::Socket);

impl From<UdpSocket> for DatagramSocket {
    fn from(socket: UdpSocket) -> DatagramSocket {
        DatagramSocket(socket.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixDatagram> for DatagramSocket {
    fn from(socket: std::os::unix::net::UnixDatagram) -> DatagramSocket {
        DatagramSocket(std::os::fd::OwnedFd::from(socket).into())
    }
}

/// Takes any datagram socket of the OS; the port that adopts it refuses others.
#[cfg(unix)]
impl From<std::os::fd::OwnedFd> for DatagramSocket {
    fn from(descriptor: std::os::fd::OwnedFd) -> DatagramSocket {
        DatagramSocket(descriptor.into())
    }
}

/// Takes any datagram socket of the OS; the port that adopts it refuses others. It must allow overlapped I/O, as sockets
/// do by default.
#[cfg(windows)]
impl From<std::os::windows::io::OwnedSocket> for DatagramSocket {
    fn from(socket: std::os::windows::io::OwnedSocket) -> DatagramSocket {
        DatagramSocket(socket.into())
    }
}

/// A socket or pipe that was made elsewhere and that a port can take over: see
/// [`Port::adopt`](super::Port::adopt).
#[derive(Debug)]
#[non_exhaustive]
pub enum Resource {
    /// A stream socket, connected or to be connected. On Windows it must allow overlapped I/O, as
    /// sockets do by default.
    Socket(Socket),
    /// A listening stream socket.
    Listener(ListeningSocket),
    /// A datagram socket, bound or connected.
    Datagrams(DatagramSocket),
    /// The reading end of a pipe. On Windows it must have been opened for overlapped I/O.
    PipeReader(OsPipe),
    /// The writing end of a pipe. On Windows it must have been opened for overlapped I/O.
    PipeWriter(OsPipe),
    /// An open file. On Windows it must have been opened for overlapped I/O.
    File(Arc<File>),
}

impl From<Socket> for Resource {
    fn from(socket: Socket) -> Resource {
        Resource::Socket(socket)
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Resource {
    fn from(stream: std::os::unix::net::UnixStream) -> Resource {
        Resource::Socket(stream.into())
    }
}

#[cfg(unix)]
impl From<io::PipeReader> for Resource {
    fn from(pipe: io::PipeReader) -> Resource {
        Resource::PipeReader(pipe.into())
    }
}

#[cfg(unix)]
impl From<io::PipeWriter> for Resource {
    fn from(pipe: io::PipeWriter) -> Resource {
        Resource::PipeWriter(pipe.into())
    }
}

impl From<TcpStream> for Resource {
    fn from(stream: TcpStream) -> Resource {
        Resource::Socket(stream.into())
    }
}

impl From<File> for Resource {
    fn from(file: File) -> Resource {
        Resource::File(Arc::new(file))
    }
}

impl From<TcpListener> for Resource {
    fn from(listener: TcpListener) -> Resource {
        Resource::Listener(listener.into())
    }
}

impl From<UdpSocket> for Resource {
    fn from(socket: UdpSocket) -> Resource {
        Resource::Datagrams(socket.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixDatagram> for Resource {
    fn from(socket: std::os::unix::net::UnixDatagram) -> Resource {
        Resource::Datagrams(socket.into())
    }
}

impl From<DatagramSocket> for Resource {
    fn from(socket: DatagramSocket) -> Resource {
        Resource::Datagrams(socket)
    }
}

impl From<ListeningSocket> for Resource {
    fn from(listener: ListeningSocket) -> Resource {
        Resource::Listener(listener)
    }
}

impl Resource {
    fn of_socket(socket: socket2::Socket) -> io::Result<Resource> {
        if socket.r#type()? == Type::DGRAM {
            return Ok(DatagramSocket(socket).into());
        }
        if !is_stream(&socket)? {
            return Err(wrong_kind("the socket has no kind that a port adopts"));
        }
        if listens(&socket)? {
            return Ok(ListeningSocket::new(socket).into());
        }
        Ok(Socket(SocketRepr::Os(socket)).into())
    }

    /// Refuses a socket that is not of the kind that it is passed as. The sockets that ports have made need no check.
    #[inline]
    pub(super) fn check_kind(&self) -> io::Result<()> {
        match self {
            Resource::Socket(Socket(SocketRepr::Plain(_))) => Ok(()),
            _ => self.check_kind_of_other(),
        }
    }

    #[cold]
    fn check_kind_of_other(&self) -> io::Result<()> {
        match self {
            Resource::Socket(Socket(SocketRepr::Os(socket))) if !is_stream(socket)? => {
                Err(wrong_kind("the socket is no stream socket"))
            }
            Resource::Socket(Socket(SocketRepr::Os(socket))) if listens(socket)? => {
                Err(wrong_kind("the socket listens: it is no connection"))
            }
            Resource::Listener(ListeningSocket { socket, .. }) if !listens(socket)? => {
                Err(wrong_kind("the socket does not listen"))
            }
            Resource::Datagrams(DatagramSocket(socket)) if socket.r#type()? != Type::DGRAM => {
                Err(wrong_kind("the socket is no datagram socket"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the socket accepts connections.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn listens(socket: &socket2::Socket) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(socket)?)
}

/// Whether the socket accepts connections: it does if it is bound and has no peer, because these systems do not tell.
#[cfg(all(unix, target_vendor = "apple"))]
fn listens(socket: &socket2::Socket) -> io::Result<bool> {
    let is_bound = match socket.local_addr()?.as_socket() {
        Some(address) => address.port() != 0,
        None => !socket.local_addr()?.is_unnamed(),
    };
    Ok(is_bound && socket.peer_addr().is_err())
}

/// Whether the socket accepts connections.
#[cfg(windows)]
#[expect(unsafe_code, reason = "socket2 does not have this query here")]
fn listens(socket: &socket2::Socket) -> io::Result<bool> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{SO_ACCEPTCONN, SOCKET, SOL_SOCKET, getsockopt};

    let raw = SOCKET::try_from(socket.as_raw_socket()).expect("sockets are words");
    let (mut answer, mut length) = ([0_u8; 4], 4);
    // SAFETY: the socket is open during the call, which writes at most the four bytes and their number.
    let failed = unsafe {
        getsockopt(
            raw,
            SOL_SOCKET,
            SO_ACCEPTCONN,
            answer.as_mut_ptr(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer != [0; 4])
}

/// Finds out what a descriptor is. Of a named pipe that was opened for both directions, this is the reading end.
///
/// Fails with [`InvalidInput`](io::ErrorKind::InvalidInput) for objects that no port adopts, such as regular files.
#[cfg(unix)]
impl TryFrom<std::os::fd::OwnedFd> for Resource {
    type Error = io::Error;

    fn try_from(descriptor: std::os::fd::OwnedFd) -> io::Result<Resource> {
        use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

        match FileType::from_raw_mode(fstat(&descriptor)?.st_mode) {
            FileType::Socket => Resource::of_socket(descriptor.into()),
            FileType::Fifo | FileType::CharacterDevice => {
                match fcntl_getfl(&descriptor)? & OFlags::ACCMODE {
                    OFlags::WRONLY => Ok(Resource::PipeWriter(descriptor)),
                    _ => Ok(Resource::PipeReader(descriptor)),
                }
            }
            kind => {
                let what = match kind {
                    FileType::RegularFile => "a regular file",
                    FileType::Directory => "a directory",
                    FileType::BlockDevice => "a block device",
                    _ => "something unknown",
                };
                Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("it is {what}, and no socket, pipe or character device"),
                ))
            }
        }
    }
}

/// Finds out what kind of socket this is.
#[cfg(windows)]
impl TryFrom<std::os::windows::io::OwnedSocket> for Resource {
    type Error = io::Error;

    fn try_from(socket: std::os::windows::io::OwnedSocket) -> io::Result<Resource> {
        Resource::of_socket(socket.into())
    }
}

fn wrong_kind(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

fn is_stream(socket: &socket2::Socket) -> io::Result<bool> {
    let kind = SockRef::from(socket).r#type()?;
    Ok(kind == Type::STREAM || kind == Type::SEQPACKET)
}
