//! UDP sockets: datagrams of all sizes, both ways.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use tidewaiter::port::{Datagram, DatagramError, DatagramOptions};
use tidewaiter::{DatagramProtocol, DatagramTransport, Error, Reactor, Reason};

use super::support::{Log, any_port, reactor, run_clean, wait_until};

/// A reactor on the port under test, if the port has datagrams.
#[expect(clippy::print_stderr, reason = "tells what is not tested")]
pub(crate) fn with_datagrams() -> Option<Reactor> {
    let reactor = reactor();
    match reactor.listen_udp(any_port(), Silent) {
        Ok(probe) => {
            probe.close();
            Some(reactor)
        }
        Err(Error::Datagrams { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
            eprintln!("skipped: {source}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) struct Silent;

impl DatagramProtocol for Silent {
    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}
}

/// Sends back what it receives.
pub(crate) struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let sender = datagram.sender().expect("it has an address");
        transport.send_to(datagram, sender);
    }
}

/// Logs all calls, and stops the reactor after `left` datagrams and errors.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) log: Log,
    left: Rc<Cell<usize>>,
}

impl Client {
    pub(crate) fn new(left: usize) -> Client {
        Client {
            log: Log::default(),
            left: Rc::new(Cell::new(left)),
        }
    }

    pub(crate) fn note(&self, transport: &DatagramTransport, what: impl Into<String>) {
        self.log.add(what);
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            transport.reactor().stop();
        }
    }
}

impl DatagramProtocol for Client {
    fn started(&mut self, _: &DatagramTransport) {
        self.log.add("started");
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        self.note(
            transport,
            format!("received {}", String::from_utf8_lossy(datagram)),
        );
    }

    fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
        self.note(transport, format!("error {:?}", error.source.kind()));
    }

    fn stopped(&mut self, _: &DatagramTransport, reason: Reason) {
        self.log.add(format!("stopped: {reason}"));
    }
}

/// Calls a closure with each datagram.
pub(crate) struct With<F>(pub(crate) F);

impl<F: FnMut(&DatagramTransport, &Datagram<'_>)> DatagramProtocol for With<F> {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        (self.0)(transport, datagram);
    }
}

/// An echo server on the reactor, and its address.
pub(crate) fn echo(reactor: &Reactor) -> (DatagramTransport, SocketAddr) {
    let server = reactor.listen_udp(any_port(), Echo).expect("it listens");
    let address = ip_of(&server);
    (server, address)
}

pub(crate) fn ip_of(transport: &DatagramTransport) -> SocketAddr {
    let address = transport.local_addr().expect("it is bound");
    address.socket_addr().expect("an IP address")
}

/// An address at which nobody listens, another one each time: no OS assigns these ports.
///
/// A socket that was closed just now may still receive: on Unix, the children that other tests fork hold a copy of every
/// descriptor until their programs start.
pub(crate) fn deserted() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let port = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 6;
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn what_is_sent_arrives_and_is_answered() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let client = Client::new(3);
    let transport = reactor
        .connect_udp(address, client.clone())
        .expect("it connects");
    assert_eq!(
        transport.peer_addr().expect("it has a peer"),
        address.into()
    );
    transport.send(b"one");
    transport.send(b"");
    transport.send_to(b"two", &address.into());
    run_clean(&reactor);
    assert_eq!(
        client.log.take(),
        [
            "started",
            "received one",
            "received ",
            "received two",
            "stopped: the reactor stopped"
        ]
    );
}

#[test]
fn a_socket_without_an_address_is_refused() {
    let reactor = reactor();
    let mut options = DatagramOptions::bound(any_port());
    options.local = None;
    let error = reactor
        .open_datagrams(options, Silent)
        .expect_err("it has no address");
    let Error::Datagrams { source, .. } = error else {
        panic!("{error}");
    };
    let kinds = [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];
    assert!(kinds.contains(&source.kind()), "{source}");
}

/// Goal: datagrams of one size that go to one peer arrive as they were sent, although the OS may carry them as one; and
/// so do those of other sizes between them.
#[test]
fn datagrams_of_all_sizes_arrive_one_by_one_and_in_order() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let sizes: Vec<usize> = [7; 40]
        .into_iter()
        .chain([100; 70])
        .chain([99, 0, 0, 100, 101, 1, 1, 1, 65_000, 3])
        .collect();
    let left = Rc::new(RefCell::new(sizes.clone()));
    let expected = Rc::clone(&left);
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            let mut left = left.borrow_mut();
            let at = sizes.len() - left.len();
            assert_eq!(datagram.len(), left.remove(0), "datagram {at}");
            let value = u8::try_from(at).expect("there are few");
            assert!(datagram.iter().all(|byte| *byte == value), "datagram {at}");
            if left.is_empty() {
                transport.reactor().stop();
            }
        },
    );
    let server = reactor.listen_udp(any_port(), check).expect("it listens");
    let client = reactor.connect_udp(ip_of(&server), Silent);
    let client = client.expect("it connects");
    for (at, size) in expected.borrow().iter().enumerate() {
        let value = u8::try_from(at).expect("there are few");
        client.send(&vec![value; *size]);
    }
    run_clean(&reactor);
    assert_eq!(expected.borrow().len(), 0);
}

/// The program's memory, which counts its drop.
struct Memory(Arc<AtomicUsize>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &[b'x'; 2500]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_run_is_cut_into_datagrams_and_its_memory_dropped() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let sizes = Log::default();
    let log = sizes.clone();
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            log.add(datagram.len().to_string());
            if datagram.is_empty() {
                transport.reactor().stop();
            }
        },
    );
    let server = reactor.listen_udp(any_port(), check).expect("it listens");
    let client = reactor.connect_udp(ip_of(&server), Silent);
    let client = client.expect("it connects");
    let dropped = Arc::new(AtomicUsize::new(0));
    let memory = || Bytes::from_owner(Memory(Arc::clone(&dropped)));
    client.send_run(memory(), 1000, None);
    client.send_bytes(memory(), Some(&ip_of(&server).into()));
    client.send(b"");
    run_clean(&reactor);
    assert_eq!(sizes.take(), ["1000", "1000", "500", "2500", "0"]);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

/// Goal: a pause holds what the port has received, and the OS keeps the rest.
#[test]
fn nothing_is_delivered_during_a_pause() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let log = Log::default();
    let (events, mut count) = (log.clone(), 0);
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            events.add(String::from_utf8_lossy(datagram));
            count += 1;
            if count == 6 {
                return transport.reactor().stop();
            }
            if count % 2 == 0 {
                transport.pause_receiving();
                events.add("paused");
                let (later, events) = (transport.clone(), events.clone());
                let delay = std::time::Duration::from_millis(20);
                transport.reactor().call_later(delay, move |_| {
                    events.add("resumed");
                    later.resume_receiving();
                });
            }
        },
    );
    let server = reactor.listen_udp(any_port(), check).expect("it listens");
    let client = reactor.connect_udp(ip_of(&server), Silent);
    let client = client.expect("it connects");
    for number in 1..=6 {
        client.send(number.to_string().as_bytes());
    }
    run_clean(&reactor);
    assert_eq!(
        log.take(),
        [
            "1", "2", "paused", "resumed", "3", "4", "paused", "resumed", "5", "6"
        ]
    );
}

#[test]
fn what_was_sent_before_a_close_is_still_sent() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let server = Client::new(2);
    let listening = reactor.listen_udp(any_port(), server.clone());
    let address = ip_of(&listening.expect("it listens"));
    let client = Client::new(usize::MAX);
    let transport = reactor.connect_udp(address, client.clone());
    let transport = transport.expect("it connects");
    transport.send(b"one");
    transport.send(b"two");
    transport.close();
    transport.close();
    transport.send(b"never");
    assert!(!transport.is_open());
    assert_eq!(transport.raw_descriptor(), None);
    let error = transport.local_addr().expect_err("it is closed");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    run_clean(&reactor);
    assert_eq!(client.log.take(), ["stopped: closed in order"]);
    let received = server.log.take();
    assert_eq!(received[1..3], ["received one", "received two"]);
}

#[test]
fn a_panic_costs_one_socket() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    struct Panics(Log);
    impl DatagramProtocol for Panics {
        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {
            panic!("on purpose");
        }

        fn stopped(&mut self, transport: &DatagramTransport, reason: Reason) {
            self.0.add(reason.to_string());
            transport.reactor().stop();
        }
    }
    let log = Log::default();
    let server = reactor.listen_udp(any_port(), Panics(log.clone()));
    let client = reactor.connect_udp(ip_of(&server.expect("it listens")), Silent);
    let client = client.expect("it connects");
    client.send(b"one");
    client.send(b"two");
    super::support::run(&reactor);
    assert_eq!(log.take(), ["a callback panicked"]);
    assert_eq!(reactor.metrics().panics, 1);
}

/// Goal: a socket can be connected to a peer later, and to none again.
#[test]
fn a_peer_can_be_set_and_taken_back() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let (_other, other) = echo(&reactor);
    let client = Client::new(2);
    let transport = reactor.listen_udp(any_port(), client.clone());
    let transport = transport.expect("it listens");
    transport
        .set_peer(Some(&address.into()))
        .expect("it is an address");
    transport.send(b"to the peer");
    let (later, log) = (transport.clone(), client.log.clone());
    let answered = move |_: &Reactor| log.has("received to the peer");
    wait_until(&reactor, answered, move |_| {
        later.set_peer(None).expect("it has a peer");
        let error = later.peer_addr().expect_err("it has none");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        later.send_to(b"to another", &other.into());
    });
    run_clean(&reactor);
    assert_eq!(
        client.log.take()[1..3],
        ["received to the peer", "received to another"]
    );
}
