//! An echo of messages over a named pipe of Windows: `cargo run -p tidewaiter --example pipe` is its own client.
//! Elsewhere, the pipe is simulated.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;

use tidewaiter::port::sim::Sim;
use tidewaiter::port::{ListenOptions, PipeConnectOptions, PipeMode};
use tidewaiter::{ConnectOptions, Listener, PipeName, Protocol, Reactor, Reason, Transport};

/// Sends each message back.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, message: &[u8]) {
        transport.write(message);
    }
}

/// Sends two messages, and ends with the answer to the second.
struct Client;

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"one");
        transport.write(b"two");
    }

    fn data_received(&mut self, transport: &Transport, message: &[u8]) {
        println!("answered: {}", String::from_utf8_lossy(message));
        if message == b"two" {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        println!("{reason}");
        transport.reactor().stop();
    }
}

/// Only this user, administrators and the system may open the pipe: see `PipeListenOptions::access`.
fn serve(reactor: &Reactor, name: &PipeName) -> Result<Listener, tidewaiter::Error> {
    let mut options = ListenOptions::new(name.clone());
    options.pipe.mode = PipeMode::MESSAGES;
    reactor.listen_pipe(options, |_| Echo)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let name = PipeName::local(format!("tidewaiter-example-{}", std::process::id()))?;
    let mut reactor = Reactor::new()?;
    if serve(&reactor, &name).is_err() {
        // This system has no named pipes.
        reactor = Reactor::builder().simulation(&Sim::new(1)).build()?;
        serve(&reactor, &name)?;
    }

    let mut options = PipeConnectOptions::default();
    options.mode = PipeMode::MESSAGES;
    reactor.connect_pipe(ConnectOptions::from(name).pipe(options), |_| Client);
    reactor.run()?;
    Ok(())
}
