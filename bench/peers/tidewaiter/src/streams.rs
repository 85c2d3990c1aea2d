//! Servers.

use std::error::Error;

use bench_common::net::{self, PIECE_BYTES};
use bytes::Bytes;
use tidewaiter::{Producer, ProducerKind, Protocol, Reactor, Transport, UnixAddress};

/// Sends back everything that it receives, and reads no faster than the peer.
pub(crate) struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_while_congested();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Receives data and drops it.
pub(crate) struct Sink;

impl Protocol for Sink {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// Sends without end, as fast as the transport asks for more.
pub(crate) struct Source;

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        let pieces = Pieces {
            transport: transport.clone(),
            piece: vec![b'x'; PIECE_BYTES].into(),
        };
        transport.register_producer(pieces, ProducerKind::Pull);
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

struct Pieces {
    transport: Transport,
    piece: Bytes,
}

impl Producer for Pieces {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.transport.write_bytes(self.piece.clone());
    }
}

/// Listens, and makes a protocol for each connection by `protocol`.
pub(crate) fn serve<P: Protocol + 'static>(
    reactor: &Reactor,
    mut protocol: impl FnMut() -> P + 'static,
) -> Result<(), Box<dyn Error>> {
    reactor.listen_on(net::listener()?, move |_peer| protocol())?;
    Ok(())
}

/// The same on a UNIX socket.
pub(crate) fn serve_unix<P: Protocol + 'static>(
    reactor: &Reactor,
    mut protocol: impl FnMut() -> P + 'static,
) -> Result<(), Box<dyn Error>> {
    let address = UnixAddress::from_pathname(net::unix_path())?;
    reactor.listen_unix(address, move |_peer| protocol())?;
    net::tell_unix();
    Ok(())
}
