//! Passes an open file to another process over a UNIX socket, for its eyes only. Here, both are the same process:
//! `cargo run -p tidewaiter --example unix_socket -- /tmp/example.sock Cargo.toml`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::fs::File;
use std::io::Read;

use tidewaiter::port::{ListenOptions, PassedDescriptors};
use tidewaiter::{Address, Protocol, Reactor, Reason, Transport, UnixAddress};

/// Passes a file to each client of our own user.
struct Giver {
    path: String,
}

impl Protocol for Giver {
    fn connection_made(&mut self, transport: &Transport) {
        match (transport.peer_credentials(), File::open(&self.path)) {
            (Ok(peer), Ok(file)) => {
                let user = peer.user.unwrap_or_default();
                println!("user {user} gets {}", self.path);
                let sent = transport.send_with_descriptors(b"read this\n", vec![file.into()]);
                if let Err(error) = sent {
                    println!("{error}");
                }
            }
            (Err(error), _) | (_, Err(error)) => println!("{}: {error}", self.path),
        }
        transport.lose_connection();
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// Reads the files that it gets.
struct Taker;

impl Protocol for Taker {
    fn connection_made(&mut self, transport: &Transport) {
        if let Err(error) = transport.take_descriptors() {
            println!("{error}");
        }
    }

    fn descriptors_received(&mut self, _: &Transport, passed: PassedDescriptors) {
        for descriptor in passed.descriptors {
            let mut text = String::new();
            match File::from(descriptor).read_to_string(&mut text) {
                Ok(bytes) => println!("the file has {bytes} bytes"),
                Err(error) => println!("{error}"),
            }
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        println!("with it came: {}", String::from_utf8_lossy(data).trim());
    }

    fn connection_lost(&mut self, transport: &Transport, _: Reason) {
        transport.reactor().stop();
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = UnixAddress::from_pathname(words.next().ok_or("no path for the socket")?)?;
    let path = words.next().ok_or("no file")?;
    let reactor = Reactor::new()?;
    let mut options = ListenOptions::new(address.clone());
    options.socket_file.mode = Some(0o600);
    reactor.listen_unix(options, move |_: Address| Giver { path: path.clone() })?;
    reactor.connect_unix(address, |_: Address| Taker);
    reactor.run()?;
    Ok(())
}
