//! An echo server: `cargo run -p tidewaiter --example echo -- 127.0.0.1:7000`; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::net::SocketAddr;

use tidewaiter::{Listener, Protocol, Reactor, Reason, Transport};

/// Sends back what it receives.
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        // Reads no faster than the peer does.
        transport.pause_while_congested();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        println!("{transport:?}: {reason}");
    }
}

/// Listens on `address`; the reactor does the rest.
pub(crate) fn serve(reactor: &Reactor, address: SocketAddr) -> Result<Listener, tidewaiter::Error> {
    reactor.listen_tcp(address, |peer| {
        println!("{peer} connected");
        Echo
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:7000").parse()?;
    let reactor = Reactor::new()?;
    let listener = serve(&reactor, address)?;
    println!("listening on {}", listener.local_addr());
    reactor.run()?;
    Ok(())
}
