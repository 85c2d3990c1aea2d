//! UDP: a task for each socket.

use std::io;

use bench_common::datagrams::sockets;
use bench_common::net::BUFFER_BYTES;
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::net::UdpSocket;

/// Sends back each datagram.
pub(crate) async fn echo(count: u32) -> io::Result<()> {
    let sockets = sockets(count)?.into_iter().map(UdpSocket::from_std);
    let sockets: Vec<_> = sockets.collect::<io::Result<_>>()?;
    let tasks = sockets.into_iter().map(echo_on);
    let tasks = tasks.map(compio::runtime::spawn);
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task panics")?;
    }
    Ok(())
}

async fn echo_on(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let BufResult(received, read) = socket.recv_from(buffer).await;
        let (count, peer) = received?;
        let BufResult(sent, slice) = socket.send_to(read.slice(..count), peer).await;
        sent?;
        buffer = slice.into_inner();
    }
}
