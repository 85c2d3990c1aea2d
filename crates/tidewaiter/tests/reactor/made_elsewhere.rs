//! Sockets that other code made, for listening and for connecting, and the OS's numbers of sockets.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use socket2::{Domain, SockRef, Type};
use tidewaiter::port::RawDescriptor;
use tidewaiter::{
    Address, ConnectError, Error, Factory, Producer, ProducerKind, Protocol, Reactor, Transport,
};

use super::support::{
    Countdown, Echo, Log, Script, Silent, any_port, assert_empty, deserted_port, pair, reactor,
    run_clean,
};

/// A blocking socket that is not connected.
fn unconnected() -> TcpStream {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None);
    socket.expect("the OS has sockets").into()
}

#[cfg(unix)]
fn number_of(socket: &TcpStream) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

#[cfg(windows)]
fn number_of(socket: &TcpStream) -> RawDescriptor {
    std::os::windows::io::AsRawSocket::as_raw_socket(socket)
}

/// Connects once, with this protocol. Notes a failure, and then stops the reactor.
struct Once(Option<Box<dyn Protocol>>, Log);

impl Once {
    fn new(protocol: impl Protocol + 'static, log: &Log) -> Once {
        Once(Some(Box::new(protocol)), log.clone())
    }
}

impl Factory for Once {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(self.0.take().expect("connected once"))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        let reason = error.io_error().map(|error| {
            let code = error.raw_os_error();
            format!("{:?}, code: {}", error.kind(), code.is_some())
        });
        let reason = reason.unwrap_or_else(|| error.to_string());
        self.1.add(reason);
        reactor.stop();
    }
}

#[test]
fn a_listening_socket_made_elsewhere_accepts() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    // It is blocking.
    let socket = TcpListener::bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();
    let server = Cell::new(Some(Script::new().then_done(&countdown)));
    let listening = reactor.listen_on(socket, move |_: Address| server.take().unwrap());
    if crate::SIMULATED {
        let error = listening.unwrap_err();
        assert!(matches!(error, Error::ListenOn(_)), "{error}");
        assert!(error.to_string().contains("listening"), "{error}");
        return assert_empty(&reactor.metrics());
    }
    let listener = listening.unwrap();
    assert_eq!(listener.local_addr(), address.into());
    let client = Script::new()
        .made(Transport::lose_connection)
        .then_done(&countdown);
    reactor.connect_tcp(address, Once::new(client, &log));
    run_clean(&reactor);
    assert_eq!(reactor.metrics().accepted, 1);
}

#[cfg(unix)]
type Owned = std::os::fd::OwnedFd;
#[cfg(windows)]
type Owned = std::os::windows::io::OwnedSocket;

fn is_invalid(error: &io::Error, problem: &str) -> bool {
    error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains(problem)
}

/// Goal: a socket of another kind than the call is for is refused, and closed.
#[test]
fn sockets_of_the_wrong_kind_are_refused() {
    if crate::SIMULATED {
        return;
    }
    let datagrams = || socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let reactor = reactor();
    for socket in [Owned::from(unconnected()), datagrams().into()] {
        let error = reactor.listen_on(socket, |_: Address| Silent).unwrap_err();
        let Error::ListenOn(source) = &error else {
            panic!("{error}");
        };
        assert!(is_invalid(source, "does not listen"), "{error}");
    }
    let cases = [
        (Owned::from(listener), "it is no connection"),
        (datagrams().into(), "no stream socket"),
    ];
    for (socket, problem) in cases {
        let error = reactor.adopt_stream(socket, address, Silent).unwrap_err();
        let Error::Adopt { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(is_invalid(source, problem), "{error}");
    }
    // Another test may just have forked: its copy holds the listener until it ends.
    let closed = (0..100_000).any(|_| TcpStream::connect(address).is_err());
    assert!(closed, "the listener is closed");
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
}

#[test]
fn a_socket_made_elsewhere_is_connected() {
    if crate::SIMULATED {
        return;
    }
    for bound in [false, true] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
        let socket = unconnected();
        let number = number_of(&socket);
        let mut from = None;
        if bound {
            SockRef::from(&socket).bind(&any_port().into()).unwrap();
            from = Some(socket.local_addr().unwrap());
        }
        let server = Cell::new(Some(Echo));
        let listener = reactor.listen_tcp(any_port(), move |peer: Address| {
            assert!(from.is_none_or(|from| peer == from.into()));
            server.take().unwrap()
        });
        let listener = listener.unwrap();
        let (stopped, done) = (listener.clone(), countdown.clone());
        let client = Script::new()
            .made(move |transport| {
                assert_eq!(transport.raw_descriptor(), Some(number), "it is the same");
                transport.write(b"hello");
            })
            .data(move |transport, data| {
                assert_eq!(data, b"hello");
                stopped.stop_listening();
                transport.lose_connection();
                done.hit(transport.reactor());
            })
            .then_done(&countdown);
        let once = Once::new(client, &log);
        let connector = reactor.connect_tcp_with(socket, listener.local_addr(), once);
        assert!(connector.is_connecting());
        run_clean(&reactor);
        assert!(!connector.is_connecting());
        assert_eq!(log.take(), [""; 0]);
    }
}

#[test]
fn a_socket_made_elsewhere_is_connected_to_the_first_address_of_its_family() {
    if crate::SIMULATED {
        return;
    }
    let resolver = |_: &str, port: u16| {
        Ok(vec![
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 9], port)),
        ])
    };
    for host in ["127.0.0.1", "mixed.test"] {
        let reactor = crate::open(Reactor::builder().signals(false).resolver(resolver));
        let (log, countdown) = (Log::default(), Countdown::new(2));
        let server = Cell::new(Some(Script::new().then_done(&countdown)));
        let listener = reactor.listen_tcp(any_port(), move |_: Address| server.take().unwrap());
        let port = listener.unwrap().local_addr().port().unwrap();
        let socket = unconnected();
        SockRef::from(&socket).bind(&any_port().into()).unwrap();
        let number = number_of(&socket);
        let client = Script::new()
            .made(move |transport| {
                assert_eq!(transport.raw_descriptor(), Some(number), "it is the same");
                transport.lose_connection();
            })
            .then_done(&countdown);
        let once = Once::new(client, &log);
        reactor.connect_tcp_with(socket, format!("{host}:{port}"), once);
        run_clean(&reactor);
        assert_eq!(log.take(), [""; 0]);
    }
}

#[test]
fn a_failure_to_connect_keeps_the_code_of_the_os() {
    let (reactor, log) = (reactor(), Log::default());
    let once = Once::new(Silent, &log);
    reactor.connect_tcp_with(unconnected(), deserted_port(), once);
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    run_clean(&reactor);
    let expected = match crate::SIMULATED {
        true => format!("{:?}, code: false", io::ErrorKind::InvalidInput),
        false => format!("{:?}, code: true", io::ErrorKind::ConnectionRefused),
    };
    assert_eq!(log.take(), [expected]);
}

/// Goal: a failure that occurs at once, before any packet is sent, is reported by the loop, too.
#[cfg(unix)]
#[test]
fn a_socket_that_cannot_be_connected_is_reported_by_the_loop() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, log) = (reactor(), Log::default());
    let six = (std::net::Ipv6Addr::LOCALHOST, 9);
    reactor.connect_tcp_with(unconnected(), six, Once::new(Silent, &log));
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    run_clean(&reactor);
    let told = log.take();
    assert!(
        told.len() == 1 && told[0].ends_with("code: true"),
        "{told:?}"
    );
}

#[test]
fn a_socket_made_elsewhere_is_closed_when_cancelled() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, log) = (reactor(), Log::default());
    let connector = reactor.connect_tcp_with(unconnected(), any_port(), Once::new(Silent, &log));
    connector.cancel();
    run_clean(&reactor);
    assert!(!connector.is_connecting() && connector.raw_descriptor().is_none());
    assert_eq!(log.take(), ["connecting was cancelled"]);
}

/// Goal: an open socket has a number, which differs from all others; after the close it has none.
#[test]
fn open_sockets_have_numbers() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let note = |seen: &Rc<RefCell<Vec<_>>>| {
        let seen = Rc::clone(seen);
        move |transport: &Transport| seen.borrow_mut().extend(transport.raw_descriptor())
    };
    let closes = note(&seen);
    let client = Script::new()
        .made(move |transport| {
            closes(transport);
            transport.lose_connection();
            assert_eq!(transport.raw_descriptor(), None);
        })
        .then_done(&countdown);
    let server = Script::new().made(note(&seen)).then_done(&countdown);
    let listener = pair(&reactor, client, server);
    seen.borrow_mut().extend(listener.raw_descriptor());
    run_clean(&reactor);
    assert_eq!(listener.raw_descriptor(), None);
    let mut seen = seen.take();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), if crate::SIMULATED { 0 } else { 3 });
}

/// Never writes. Notes when it is told to stop.
struct Waiting(Log);

impl Producer for Waiting {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {}

    fn stop_producing(&mut self) {
        self.0.add("producer: stopped");
    }
}

/// Goal: closing at once drops the queued bytes, and the peer sees an orderly end.
#[test]
fn a_connection_is_closed_at_once_and_in_order() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let waits = log.clone();
    let client = Script::new()
        .made(move |transport| {
            transport.write(b"never sent");
            transport.register_producer(Waiting(waits.clone()), ProducerKind::Push);
            transport.close_connection_now();
            transport.close_connection_now();
            assert!(!transport.is_open() && transport.queued() == 0);
        })
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .data(|_, data| panic!("{data:?} was to be dropped"))
        .then_noted(&log, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let mut told = log.take();
    told.sort_unstable();
    assert_eq!(told, ["client: done", "producer: stopped", "server: done"]);
}
