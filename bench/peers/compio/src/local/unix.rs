//! UNIX sockets.

use std::io;

use bench_common::{net, tell};
use compio::net::{UnixListener, UnixStream};

/// Listens, and runs `handle` in a task for each connection.
pub(crate) async fn serve<F>(handle: fn(UnixStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = UnixListener::bind(net::unix_path()).await?;
    net::tell_unix();
    loop {
        let (stream, _peer) = listener.accept().await?;
        compio::runtime::spawn(handle(stream)).detach();
    }
}

/// Only Windows has such pipes.
pub(crate) async fn pipe_echo() -> io::Result<()> {
    tell::unsupported();
    Ok(())
}
