//! The documented behaviour of others' datagram sockets, and ours. Each test names the promise; where ours differs, the
//! reason.

use std::cell::Cell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;

use tidewaiter::port::{Datagram, DatagramOptions};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};

use super::datagrams::{Client, Silent, With, echo, ip_of, with_datagrams};
use super::support::{any_port, run_clean};

/// libuv, `uv_udp_recv_cb`: an empty datagram comes with its sender. Its callback is also called with nothing at all when
/// there is nothing to read; ours is not, because nothing has happened.
#[test]
fn an_empty_datagram_has_a_sender() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            assert!(datagram.is_empty());
            assert!(datagram.sender().is_some());
            count.set(count.get() + 1);
            transport.reactor().stop();
        },
    );
    let server = reactor.listen_udp(any_port(), check).expect("it listens");
    let client = reactor.connect_udp(ip_of(&server), Silent);
    client.expect("it connects").send(b"");
    run_clean(&reactor);
    assert_eq!(calls.get(), 1);
}

/// libuv, `uv_udp_connect`: a datagram without an address goes to the peer, and a second connect fails with `EISCONN`.
/// tokio, `UdpSocket::connect`: only the peer's datagrams are received. Ours replaces the peer, as the OS does: a program
/// that wants to keep it does not ask for another one.
#[test]
fn a_connected_socket_hears_its_peer_alone_and_may_change_it() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_first, first) = echo(&reactor);
    let (_second, second) = echo(&reactor);
    let client = Client::new(1);
    let transport = reactor.connect_udp(first, client.clone());
    let transport = transport.expect("it connects");
    transport
        .set_peer(Some(&second.into()))
        .expect("the peer is replaced");
    assert_eq!(transport.peer_addr().expect("it has one"), second.into());
    // The first one's answer is not heard.
    let other = reactor.listen_udp(any_port(), Silent).expect("it listens");
    other.send_to(b"from a stranger", &ip_of(&transport).into());
    transport.send(b"question");
    run_clean(&reactor);
    assert_eq!(client.log.take()[1], "received question");
}

/// mio and tokio, `peer_addr`: `NotConnected` without a peer. mio, `local_addr`: the port that the OS chose.
#[test]
fn addresses_are_told_as_they_are() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (server, address) = echo(&reactor);
    assert_ne!(address.port(), 0);
    let error = server.peer_addr().expect_err("it has none");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    run_clean(&reactor);
}

/// libuv, `uv_udp_get_send_queue_count`: the datagrams that are still to be sent. tokio, `try_send_to`: `WouldBlock`
/// instead of a queue; ours is bounded and tells what it drops.
#[test]
fn the_queue_tells_its_length() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let client = Client::new(2);
    let transport = reactor.connect_udp(address, client.clone());
    let transport = transport.expect("it connects");
    assert_eq!(transport.queued(), 0);
    transport.send(b"one");
    transport.send(b"two");
    assert_eq!(transport.queued(), 2);
    run_clean(&reactor);
    assert_eq!(client.log.take()[1..3], ["received one", "received two"]);
}

/// libuv, `uv_udp_recv_stop`: nothing is received until it is started again, and starting twice fails. Ours may be called
/// in any state, because nobody could do anything about the failure.
#[test]
fn pausing_and_resuming_twice_changes_nothing() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (_server, address) = echo(&reactor);
    let client = Client::new(1);
    let transport = reactor.connect_udp(address, client.clone());
    let transport = transport.expect("it connects");
    transport.pause_receiving();
    transport.pause_receiving();
    transport.resume_receiving();
    transport.resume_receiving();
    transport.send(b"one");
    run_clean(&reactor);
    assert_eq!(client.log.take()[1], "received one");
}

/// mio, `recv_from`: a datagram that does not fit in the buffer is cut short, silently; libuv says so with
/// `UV_UDP_PARTIAL`. Ours gets memory for the largest datagram, and one that is larger still would be an error: half a
/// message is no message.
#[test]
fn nothing_is_cut_short() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let sizes = [1, 1472, 1473, 9000, 65_507];
    let left = Rc::new(Cell::new(0));
    let at = Rc::clone(&left);
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            assert_eq!(datagram.len(), sizes[at.get()]);
            at.set(at.get() + 1);
            if at.get() == sizes.len() {
                transport.reactor().stop();
            }
        },
    );
    let server = reactor.listen_udp(any_port(), check).expect("it listens");
    let client = reactor.connect_udp(ip_of(&server), Silent);
    let client = client.expect("it connects");
    for size in sizes {
        client.send(&vec![b'x'; size]);
    }
    run_clean(&reactor);
}

/// libuv, `uv_close`: the callbacks of sends that were not made get `ECANCELED`. Ours counts them in
/// `datagrams_dropped`, before the last call, `stopped`.
#[test]
fn the_last_call_is_stopped() {
    struct Order(Client);
    impl DatagramProtocol for Order {
        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

        fn datagrams_dropped(&mut self, _: &DatagramTransport, count: usize) {
            self.0.log.add(format!("dropped {count}"));
        }

        fn stopped(&mut self, transport: &DatagramTransport, _: tidewaiter::Reason) {
            assert!(!transport.is_open());
            self.0.note(transport, "stopped");
        }
    }
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let client = Client::new(1);
    let options = DatagramOptions::bound(any_port());
    let transport = reactor.open_datagrams(options, Order(client.clone()));
    transport.expect("it opens").close();
    run_clean(&reactor);
    assert_eq!(client.log.take(), ["stopped"]);
}

/// tokio, `UdpSocket::from_std`, and mio: a socket of the standard library can be used. So can ours, and its number looks
/// like any other's.
#[test]
fn a_plain_socket_is_a_peer_like_any_other() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    if crate::SIMULATED {
        reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
        return run_clean(&reactor);
    }
    let (server, address) = echo(&reactor);
    let plain = UdpSocket::bind(any_port()).expect("a port is free");
    plain.send_to(b"hello", address).expect("it is there");
    assert!(server.raw_descriptor().is_some());
    let remote = reactor.remote();
    let answer = std::thread::spawn(move || {
        let mut bytes = [0; 8];
        let (len, sender) = plain.recv_from(&mut bytes).expect("it is answered");
        remote.stop().expect("it runs until then");
        (bytes[..len].to_vec(), sender)
    });
    run_clean(&reactor);
    let answer = answer.join().expect("it was answered");
    assert_eq!(answer, (b"hello".to_vec(), address));
}
