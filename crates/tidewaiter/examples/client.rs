//! A client with timeouts: `cargo run -p tidewaiter --example client -- localhost:7000 hello`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use tidewaiter::endpoint::HostPort;
use tidewaiter::{Address, ConnectError, ConnectOptions, Factory, Protocol};
use tidewaiter::{Reactor, Reason, Transport};

/// For connecting, and once more for the answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Sends a line, and prints the answer.
struct Client {
    line: String,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(format!("{}\n", self.line).as_bytes());
        let late = transport.clone();
        let abort = move |_: &Reactor| late.abort_connection();
        transport.reactor().call_later(LIMIT, abort);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        print!("{}", String::from_utf8_lossy(data));
        if data.contains(&b'\n') {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        match reason {
            Reason::Aborted => println!("no answer within {LIMIT:?}"),
            reason => println!("{reason}"),
        }
        transport.reactor().stop();
    }
}

/// Makes the client, or prints why there is no connection.
struct Dial {
    line: String,
}

impl Factory for Dial {
    fn build_protocol(&mut self, _peer: Address) -> Option<Box<dyn Protocol>> {
        let line = std::mem::take(&mut self.line);
        Some(Box::new(Client { line }))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        println!("{error}");
        reactor.stop();
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let target: HostPort = words.next().ok_or("a HOST:PORT is wanted")?.parse()?;
    let line = words.next().unwrap_or("hello".to_owned());
    let reactor = Reactor::new()?;
    let options = ConnectOptions::from(target).timeout(LIMIT);
    reactor.connect_tcp(options, Dial { line });
    reactor.run()?;
    Ok(())
}
