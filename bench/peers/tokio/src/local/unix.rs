//! UNIX sockets.

use std::io;

use bench_common::{net, tell};
use tokio::net::{UnixListener, UnixStream};

/// Listens, and runs `handle` in a task for each connection.
pub(crate) async fn serve<F>(handle: fn(UnixStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = UnixListener::bind(net::unix_path())?;
    net::tell_unix();
    loop {
        let (stream, _peer) = listener.accept().await?;
        tokio::spawn(handle(stream));
    }
}

/// Only Windows has such pipes.
pub(crate) async fn pipe_echo() -> io::Result<()> {
    tell::unsupported();
    Ok(())
}
