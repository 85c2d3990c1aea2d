//! Datagram sockets: UDP, and the datagrams of UNIX sockets.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tidewaiter::port::{Datagram, DatagramError, DatagramOptions};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Error, Reactor, Reason};

use super::support::{Log, any_port, reactor, run_clean};

/// A reactor on the port under test, if the port has datagrams.
#[expect(clippy::print_stderr, reason = "tells what is not tested")]
pub(super) fn with_datagrams() -> Option<Reactor> {
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

pub(super) struct Silent;

impl DatagramProtocol for Silent {
    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}
}

/// Sends back what it receives.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let sender = datagram.sender().expect("it has an address");
        transport.send_to(datagram, sender);
    }
}

/// Logs all calls, and stops the reactor after `left` datagrams and errors.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) log: Log,
    left: Rc<RefCell<usize>>,
}

impl Client {
    pub(super) fn new(left: usize) -> Client {
        Client {
            log: Log::default(),
            left: Rc::new(RefCell::new(left)),
        }
    }

    fn count_down(&self, transport: &DatagramTransport) {
        let mut left = self.left.borrow_mut();
        *left = left.saturating_sub(1);
        if *left == 0 {
            transport.reactor().stop();
        }
    }
}

impl DatagramProtocol for Client {
    fn started(&mut self, _: &DatagramTransport) {
        self.log.add("started");
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        self.log
            .add(format!("received {}", String::from_utf8_lossy(datagram)));
        self.count_down(transport);
    }

    fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
        self.log.add(format!("error {:?}", error.source.kind()));
        self.count_down(transport);
    }

    fn stopped(&mut self, _: &DatagramTransport, reason: Reason) {
        self.log.add(format!("stopped: {reason}"));
    }
}

/// An echo server on the reactor, and its address.
pub(super) fn echo(reactor: &Reactor) -> (DatagramTransport, Address) {
    let server = reactor.listen_udp(any_port(), Echo).expect("it listens");
    let address = server.local_addr().expect("it is bound");
    (server, address)
}

#[test]
fn what_is_sent_arrives_and_is_answered() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let client = Client::new(3);
    let peer = address.socket_addr().expect("an IP address");
    let transport = reactor
        .connect_udp(peer, client.clone())
        .expect("it connects");
    assert_eq!(transport.peer_addr().expect("it has a peer"), address);
    transport.send(b"one");
    transport.send(b"");
    transport.send_to(b"two", &address);
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
