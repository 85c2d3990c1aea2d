//! Servers: a task for each connection.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bench_common::tell;
use tidewaiter::Reactor;
use tidewaiter::io::{Listener, Stream};

/// Sends back everything that it receives.
pub(crate) async fn echo(mut stream: Stream) -> io::Result<()> {
    loop {
        let chunk = stream.read_chunk().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        stream.write_chunk(chunk).await?;
    }
}

/// Listens, and runs `handle` in a task for each connection.
pub(crate) async fn serve<F>(
    reactor: &Reactor,
    mut handle: impl FnMut(Stream) -> F,
) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = Listener::bind(reactor, any_port)?;
    tell::address(&listener.local_addr().to_string());
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.transport().set_no_delay(true)?;
        reactor.spawn(handle(stream));
    }
}
