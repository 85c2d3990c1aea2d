//! Datagram sockets that other code made, and datagrams that are offered to the OS at once.

use std::io;
use std::net::{TcpListener, UdpSocket};

use tidewaiter::port::{Datagram, DatagramSocket};
use tidewaiter::{DatagramProtocol, DatagramTransport, Error, Reactor};

use super::datagrams::{Client, Silent, echo, with_datagrams};
use super::support::{any_port, run_clean};

#[cfg(unix)]
type Owned = std::os::fd::OwnedFd;
#[cfg(windows)]
type Owned = std::os::windows::io::OwnedSocket;

/// A reactor on a port that has datagrams and sockets of the OS.
fn with_sockets() -> Option<Reactor> {
    if crate::SIMULATED {
        return None;
    }
    with_datagrams()
}

/// Answers at once.
struct Prompt;

impl DatagramProtocol for Prompt {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let sent = transport.try_send(datagram, datagram.sender());
        sent.expect("the sender can be reached");
    }
}

#[test]
fn a_udp_socket_made_elsewhere_exchanges_datagrams() {
    let Some(reactor) = with_sockets() else {
        return;
    };
    // It is blocking.
    let socket = UdpSocket::bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();
    let server = reactor.adopt_datagrams(socket, Prompt).unwrap();
    assert_eq!(server.local_addr().unwrap(), address.into());
    let client = Client::new(2);
    let socket = UdpSocket::bind(any_port()).unwrap();
    socket.connect(address).unwrap();
    let transport = reactor.adopt_datagrams(socket, client.clone()).unwrap();
    assert_eq!(transport.peer_addr().unwrap(), address.into());
    transport.send(b"one");
    transport.try_send(b"two", None).unwrap();
    run_clean(&reactor);
    let mut received = client.log.take();
    received.sort();
    let stopped = "stopped: the reactor stopped";
    assert_eq!(
        received,
        ["received one", "received two", "started", stopped]
    );
}

/// Goal: a program that shares the socket goes on after the reactor has closed it.
#[test]
fn another_owner_of_an_adopted_socket_keeps_it() {
    let Some(reactor) = with_sockets() else {
        return;
    };
    let kept = UdpSocket::bind(any_port()).unwrap();
    let client = Client::new(1);
    let shared = kept.try_clone().unwrap();
    let transport = reactor.adopt_datagrams(shared, client.clone()).unwrap();
    transport
        .try_send(b"one", Some(&kept.local_addr().unwrap().into()))
        .unwrap();
    run_clean(&reactor);
    assert_eq!(client.log.take().len(), 3);
    kept.set_nonblocking(false).unwrap();
    kept.send_to(b"two", kept.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(kept.recv(&mut bytes).unwrap(), 3);
}

#[test]
fn sockets_of_another_kind_are_refused() {
    let Some(reactor) = with_sockets() else {
        return;
    };
    let listener = TcpListener::bind(any_port()).unwrap();
    let wrong = DatagramSocket::from(Owned::from(listener));
    let error = reactor.adopt_datagrams(wrong, Silent).unwrap_err();
    let Error::Adopt { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("no datagram socket"), "{error}");
    let error = reactor
        .adopt(UdpSocket::bind(any_port()).unwrap(), super::support::Silent)
        .unwrap_err();
    assert!(error.to_string().contains("no connection"), "{error}");
}

/// Goal: what the OS refuses is told by the call, and ends nothing.
#[test]
fn a_datagram_offered_at_once_tells_why_it_is_not_sent() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (server, address) = echo(&reactor);
    let address = address.into();
    let client = Client::new(1);
    let transport = reactor.listen_udp(any_port(), client.clone()).unwrap();
    let too_large = vec![0; 70_000];
    assert!(transport.try_send(&too_large, Some(&address)).is_err());
    transport.try_send(b"one", Some(&address)).unwrap();
    run_clean(&reactor);
    let stopped = "stopped: the reactor stopped";
    assert_eq!(client.log.take(), ["started", "received one", stopped]);
    let error = server.try_send(b"late", Some(&address)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

/// Goal: a datagram that is offered at once goes behind those that wait for the end of the turn, and its error is told.
#[test]
fn a_datagram_offered_at_once_keeps_the_order() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_, address) = echo(&reactor);
    let address = address.into();
    let client = Client::new(3);
    let transport = reactor.listen_udp(any_port(), client.clone()).unwrap();
    transport.send_to(b"one", &address);
    transport.try_send(b"two", Some(&address)).unwrap();
    transport.send_to(b"three", &address);
    let too_large = vec![0; 70_000];
    assert!(transport.try_send(&too_large, Some(&address)).is_err());
    run_clean(&reactor);
    let received = ["received one", "received two", "received three"];
    assert_eq!(client.log.take()[1..4], received);
}

/// Goal: a connected socket is told of every refusal, whether a send or the receive learns of it, and sends all.
#[cfg(target_os = "linux")]
#[test]
fn an_adopted_socket_tells_refusals() {
    let Some(reactor) = with_sockets() else {
        return;
    };
    let closed = super::datagrams::deserted();
    let client = Client::new(3);
    let socket = UdpSocket::bind(any_port()).unwrap();
    socket.connect(closed).unwrap();
    let transport = reactor.adopt_datagrams(socket, client.clone()).unwrap();
    for _ in 0..3 {
        transport.try_send(b"x", None).unwrap();
    }
    run_clean(&reactor);
    let told = client.log.take();
    let refusals = told
        .iter()
        .filter(|line| *line == "error ConnectionRefused");
    assert_eq!(refusals.count(), 3, "{told:?}");
}

#[cfg(unix)]
#[test]
fn a_unix_datagram_socket_made_elsewhere_exchanges_datagrams() {
    use std::os::unix::net::UnixDatagram;

    let Some(reactor) = with_sockets() else {
        return;
    };
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let client = Client::new(1);
    let transport = reactor.adopt_datagrams(ours, client.clone()).unwrap();
    transport.try_send(b"one", None).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(theirs.recv(&mut bytes).unwrap(), 3);
    theirs.send(b"two").unwrap();
    run_clean(&reactor);
    let stopped = "stopped: the reactor stopped";
    assert_eq!(client.log.take(), ["started", "received two", stopped]);
}
