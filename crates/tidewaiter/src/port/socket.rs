//! Sockets and pipes on their way into a port.

use std::any::Any;
use std::fmt;
use std::net::{TcpListener, TcpStream};

use crate::os::OsPipe;

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
    /// A socket of a simulated network, which only a port of that network can adopt.
    Sim(Box<dyn Simulated>),
}

/// A socket that no OS has made.
pub(crate) trait Simulated: Any + fmt::Debug + Send + Sync {}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket(SocketRepr::Os(stream.into()))
    }
}

/// Takes any stream socket of the OS: a TCP or UNIX socket, connected or not.
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
    /// accepted it: set the mode that you need. Fails for a simulated socket, and gives it back.
    fn try_from(socket: Socket) -> Result<TcpStream, Socket> {
        match socket.0 {
            SocketRepr::Os(os) | SocketRepr::Plain(os) => Ok(os.into()),
            repr @ SocketRepr::Sim(_) => Err(Socket(repr)),
        }
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
    /// A listening TCP socket.
    Listener(TcpListener),
    /// The reading end of a pipe. On Windows it must have been opened for overlapped I/O.
    PipeReader(OsPipe),
    /// The writing end of a pipe. On Windows it must have been opened for overlapped I/O.
    PipeWriter(OsPipe),
}

impl From<Socket> for Resource {
    fn from(socket: Socket) -> Resource {
        Resource::Socket(socket)
    }
}

impl From<TcpStream> for Resource {
    fn from(stream: TcpStream) -> Resource {
        Resource::Socket(stream.into())
    }
}

impl From<TcpListener> for Resource {
    fn from(listener: TcpListener) -> Resource {
        Resource::Listener(listener)
    }
}
