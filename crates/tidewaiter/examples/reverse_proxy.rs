//! A reverse proxy for TCP: spreads connections over servers, and passes over those that refuse.
//! `cargo run -p tidewaiter --example reverse_proxy -- 127.0.0.1:8080 localhost:8081 localhost:8082`; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::io::{Listener, Stream, copy_bidirectional};
use tidewaiter::{ConnectOptions, Reactor};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The servers, and whose turn it is.
pub(crate) struct Servers {
    all: Vec<String>,
    next: Cell<usize>,
}

impl Servers {
    pub(crate) fn new(all: Vec<String>) -> Servers {
        let next = Cell::new(0);
        Servers { all, next }
    }

    /// Connects to the next server that accepts a connection.
    async fn connect(&self, reactor: &Reactor) -> io::Result<Stream> {
        let mut last = io::Error::other("there are no servers");
        let first = self.next.replace(self.next.get().wrapping_add(1));
        for turn in 0..self.all.len() {
            let server = &self.all[first.wrapping_add(turn) % self.all.len()];
            let options = ConnectOptions::from(server.as_str()).timeout(CONNECT_LIMIT);
            match Stream::connect(reactor, options).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

/// Serves one connection, and returns how many bytes went to the server and back.
async fn pass_on(
    reactor: Reactor,
    mut client: Stream,
    servers: Rc<Servers>,
) -> io::Result<(u64, u64)> {
    // The client's connection is closed if there is no server.
    let mut server = servers.connect(&reactor).await?;
    Ok(copy_bidirectional(&mut client, &mut server).await?)
}

/// Serves connections until the reactor stops.
pub(crate) async fn serve(
    reactor: Reactor,
    mut listener: Listener,
    servers: Servers,
) -> io::Result<()> {
    let servers = Rc::new(servers);
    loop {
        let (client, peer) = listener.accept().await?;
        let passing = pass_on(reactor.clone(), client, Rc::clone(&servers));
        reactor.spawn(async move {
            match passing.await {
                Ok((sent, received)) => println!("{peer} sent {sent} bytes, received {received}"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("usage: reverse_proxy ADDRESS SERVER…")?;
    let reactor = Reactor::new()?;
    let listener = Listener::bind(&reactor, address.as_str())?;
    println!("listening on {}", listener.local_addr());
    reactor.spawn(serve(
        reactor.clone(),
        listener,
        Servers::new(words.collect()),
    ));
    reactor.run()?;
    Ok(())
}
