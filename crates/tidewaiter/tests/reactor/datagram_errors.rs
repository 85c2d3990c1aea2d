//! UDP sockets: refusals, errors and limits. None of them ends a socket.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidewaiter::port::{Datagram, DatagramError, DatagramOptions, PortKind};
use tidewaiter::{DatagramProtocol, DatagramTransport, Error, Reactor};

use super::datagrams::{Client, Silent, With, deserted, echo, with_datagrams};
use super::support::{any_port, run_clean};

/// Beyond the largest datagram, the sender is told, and nothing else changes.
#[test]
fn the_largest_datagram_arrives_whole_and_a_larger_one_is_refused() {
    struct Lengths(Client);
    impl DatagramProtocol for Lengths {
        fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
            self.0.note(transport, datagram.len().to_string());
        }

        fn error_received(&mut self, transport: &DatagramTransport, _: &DatagramError) {
            self.0.note(transport, "refused");
        }
    }
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let lengths = Client::new(2);
    let client = reactor.connect_udp(address, Lengths(lengths.clone()));
    let client = client.expect("it connects");
    client.send(&vec![1; 65_508]);
    client.send(&vec![2; 65_507]);
    run_clean(&reactor);
    let mut told = lengths.log.take();
    told.sort();
    assert_eq!(told, ["65507", "refused"]);
}

#[test]
fn a_datagram_without_a_destination_is_an_error() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let client = Client::new(1);
    let transport = reactor.listen_udp(any_port(), client.clone());
    transport.expect("it listens").send(b"where to?");
    run_clean(&reactor);
    assert!(client.log.take()[1].starts_with("error "));
}

/// Whether the port's OS reports to a socket without a peer that datagrams were refused.
fn reports_refusals(reactor: &Reactor) -> bool {
    let info = reactor.port_info();
    info.kind == PortKind::Uring || info.features.iter().any(|feature| feature == "epoll")
}

/// Sends to a deserted address first, and to an echo server once that was refused.
struct Refused {
    deserted: SocketAddr,
    echo: SocketAddr,
    refused: bool,
}

impl DatagramProtocol for Refused {
    fn started(&mut self, transport: &DatagramTransport) {
        transport.send_to(b"anybody there?", &self.deserted.into());
    }

    fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
        assert_eq!(error.source.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.peer, Some(self.deserted.into()));
        self.refused = true;
        transport.send_to(b"and here?", &self.echo.into());
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        assert_eq!(datagram.bytes(), b"and here?");
        assert!(self.refused);
        transport.reactor().stop();
    }
}

#[test]
fn a_refusal_names_the_peer_and_ends_nothing() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    if !reports_refusals(&reactor) {
        return;
    }
    let (_server, echo) = echo(&reactor);
    let protocol = Refused {
        deserted: deserted(),
        echo,
        refused: false,
    };
    reactor
        .listen_udp(any_port(), protocol)
        .expect("it listens");
    run_clean(&reactor);
}

/// Sends thousands of datagrams to deserted addresses, as fast as they are refused. Never two in turn to the same one:
/// those would go as one packet, and be refused once.
struct Flood {
    deserted: [SocketAddr; 2],
    left: usize,
    refused: Rc<Cell<usize>>,
}

impl Flood {
    fn send(&mut self, transport: &DatagramTransport) {
        for at in 0..self.left.min(50) {
            self.left -= 1;
            transport.send_to(b"?", &self.deserted[at % 2].into());
        }
    }
}

impl DatagramProtocol for Flood {
    fn started(&mut self, transport: &DatagramTransport) {
        self.send(transport);
    }

    fn error_received(&mut self, transport: &DatagramTransport, _: &DatagramError) {
        self.refused.set(self.refused.get() + 1);
        if self.refused.get().is_multiple_of(25) {
            self.send(transport);
        }
    }

    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}
}

/// Goal: thousands of refusals starve no other socket.
#[test]
fn a_flood_of_refusals_starves_nobody() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    if !reports_refusals(&reactor) {
        return;
    }
    let refused = Rc::new(Cell::new(0));
    let flood = Flood {
        deserted: [deserted(), deserted()],
        left: 5000,
        refused: Rc::clone(&refused),
    };
    reactor.listen_udp(any_port(), flood).expect("it listens");
    let (_server, address) = echo(&reactor);
    let (during, mut rounds) = (Rc::clone(&refused), 0);
    let ping = With(move |transport: &DatagramTransport, _: &Datagram<'_>| {
        rounds += 1;
        // A kernel may limit how many refusals it sends in a second, so not all need come.
        if rounds >= 300 && during.get() >= 1000 {
            return transport.reactor().stop();
        }
        transport.send(b"ping");
    });
    let client = reactor.connect_udp(address, ping).expect("it connects");
    client.send(b"ping");
    run_clean(&reactor);
    assert!(refused.get() >= 1000, "{}", refused.get());
}

#[test]
fn a_second_socket_on_the_address_is_refused_unless_both_share_it() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let first = reactor.listen_udp(any_port(), Silent).expect("it listens");
    let address = first.local_addr().expect("it is bound");
    let error = reactor
        .listen_udp(address.clone(), Silent)
        .expect_err("the address is taken");
    let Error::Datagrams { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    let mut options = DatagramOptions::bound(any_port());
    options.reuse_address = true;
    let first = reactor.listen_udp(options.clone(), Silent);
    options.local = Some(
        first
            .expect("it listens")
            .local_addr()
            .expect("it is bound")
            .into(),
    );
    reactor.listen_udp(options, Silent).expect("both share it");
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    run_clean(&reactor);
}
