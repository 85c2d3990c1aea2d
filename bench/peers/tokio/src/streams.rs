//! Servers: a task for each connection.

use std::io;

use bench_common::net::{self, BUFFER_BYTES, PIECE_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Sends back everything that it receives.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

/// Receives data and drops it.
pub(crate) async fn sink(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Sends without end.
pub(crate) async fn source(mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
    let piece = vec![b'x'; PIECE_BYTES];
    loop {
        stream.write_all(&piece).await?;
    }
}

/// Receives data and drops it, and sends without end.
pub(crate) async fn both(mut stream: TcpStream) -> io::Result<()> {
    let (reader, writer) = stream.split();
    tokio::try_join!(sink(reader), source(writer))?;
    Ok(())
}

/// Listens, and runs `handle` in a task for each connection.
pub(crate) async fn serve<F>(handle: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::from_std(net::listener()?)?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        tokio::spawn(handle(stream));
    }
}
