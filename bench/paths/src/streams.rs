//! Paths with connections, whose other ends are plain sockets on the same thread.

use std::cell::RefCell;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::io;
use tidewaiter::port::PortKind;
use tidewaiter::port::sim::Sim;
use tidewaiter::{Address, Listener, Producer, ProducerKind, Protocol, Reactor, Transport};

use crate::meter::Meter;
use crate::walk::Walk;

const PIECE_BYTES: usize = 64 << 10;

/// Time limit for a read, far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends back everything that it receives, and reads no faster than the peer.
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_while_congested();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Receives data and drops it.
struct Sink;

impl Protocol for Sink {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// Sends a piece whenever the transport asks for more.
struct Source;

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        let pieces = Pieces {
            transport: transport.clone(),
            piece: Bytes::from_static(&[b'x'; PIECE_BYTES]),
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

/// Stores its transport, so that the path can write to it.
struct Client(Rc<RefCell<Vec<Transport>>>);

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.borrow_mut().push(transport.clone());
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

fn serve<P: Protocol + 'static>(
    kind: PortKind,
    protocol: impl Fn() -> P + 'static,
) -> Result<(Reactor, Listener), Box<dyn Error>> {
    let reactor = reactor_on(kind)?;
    let listener = reactor.listen_tcp(any_port(), move |_peer| protocol())?;
    Ok((reactor, listener))
}

fn reactor_on(kind: PortKind) -> std::io::Result<Reactor> {
    Reactor::builder().port(kind).signals(false).build()
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn connect_all(address: &Address, count: usize) -> std::io::Result<Vec<TcpStream>> {
    (0..count).map(|_| connect(address.clone())).collect()
}

fn connect(address: Address) -> std::io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// Echoes by callbacks.
pub(crate) fn echo(
    kind: PortKind,
    connections: usize,
    bytes: usize,
) -> Result<Walk, Box<dyn Error>> {
    let (reactor, listener) = serve(kind, || Echo)?;
    let clients = connect_all(&listener.local_addr(), connections)?;
    Ok(echo_to(clients, reactor, bytes))
}

/// Echoes by a task for each connection.
pub(crate) fn task_echo(
    kind: PortKind,
    connections: usize,
    bytes: usize,
) -> Result<Walk, Box<dyn Error>> {
    let reactor = reactor_on(kind)?;
    let mut listener = io::Listener::bind(&reactor, any_port())?;
    let clients = connect_all(&listener.local_addr(), connections)?;
    let handle = reactor.clone();
    reactor.spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            handle.spawn(echo_in_task(stream));
        }
    });
    Ok(echo_to(clients, reactor, bytes))
}

async fn echo_in_task(mut stream: io::Stream) -> std::io::Result<()> {
    loop {
        let chunk = stream.read_chunk().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        stream.write_chunk(chunk).await?;
    }
}

/// Sends a message on each connection, then lets the loop echo all of them, then reads the echoes.
fn echo_to(mut clients: Vec<TcpStream>, reactor: Reactor, bytes: usize) -> Walk {
    let message = vec![7; bytes];
    let mut answer = vec![0; bytes];
    let mut sent = 0;
    Box::new(move |meter| {
        for client in &mut clients {
            client.write_all(&message)?;
        }
        sent += (clients.len() * bytes) as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_sent >= sent)?;
        for client in &mut clients {
            client.read_exact(&mut answer)?;
        }
        Ok(())
    })
}

/// Echoes on the simulated port, where the other ends of the connections are on the same loop.
pub(crate) fn echo_simulated() -> Result<Walk, Box<dyn Error>> {
    const CONNECTIONS: usize = 64;
    let reactor = Reactor::builder().simulation(&Sim::new(0)).build()?;
    let listener = reactor.listen_tcp(any_port(), |_peer| Echo)?;
    let clients = Rc::<RefCell<Vec<Transport>>>::default();
    for _ in 0..CONNECTIONS {
        let clients = Rc::clone(&clients);
        reactor.connect_tcp(listener.local_addr(), move |_peer| {
            Client(Rc::clone(&clients))
        });
    }
    Meter::Off.turn_until(&reactor, |metrics| {
        metrics.living.transports == 2 * CONNECTIONS
    })?;
    let message = [7; 64];
    let mut received = 0;
    Ok(Box::new(move |meter| {
        for client in clients.borrow().iter() {
            meter.count(|| client.write(&message));
        }
        // Each message is received twice, once at each end.
        received += (2 * CONNECTIONS * message.len()) as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_received >= received)
    }))
}

/// Accepts a connection, which echoes one message before the other side closes it.
pub(crate) fn churn(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let (reactor, listener) = serve(kind, || Echo)?;
    let message = [7; 64];
    let mut sent = 0;
    Ok(Box::new(move |meter| {
        let mut client = connect(listener.local_addr())?;
        client.write_all(&message)?;
        sent += message.len() as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_sent >= sent)?;
        client.read_exact(&mut [0; 64])?;
        drop(client);
        meter.turn_until(&reactor, |metrics| metrics.living.transports == 0)
    }))
}

/// Receives data from a connection.
pub(crate) fn sink(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let (reactor, listener) = serve(kind, || Sink)?;
    let mut client = connect(listener.local_addr())?;
    let piece = vec![7; PIECE_BYTES];
    let mut received = 0;
    Ok(Box::new(move |meter| {
        client.write_all(&piece)?;
        received += PIECE_BYTES as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_received >= received)
    }))
}

/// Sends data to a connection.
pub(crate) fn source(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let (reactor, listener) = serve(kind, || Source)?;
    let mut client = connect(listener.local_addr())?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut sent = 0;
    Ok(Box::new(move |meter| {
        sent += PIECE_BYTES as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_sent >= sent)?;
        Ok(client.read_exact(&mut piece)?)
    }))
}
