//! A reverse proxy for HTTP: reads the head of the first request, connects to the server, and passes on what comes.

use std::io;
use std::net::SocketAddr;

use bench_common::net::{self, BUFFER_BYTES, PIECE_BYTES};
use bench_common::origin::{Origin, has_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn serve() -> io::Result<()> {
    let origin = Origin::start()?;
    let listener = TcpListener::from_std(net::listener()?)?;
    loop {
        let (client, _peer) = listener.accept().await?;
        tokio::spawn(pass_on(client, origin.address));
    }
}

async fn pass_on(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut head = Vec::with_capacity(BUFFER_BYTES);
    while !has_head(&head) {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let mut server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    server.write_all(&head).await?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, PIECE_BYTES).await?;
    Ok(())
}
