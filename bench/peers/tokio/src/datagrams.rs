//! UDP: a task for each socket.

use std::io;

use bench_common::datagrams::sockets;
use bench_common::net::BUFFER_BYTES;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Sends back each datagram.
pub(crate) async fn echo(count: u32) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for socket in sockets(count)? {
        tasks.spawn(echo_on(UdpSocket::from_std(socket)?));
    }
    tasks.join_all().await.into_iter().collect()
}

async fn echo_on(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (count, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], peer).await?;
    }
}
