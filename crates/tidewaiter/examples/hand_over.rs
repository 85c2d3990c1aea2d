//! Hands a listener to another process: this one listens, and its worker, which gets the listener as descriptor 7,
//! serves a client (Unix). `cargo run -p tidewaiter --example hand_over -- 127.0.0.1:7000`
//!
//! To hand over connections instead, send them over a UNIX socket (see the example `unix_socket`); for Windows,
//! see the example `hand_over_windows`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;

use tidewaiter::port::{RawDescriptor, Resource, inherited};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{Protocol, Reactor, Reason, Transport};

/// The descriptor of the listener in the worker.
const LISTENER: RawDescriptor = 7;
/// Set in the worker.
const IS_WORKER: &str = "EXAMPLE_IS_WORKER";

/// Greets a client, and ends the worker.
struct Greeter;

impl Protocol for Greeter {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"hello from the worker\n");
        transport.lose_connection();
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}

    fn connection_lost(&mut self, transport: &Transport, _: Reason) {
        transport.reactor().stop();
    }
}

fn work(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    match inherited(LISTENER)? {
        Resource::Listener(socket) => {
            reactor.listen_on(socket, |_peer| Greeter)?;
            Ok(())
        }
        other => Err(format!("descriptor {LISTENER} does not listen: {other:?}").into()),
    }
}

/// Listens, and starts the worker: this program, with the same arguments.
fn hand_over(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: hand_over ADDRESS")?;
    let address: tidewaiter::Address = address.parse()?;
    let listener = reactor.listen(address, |_peer| Greeter)?;
    // Clients wait for the worker, which gets a copy. Ours stays, so that another worker could follow.
    listener.pause_accepting();
    println!("listening on {}", listener.local_addr());
    let number = listener.raw_descriptor().ok_or("it is open")?;
    let worker = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(IS_WORKER, "yes")
        .fd(7, Stdio::Descriptor(number));
    reactor.run_command(worker, |reactor, end| {
        match end {
            Ok(output) => println!("the worker has ended: {}", output.status),
            Err(error) => println!("{error}"),
        }
        reactor.stop();
    });
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    match std::env::var_os(IS_WORKER) {
        Some(_) => work(&reactor)?,
        None => hand_over(&reactor)?,
    }
    reactor.run()?;
    Ok(())
}
