//! Servers: a task for each connection.

use std::io;

use bench_common::net::{self, BUFFER_BYTES, PIECE_BYTES};
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use futures_util::future::try_join;

/// Sends back everything that it receives.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let BufResult(count, read) = stream.read(buffer).await;
        let count = count?;
        if count == 0 {
            return Ok(());
        }
        let BufResult(written, slice) = stream.write_all(read.slice(..count)).await;
        written?;
        buffer = slice.into_inner();
    }
}

/// Receives data and drops it.
pub(crate) async fn sink(mut stream: impl AsyncRead) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIECE_BYTES);
    loop {
        let BufResult(count, read) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        buffer = read;
    }
}

/// Sends without end.
pub(crate) async fn source(mut stream: impl AsyncWrite) -> io::Result<()> {
    let mut piece = vec![b'x'; PIECE_BYTES];
    loop {
        let BufResult(written, sent) = stream.write_all(piece).await;
        written?;
        piece = sent;
    }
}

/// Receives data and drops it, and sends without end.
pub(crate) async fn both(stream: TcpStream) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    try_join(sink(reader), source(writer)).await?;
    Ok(())
}

/// Listens, and runs `handle` in a task for each connection.
pub(crate) async fn serve<F>(handle: fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::from_std(net::listener()?)?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        compio::runtime::spawn(handle(stream)).detach();
    }
}
