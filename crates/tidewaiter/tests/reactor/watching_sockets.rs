//! Watches of sockets of Windows that other code owns.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tidewaiter::Error;
use tidewaiter::port::{Interest, Readiness};

use crate::promises::support::{Countdown, Log, any_port, reactor, run, run_clean};
use crate::support::number::{number, number_of_file};
use crate::watching::{READABLE, connection};

/// Goal: the end of file is readable, each turn; a writer is not told.
#[test]
fn an_end_of_file_is_readable() {
    let reactor = reactor();
    let (client, server) = connection();
    server.shutdown(Shutdown::Write).unwrap();
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let watched = number(&client);
    let watch = reactor.watch(watched, Interest::READABLE, move |watch, readiness| {
        assert_eq!(readiness, READABLE);
        assert_eq!((&client).read(&mut [0; 9]).unwrap(), 0);
        count.set(count.get() + 1);
        if count.get() == 3 {
            watch.set_interest(Interest::NONE).unwrap();
            // A further call would be counted.
            let reactor = watch.reactor();
            reactor.call_later(Duration::from_millis(50), tidewaiter::Reactor::stop);
        }
    });
    watch.unwrap();
    run_clean(&reactor);
    assert_eq!(calls.get(), 3);
}

/// Goal: a reset is told without interest in anything.
#[test]
fn a_reset_is_always_reported() {
    let reactor = reactor();
    let (client, server) = connection();
    let linger = SockRef::from(&server).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    let watch = reactor.watch(number(&client), Interest::NONE, |watch, readiness| {
        let expected = Readiness {
            hang_up: true,
            error: true,
            ..Readiness::default()
        };
        assert_eq!(readiness, expected);
        watch.stop();
        watch.reactor().stop();
    });
    watch.unwrap();
    reactor.iterate(Duration::ZERO).unwrap();
    drop(server);
    run_clean(&reactor);
}

/// Goal: a listener is readable when a client waits, a datagram socket when a datagram does.
#[test]
fn every_kind_of_socket_can_be_watched() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let watched = number(&listener);
    let done = countdown.clone();
    let watch = reactor.watch(watched, Interest::READABLE, move |watch, readiness| {
        assert_eq!(readiness, READABLE);
        listener.accept().unwrap();
        watch.stop();
        done.hit(watch.reactor());
    });
    watch.unwrap();
    let receiver = UdpSocket::bind(any_port()).unwrap();
    let sender = UdpSocket::bind(any_port()).unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let watched = number(&receiver);
    let watch = reactor.watch(watched, Interest::READABLE, move |watch, readiness| {
        assert_eq!(readiness, READABLE);
        assert_eq!(receiver.recv(&mut [0; 9]).unwrap(), 3);
        watch.stop();
        countdown.hit(watch.reactor());
    });
    watch.unwrap();
    reactor.iterate(Duration::ZERO).unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    sender.send(b"abc").unwrap();
    run_clean(&reactor);
}

/// Goal: a connection that is being made is writable once it is made, and in error if it cannot be.
#[test]
fn the_end_of_an_attempt_to_connect_is_reported() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let listener = TcpListener::bind(any_port()).unwrap();
    let deserted = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    for (address, succeeds) in [(listener.local_addr().unwrap(), true), (deserted, false)] {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let begun = client.connect(&address.into());
        assert_eq!(begun.unwrap_err().raw_os_error(), Some(10035));
        let done = countdown.clone();
        let watched = number(&client);
        let watch = reactor.watch(watched, Interest::WRITABLE, move |watch, readiness| {
            assert!(readiness.writable);
            assert_eq!(readiness.error, !succeeds);
            assert_eq!(client.take_error().unwrap().is_none(), succeeds);
            watch.stop();
            done.hit(watch.reactor());
        });
        watch.unwrap();
    }
    run_clean(&reactor);
}

/// Goal: a socket that its owner closes while it is watched ends the watch, and the callback is told so once, whether
/// the socket was being polled or had just been reported.
#[test]
fn a_socket_closed_while_watched_ends_the_watch() {
    let (reactor, countdown, log) = (reactor(), Countdown::new(2), Log::default());
    for ready in [false, true] {
        let (client, mut server) = connection();
        if ready {
            server.write_all(b"a").unwrap();
        }
        let watched = number(&client);
        let client = Rc::new(RefCell::new(Some(client)));
        let (owner, done, noted) = (Rc::clone(&client), countdown.clone(), log.clone());
        let watch = reactor.watch(watched, Interest::READABLE, move |watch, readiness| {
            let _peer = &server;
            if readiness.closed {
                assert!(watch.is_stopped());
                noted.add("closed");
                return done.hit(watch.reactor());
            }
            assert!(ready && !watch.is_stopped());
            drop(owner.take());
        });
        watch.unwrap();
        if !ready {
            reactor.call_later(Duration::from_millis(10), move |_| drop(client.take()));
        }
    }
    run_clean(&reactor);
    assert_eq!(log.take(), ["closed", "closed"]);
    assert_eq!(reactor.metrics().live, 0);
}

/// Goal: only sockets are taken, and each once.
#[test]
fn refusals_name_the_number() {
    let reactor = reactor();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    for wrong in [0, u64::MAX, 0x7fff_fff0, number_of_file(&file)] {
        match reactor.watch(wrong, Interest::READABLE, |_, _| ()) {
            Err(Error::Watch { descriptor, source }) => {
                assert_eq!(descriptor, wrong);
                // WSAENOTSOCK, or in Wine also ERROR_INVALID_HANDLE.
                let code = source.raw_os_error();
                assert!(matches!(code, Some(10038 | 6)), "{source}");
            }
            other => panic!("{wrong} was not refused: {other:?}"),
        }
    }
    let socket = UdpSocket::bind(any_port()).unwrap();
    let watch = || reactor.watch(number(&socket), Interest::READABLE, |_, _| ());
    let first = watch().unwrap();
    match watch() {
        Err(Error::Watch { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
        }
        other => panic!("it was watched twice: {other:?}"),
    }
    first.stop();
    watch().expect("it is watched no longer").stop();
    reactor.call_later(Duration::ZERO, tidewaiter::Reactor::stop);
    run(&reactor);
    assert_eq!(reactor.metrics().live, 0);
}
