//! Tests that the steady path allocates nothing, on any port of this machine, and that large writes are not
//! copied.

use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidewaiter::io::{Stream, copy_bidirectional};
use tidewaiter::port::{Datagram, PortKind};
use tidewaiter::{
    DatagramProtocol, DatagramTransport, File, FileOptions, Listener, Protocol, Reactor, Transport,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Far longer than any step of these tests takes: a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);

const CONNECTIONS: usize = 16;
static MESSAGE: [u8; 64] = [7; 64];
const LARGE_BYTES: usize = 4 << 20;

/// The ports of this machine.
const KINDS: &[PortKind] = if cfg!(windows) {
    &[PortKind::Iocp]
} else if cfg!(target_os = "linux") {
    &[PortKind::Uring, PortKind::Poll]
} else {
    &[PortKind::Poll]
};

/// The allocator counts for all threads, so this file has one test, and its clients allocate nothing while it
/// counts.
#[test]
fn the_steady_path_allocates_nothing() {
    for &kind in KINDS {
        let counted = allocations_of_echoes(kind);
        assert_eq!(counted, 0, "echoes on {kind}");
        #[cfg(unix)]
        {
            let counted = allocations_of_takers(kind);
            assert_eq!(counted, 0, "echoes with descriptors on {kind}");
        }
        if kind != PortKind::Iocp {
            let counted = allocations_of_datagrams(kind);
            assert_eq!(counted, 0, "datagrams on {kind}");
        }
        if kind == PortKind::Uring {
            // The other ports perform files on threads.
            let counted = allocations_of_files(kind);
            assert_eq!(
                counted,
                (200, 200),
                "two for each operation on a file: the request, and what the kernel holds"
            );
        }
        let counted = allocations_of_large_writes(kind);
        assert_eq!(counted, 0, "large writes on {kind}");
        let counted = allocations_of_joined_streams(kind);
        assert_eq!(counted, 0, "joined streams on {kind}");
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Counts the allocations while many connections are echoed to.
fn allocations_of_echoes(kind: PortKind) -> usize {
    let (reactor, listener) = listening(kind, || Echo);
    let clients = (0..CONNECTIONS).map(|_| connect(&listener)).collect();
    count_echoes(&reactor, clients)
}

/// Counts the allocations while `clients` are echoed to, after a warm-up.
fn count_echoes<S: Read + Write>(reactor: &Reactor, mut clients: Vec<S>) -> usize {
    let mut expected = 0;
    let mut round = || {
        for client in &mut clients {
            client.write_all(&MESSAGE).unwrap();
        }
        expected += (CONNECTIONS * MESSAGE.len()) as u64;
        run_until_sent(reactor, expected);
        let mut echo = [0; MESSAGE.len()];
        for client in &mut clients {
            client.read_exact(&mut echo).unwrap();
            assert_eq!(echo, MESSAGE);
        }
    };
    count(&mut round, 100)
}

/// Echoes, and takes the descriptors that come along.
#[cfg(unix)]
struct Taker;

#[cfg(unix)]
impl Protocol for Taker {
    fn connection_made(&mut self, transport: &Transport) {
        transport
            .take_descriptors()
            .expect("UNIX sockets pass them");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Counts the allocations while connections are echoed to from which descriptors would be taken.
#[cfg(unix)]
fn allocations_of_takers(kind: PortKind) -> usize {
    let builder = Reactor::builder().port(kind).signals(false);
    let reactor = builder.build().expect("the port can be opened");
    let clients = (0..CONNECTIONS).map(|_| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(PATIENCE)).unwrap();
        let adopted = reactor.adopt_stream(ours, tidewaiter::UnixAddress::unnamed(), Taker);
        adopted.expect("it is adopted");
        theirs
    });
    let clients = clients.collect();
    count_echoes(&reactor, clients)
}

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        transport.send_to(datagram, datagram.sender().unwrap());
    }
}

/// Counts the allocations while datagrams are echoed, some alone and some several at a time, after a warm-up.
fn allocations_of_datagrams(kind: PortKind) -> usize {
    let builder = Reactor::builder().port(kind).signals(false);
    let reactor = builder.build().expect("the port can be opened");
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let servers: Vec<_> = (0..CONNECTIONS)
        .map(|_| reactor.listen_udp(address, Echo).unwrap())
        .collect();
    let clients: Vec<UdpSocket> = servers
        .iter()
        .map(|server| {
            let client = UdpSocket::bind(address).unwrap();
            client.connect(server.local_addr().unwrap()).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        })
        .collect();
    let mut expected = 0;
    let mut round = || {
        let mut datagrams = 0;
        for (at, client) in clients.iter().enumerate() {
            for _ in 0..=at % 4 {
                client.send(&MESSAGE).unwrap();
                datagrams += 1;
            }
        }
        expected += (datagrams * MESSAGE.len()) as u64;
        run_until_sent(&reactor, expected);
        let mut echo = [0; MESSAGE.len()];
        for (at, client) in clients.iter().enumerate() {
            for _ in 0..=at % 4 {
                client.recv(&mut echo).unwrap();
                assert_eq!(echo, MESSAGE);
            }
        }
    };
    count(&mut round, 100)
}

/// Answers every byte with the same large buffer.
struct Large(Bytes);

impl Protocol for Large {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        for _ in data {
            transport.write_bytes(self.0.clone());
        }
    }
}

/// Counts the allocations while large buffers are sent that the OS takes in parts.
fn allocations_of_large_writes(kind: PortKind) -> usize {
    const ROUNDS: usize = 8;
    let large = Bytes::from(vec![7; LARGE_BYTES]);
    let (reactor, listener) = listening(kind, move || Large(large.clone()));
    let mut client = connect(&listener);
    let reader = thread::spawn(move || {
        let mut large = vec![0; LARGE_BYTES];
        for _ in 0..2 * ROUNDS {
            client.write_all(&[1]).unwrap();
            client.read_exact(&mut large).unwrap();
        }
        client
    });
    let mut expected = 0;
    let mut round = || {
        expected += LARGE_BYTES as u64;
        run_until_sent(&reactor, expected);
    };
    let counted = count(&mut round, ROUNDS);
    reader.join().unwrap();
    counted
}

/// Counts the allocations while pieces pass through two streams that are joined, too large for the copy that small ones
/// are.
fn allocations_of_joined_streams(kind: PortKind) -> usize {
    const PIECE: usize = 16 * 1024;
    let builder = Reactor::builder().port(kind).signals(false);
    let reactor = builder.build().expect("the port can be opened");
    let mut front = tidewaiter::io::Listener::bind(&reactor, "127.0.0.1:0").unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let handle = reactor.clone();
    let client = connect_to(front.local_addr().socket_addr().unwrap());
    reactor.spawn(async move {
        let (mut client, _peer) = front.accept().await.unwrap();
        let mut server = Stream::connect(&handle, address).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await.unwrap();
    });
    while reactor.metrics().living.transports < 2 {
        reactor.iterate(PATIENCE).expect("the reactor runs");
    }
    let (server, _) = server.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let (message, mut answer, mut expected) = (vec![7; PIECE], vec![0; PIECE], 0);
    let mut round = || {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from, to);
            from.write_all(&message).unwrap();
            expected += PIECE as u64;
            run_until_sent(&reactor, expected);
            to.read_exact(&mut answer).unwrap();
        }
    };
    count(&mut round, 100)
}

thread_local! {
    /// The memory of reads, while no read has it. A callback that captures nothing takes no memory.
    static MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    static DONE: Cell<usize> = const { Cell::new(0) };
}

/// Counts the allocations while a file is read, and while it is written, at an offset.
fn allocations_of_files(kind: PortKind) -> (usize, usize) {
    let builder = Reactor::builder().port(kind).signals(false);
    let reactor = builder.build().expect("the port can be opened");
    let name = format!("tidewaiter-allocations-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let options = FileOptions::new().read(true).write(true).create(true);
    reactor.open_file(path.clone(), options, |_, file| {
        FILE.set(Some(file.unwrap()));
    });
    let until = |is_done: &dyn Fn() -> bool| {
        while !is_done() {
            reactor.iterate(PATIENCE).expect("the reactor runs");
        }
    };
    until(&|| FILE.with_borrow(Option::is_some));
    std::fs::remove_file(path).unwrap();
    let file = FILE.take().unwrap();
    let mut rounds = 0;
    let mut write = || {
        rounds += 1;
        file.write_at(7, Bytes::from_static(&MESSAGE), |_, written| {
            written.unwrap();
            DONE.set(DONE.get() + 1);
        });
        until(&|| DONE.get() == rounds);
    };
    let written = count(&mut write, 100);
    MEMORY.set(Vec::with_capacity(MESSAGE.len()));
    let mut read = || {
        rounds += 1;
        file.read_into(7, MEMORY.take(), |_, memory| {
            MEMORY.set(memory.unwrap());
            DONE.set(DONE.get() + 1);
        });
        until(&|| DONE.get() == rounds);
    };
    (count(&mut read, 100), written)
}

/// Runs twice as many rounds, and counts the allocations in the last `rounds`.
fn count(round: &mut impl FnMut(), rounds: usize) -> usize {
    (0..rounds).for_each(|_| round());
    let region = Region::new(ALLOCATOR);
    (0..rounds).for_each(|_| round());
    let change = region.change();
    change.allocations + change.reallocations
}

fn listening<P: Protocol + 'static>(
    kind: PortKind,
    mut make: impl FnMut() -> P + 'static,
) -> (Reactor, Listener) {
    let builder = Reactor::builder().port(kind).signals(false);
    let reactor = builder.build().expect("the port can be opened");
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = reactor.listen_tcp(address, move |_| make()).unwrap();
    (reactor, listener)
}

fn connect(listener: &Listener) -> TcpStream {
    connect_to(listener.local_addr().socket_addr().unwrap())
}

fn connect_to(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Runs the reactor until it has sent this many bytes in total.
fn run_until_sent(reactor: &Reactor, bytes: u64) {
    let deadline = Instant::now() + PATIENCE;
    while reactor.metrics().bytes_sent < bytes {
        assert!(Instant::now() < deadline, "{:?}", reactor.metrics());
        reactor.iterate(PATIENCE).expect("the reactor runs");
    }
}
