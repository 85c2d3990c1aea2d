//! Paths with datagrams, whose other ends are plain sockets on the same thread.

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tidewaiter::port::{Datagram, PortKind};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};

use crate::walk::Walk;

const MESSAGE: [u8; 64] = [7; 64];

/// Time limit for a receive, far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends each datagram back to its sender.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        if let Some(sender) = datagram.sender() {
            transport.send_to(datagram, sender);
        }
    }
}

/// Receives datagrams and drops them.
struct Sink;

impl DatagramProtocol for Sink {
    fn datagram_received(&mut self, _transport: &DatagramTransport, _datagram: &Datagram<'_>) {}
}

/// Sockets on a reactor, and a plain socket that is connected to each.
struct Pairs {
    reactor: Reactor,
    served: Vec<DatagramTransport>,
    clients: Vec<UdpSocket>,
}

impl Pairs {
    fn new<P: DatagramProtocol + 'static>(
        kind: PortKind,
        count: usize,
        protocol: impl Fn() -> P,
    ) -> Result<Pairs, Box<dyn Error>> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let reactor = Reactor::builder().port(kind).signals(false).build()?;
        let (mut served, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let socket = reactor.listen_udp(any_port, protocol())?;
            let client = UdpSocket::bind(any_port)?;
            client.connect(socket.local_addr()?)?;
            client.set_read_timeout(Some(PATIENCE))?;
            served.push(socket);
            clients.push(client);
        }
        Ok(Pairs {
            reactor,
            served,
            clients,
        })
    }
}

/// Sends datagrams to each socket, then lets the loop echo all of them, then receives the echoes.
pub(crate) fn echo(kind: PortKind, sockets: usize, at_once: usize) -> Result<Walk, Box<dyn Error>> {
    let pairs = Pairs::new(kind, sockets, || Echo)?;
    let mut sent = 0;
    Ok(Box::new(move |meter| {
        for client in &pairs.clients {
            for _ in 0..at_once {
                client.send(&MESSAGE)?;
            }
        }
        sent += (sockets * at_once * MESSAGE.len()) as u64;
        meter.turn_until(&pairs.reactor, |metrics| metrics.bytes_sent >= sent)?;
        for client in &pairs.clients {
            for _ in 0..at_once {
                client.recv(&mut [0; MESSAGE.len()])?;
            }
        }
        Ok(())
    }))
}

/// Receives datagrams.
pub(crate) fn sink(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let pairs = Pairs::new(kind, 1, || Sink)?;
    let mut received = 0;
    Ok(Box::new(move |meter| {
        pairs.clients[0].send(&MESSAGE)?;
        received += MESSAGE.len() as u64;
        meter.turn_until(&pairs.reactor, |metrics| metrics.bytes_received >= received)
    }))
}

/// Sends datagrams.
pub(crate) fn source(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let pairs = Pairs::new(kind, 1, || Sink)?;
    let peer = pairs.clients[0].local_addr()?.into();
    let mut sent = 0;
    Ok(Box::new(move |meter| {
        meter.count(|| pairs.served[0].send_to(&MESSAGE, &peer));
        sent += MESSAGE.len() as u64;
        meter.turn_until(&pairs.reactor, |metrics| metrics.bytes_sent >= sent)?;
        pairs.clients[0].recv(&mut [0; MESSAGE.len()])?;
        Ok(())
    }))
}
