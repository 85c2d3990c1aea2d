//! The listening socket, which is the same for all.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::tell;

/// What the peers that bring their own buffers read into, per connection.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// What a source sends at a time, and what a sink has room for.
pub const PIECE_BYTES: usize = 64 * 1024;

/// As many connections may wait to be accepted: a thousand come at once.
const BACKLOG: i32 = 1024;

/// Listens on a port of the OS's choice, and tells which. Connections inherit that small writes go out at once.
///
/// # Errors
///
/// The OS's.
pub fn listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    tell::port(listener.local_addr()?.port());
    Ok(listener)
}
