//! The listening sockets, which are the same for all peers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use socket2::{Domain, Socket, Type};

use crate::tell;

/// Size of a connection's receive buffer, for runtimes that do not provide buffers.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// Size of one write of a source, and of a sink's receive buffer.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Length of the queue of connections to be accepted: a thousand clients connect at once.
pub const BACKLOG: i32 = 1024;

/// Listens on a port that the OS chooses, and reports it. Accepted connections inherit `TCP_NODELAY`.
///
/// # Errors
///
/// Errors of the OS.
pub fn listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    tell::address(&format!("{}:{port}", Ipv4Addr::LOCALHOST));
    Ok(listener)
}

/// The path of the UNIX socket on which to listen. The program that started us removes it at the end.
#[must_use]
pub fn unix_path() -> PathBuf {
    std::env::temp_dir().join(format!("bench-{}.socket", std::process::id()))
}

/// Reports that the server listens on [`unix_path`].
pub fn tell_unix() {
    tell::address(&format!("unix:{}", unix_path().display()));
}
