//! UDP.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bench_common::datagrams::{Addresses, BATCH, DATAGRAM_BYTES, Received, Window};
use bytes::Bytes;
use tidewaiter::port::{Datagram, DatagramError};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};

/// Sends back each datagram.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        if let Some(sender) = datagram.sender() {
            transport.send_to(datagram, sender);
        }
    }

    fn error_received(&mut self, _transport: &DatagramTransport, error: &DatagramError) {
        panic!("nothing fails on the loopback: {error}");
    }

    fn datagrams_dropped(&mut self, _transport: &DatagramTransport, count: usize) {
        panic!("{count} datagrams were dropped");
    }
}

/// Drops datagrams, and acknowledges each batch.
#[derive(Default)]
struct Sink(Received);

impl DatagramProtocol for Sink {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let acknowledgement = self.0.add(datagram);
        if let (Some(bytes), Some(sender)) = (acknowledgement, datagram.sender()) {
            transport.send_to(&bytes, sender);
        }
    }
}

/// Sends batches, as fast as they are acknowledged.
struct Source {
    window: Window,
    batch: Bytes,
}

impl DatagramProtocol for Source {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        self.window.acknowledge(datagram);
        while self.window.takes_a_batch() {
            transport.send_run(self.batch.clone(), DATAGRAM_BYTES, datagram.sender());
        }
    }
}

pub(crate) fn echo(reactor: &Reactor, sockets: u32) -> Result<(), Box<dyn Error>> {
    serve(reactor, sockets, || Echo)
}

pub(crate) fn sink(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    serve(reactor, 1, Sink::default)
}

pub(crate) fn source(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    serve(reactor, 1, || Source {
        window: Window::default(),
        batch: vec![b'x'; BATCH * DATAGRAM_BYTES].into(),
    })
}

/// Opens the sockets, and makes a protocol for each by `protocol`.
fn serve<P: DatagramProtocol + 'static>(
    reactor: &Reactor,
    sockets: u32,
    protocol: fn() -> P,
) -> Result<(), Box<dyn Error>> {
    let (addresses, first) = Addresses::begin();
    let first = reactor.listen_udp(first, protocol())?.local_addr()?;
    let first = first.socket_addr().ok_or("it has an IP address")?;
    open_further(reactor, addresses.further(first, sockets), protocol);
    Ok(())
}

/// Opens a socket in each turn, so that no memory is taken for five thousand beginnings at once.
fn open_further<P: DatagramProtocol + 'static>(
    reactor: &Reactor,
    mut addresses: impl Iterator<Item = SocketAddr> + 'static,
    protocol: fn() -> P,
) {
    let Some(address) = addresses.next() else {
        return;
    };
    let opened = reactor.listen_udp(address, protocol());
    opened.expect("the OS opens another socket");
    reactor.call_later(Duration::ZERO, move |reactor| {
        open_further(reactor, addresses, protocol);
    });
}
