//! A reverse proxy for HTTP: reads the head of the first request, connects to the server, and passes on what comes.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use bench_common::net::BUFFER_BYTES;
use bench_common::origin::{Origin, has_head};
use tidewaiter::Reactor;
use tidewaiter::io::{Stream, copy_bidirectional};

use crate::streams;

pub(crate) async fn serve(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    let origin = Origin::start()?;
    streams::serve(reactor, |client| {
        pass_on(reactor.clone(), client, origin.address)
    })
    .await
}

async fn pass_on(reactor: Reactor, mut client: Stream, to: SocketAddr) -> io::Result<()> {
    let mut head = Vec::with_capacity(BUFFER_BYTES);
    while !has_head(&head) {
        let bytes = client.fill_buf().await?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(bytes);
        client.consume(count);
    }
    let mut server = Stream::connect(&reactor, to)
        .await
        .map_err(io::Error::other)?;
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
