//! A UDP echo server and a client of it: `cargo run -p tidewaiter --example udp`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::port::{Datagram, DatagramError};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};

/// Sends each datagram back to its sender.
pub(crate) struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        if let Some(sender) = datagram.sender() {
            transport.send_to(datagram, sender);
        }
    }
}

/// Asks until it gets an answer: datagrams may be lost.
struct Client {
    answered: bool,
}

impl Client {
    fn ask(transport: &DatagramTransport) {
        transport.send(b"hello");
        let again = transport.clone();
        let reactor = transport.reactor();
        reactor.call_later(Duration::from_secs(1), move |_| Client::ask(&again));
    }
}

impl DatagramProtocol for Client {
    fn started(&mut self, transport: &DatagramTransport) {
        Client::ask(transport);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        if !std::mem::replace(&mut self.answered, true) {
            println!("answered: {}", String::from_utf8_lossy(datagram));
            transport.reactor().stop();
        }
    }

    // An error concerns one datagram, and never ends the socket.
    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        println!("{error}");
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    let server = reactor.listen_udp(SocketAddr::from(([127, 0, 0, 1], 0)), Echo)?;
    let address = server.local_addr()?.socket_addr().ok_or("no IP address")?;
    reactor.connect_udp(address, Client { answered: false })?;
    reactor.run()?;
    Ok(())
}
