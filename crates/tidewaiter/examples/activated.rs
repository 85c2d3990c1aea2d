//! An echo server that a service manager starts when the first client comes:
//! `systemd-socket-activate -l 7000 target/debug/examples/activated`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;

use tidewaiter::port::{Resource, activated};
use tidewaiter::{Protocol, Reactor, Reason, Transport};

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

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    for passed in activated()? {
        match passed.resource {
            Resource::Listener(socket) => {
                let listener = reactor.listen_on(socket, |_peer| Echo)?;
                println!("{}: {}", passed.name, listener.local_addr());
            }
            other => return Err(format!("{} does not listen: {other:?}", passed.name).into()),
        }
    }
    if reactor.metrics().living.listeners == 0 {
        return Err("no service manager passed a listening socket".into());
    }
    reactor.run()?;
    Ok(())
}
