//! UDP.

use std::error::Error;

use bench_common::datagrams::{Addresses, BATCH, DATAGRAM_BYTES, Received, Window};
use bytes::Bytes;
use tidewaiter::port::{Datagram, DatagramError};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Reactor};

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
    protocol: impl Fn() -> P,
) -> Result<(), Box<dyn Error>> {
    let (addresses, first) = Addresses::begin();
    let first = reactor.listen_udp(first, protocol())?;
    let Address::Ip(first) = first.local_addr()? else {
        unreachable!("it is bound to an IP address");
    };
    for address in addresses.further(first, sockets) {
        reactor.listen_udp(address, protocol())?;
    }
    Ok(())
}
