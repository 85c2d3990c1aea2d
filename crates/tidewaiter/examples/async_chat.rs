//! A chat of tasks: everyone gets the lines of all others, and those that read too slowly are disconnected.
//! `cargo run -p tidewaiter --example async_chat -- 127.0.0.1:7000`, then `nc 127.0.0.1 7000` several times; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use tidewaiter::frames::{Encoder, FrameError, FramedRead, Lines};
use tidewaiter::io::{Listener, Stream};
use tidewaiter::{Broadcast, Reactor, SlowMembers};

/// A longer line ends its connection.
const LINE_MAX: usize = 4096;
/// A member that is further behind is disconnected.
const BEHIND_MAX: usize = 1 << 20;

/// Passes the lines of one member on to the others.
async fn pass_on(stream: Stream, all: Broadcast) -> Result<(), FrameError> {
    let member = all.add(stream.transport());
    let mut codec = Lines::new().limit(LINE_MAX);
    let mut lines = FramedRead::new(stream, codec.clone());
    while let Some(line) = lines.next().await {
        member.send_to_others(codec.frame(line?)?);
    }
    Ok(())
}

/// Accepts members until the reactor stops.
pub(crate) async fn serve(reactor: Reactor, mut listener: Listener) -> io::Result<()> {
    let all = Broadcast::new(SlowMembers::Disconnect).limit(BEHIND_MAX);
    loop {
        let (stream, peer) = listener.accept().await?;
        let passing = pass_on(stream, all.clone());
        reactor.spawn(async move {
            if let Err(error) = passing.await {
                println!("{peer}: {error}");
            }
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7000").parse()?;
    let reactor = Reactor::new()?;
    let listener = Listener::bind(&reactor, address)?;
    println!("listening on {}", listener.local_addr());
    reactor.spawn(serve(reactor.clone(), listener));
    reactor.run()?;
    Ok(())
}
