//! Watches a socket that other code owns and reads: here, a UDP socket of the standard library.
//! `cargo run -p tidewaiter --example watch -- 127.0.0.1:7000`, and send to it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io::ErrorKind;
use std::net::UdpSocket;

use tidewaiter::port::{Interest, RawDescriptor};
use tidewaiter::{Reactor, Watch};

#[cfg(unix)]
fn number(socket: &UdpSocket) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

#[cfg(windows)]
fn number(socket: &UdpSocket) -> RawDescriptor {
    std::os::windows::io::AsRawSocket::as_raw_socket(socket)
}

/// Tells what arrives at `socket`. The callback owns the socket, and is dropped with the watch.
pub(crate) fn watch(
    reactor: &Reactor,
    socket: UdpSocket,
    mut tell: impl FnMut(&Watch, &[u8]) + 'static,
) -> Result<Watch, Box<dyn Error>> {
    socket.set_nonblocking(true)?;
    let (descriptor, mut memory) = (number(&socket), [0; 2048]);
    let on_ready = move |watch: &Watch, _| match socket.recv(&mut memory) {
        // If more has arrived, the next turn of the loop calls again.
        Ok(count) => tell(watch, &memory[..count]),
        // A report may be out of date.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => tell(watch, error.to_string().as_bytes()),
    };
    Ok(reactor.watch(descriptor, Interest::READABLE, on_ready)?)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: watch ADDRESS")?;
    let socket = UdpSocket::bind(address)?;
    println!("receiving at {}", socket.local_addr()?);
    let reactor = Reactor::new()?;
    watch(&reactor, socket, |_, data| {
        println!("{}", String::from_utf8_lossy(data));
    })?;
    reactor.run()?;
    Ok(())
}
