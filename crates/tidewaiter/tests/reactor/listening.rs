//! Listening: how it fails, when it pauses, and which listener gets a connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidewaiter::port::ListenOptions;
use tidewaiter::{
    Address, ConnectError, Error, Factory, Listener, Metrics, Protocol, Reactor, Transport,
    UnixAddress,
};

use super::support::{
    Countdown, Echo, Log, Script, Silent, any_port, assert_empty, reactor, run_clean,
};

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    let reactor = reactor();
    let listener = reactor.listen_tcp(any_port(), |_: Address| Silent).unwrap();
    let ip = listener.local_addr().socket_addr().expect("an IP address");
    assert_ne!(ip.port(), 0);
    let foreign = Address::from(([192, 0, 2, 1], 0));
    let unix = UnixAddress::from_pathname("/run/app.sock").expect("a good path");
    for (address, kind) in [
        (listener.local_addr(), io::ErrorKind::AddrInUse),
        (foreign, io::ErrorKind::AddrNotAvailable),
        (unix.into(), io::ErrorKind::InvalidInput),
    ] {
        let error = reactor
            .listen_tcp(address.clone(), |_: Address| Silent)
            .unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        match error {
            Error::Listen {
                address: at,
                source,
            } => {
                assert_eq!((at, source.kind()), (address, kind));
            }
            other => panic!("{other}"),
        }
    }
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
}

/// Expects to be refused, soon at least, and then stops.
struct Refused;

impl Factory for Refused {
    /// A child that another test has just forked may hold a copy of the listener, until its program starts.
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let again = |transport: &Transport| {
            let listener = transport.peer_addr().expect("it was connected");
            transport.abort_connection();
            let connect = move |reactor: &Reactor| drop(reactor.connect_tcp(listener, Refused));
            let reactor = transport.reactor();
            reactor.call_later(Duration::from_millis(1), connect);
        };
        Some(Box::new(Script::new().made(again)))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        reactor.stop();
    }
}

/// Makes echoes. Once the listener is closed, has the client write once more.
struct EchoesOn(Rc<RefCell<Option<Transport>>>);

impl Factory for EchoesOn {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Echo))
    }

    fn listener_closed(&mut self, _: &Listener) {
        self.0.take().expect("it was connected").write(b"2");
    }
}

#[test]
fn a_stopped_listener_refuses_and_its_connections_go_on() {
    let reactor = reactor();
    let connected = Rc::new(RefCell::new(None));
    let factory = EchoesOn(Rc::clone(&connected));
    let listener = reactor.listen_tcp(any_port(), factory).unwrap();
    let stopped = listener.clone();
    let client =
        Script::new()
            .made(|transport| transport.write(b"1"))
            .data(move |transport, data| {
                if data == b"2" {
                    let reactor = transport.reactor();
                    reactor.connect_tcp(stopped.local_addr(), Refused);
                    return;
                }
                connected.replace(Some(transport.clone()));
                stopped.stop_listening();
                stopped.stop_listening();
                stopped.pause_accepting();
                stopped.resume_accepting();
            });
    let client = Cell::new(Some(client));
    reactor.connect_tcp(listener.local_addr(), move |_: Address| {
        client.take().unwrap()
    });
    run_clean(&reactor);
    assert_eq!(
        reactor.metrics().bytes_received,
        4,
        "both echoes, both ways"
    );
}

/// Listens on the same address again once it is closed, several times; then stops.
struct Again(u32, Log);

impl Factory for Again {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        panic!("{peer} connects to nobody");
    }

    fn listener_closed(&mut self, listener: &Listener) {
        self.1.add("closed");
        let reactor = listener.reactor();
        if self.0 == 0 {
            return reactor.stop();
        }
        // Another test may just have forked: its copy holds the socket until it ends.
        let listening = (0..100_000).find_map(|_| {
            let again = Again(self.0 - 1, self.1.clone());
            reactor.listen_tcp(listener.local_addr(), again).ok()
        });
        listening.expect("the address is free").stop_listening();
    }
}

#[test]
fn a_factory_is_told_when_the_address_is_free_again() {
    let (reactor, log) = (reactor(), Log::default());
    let listener = reactor.listen_tcp(any_port(), Again(3, log.clone()));
    listener.unwrap().stop_listening();
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    run_clean(&reactor);
    assert_eq!(log.take(), ["closed"; 4]);
}

/// Goal: the factory is told once when the listener ends with the reactor, and then is dropped.
#[test]
fn a_factory_is_told_when_the_reactor_stops() {
    let (reactor, log) = (reactor(), Log::default());
    let listener = reactor.listen_tcp(any_port(), Again(0, log.clone()));
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
    assert_eq!(log.take(), ["closed"]);
    assert!(listener.is_ok());
}

#[test]
fn a_paused_listener_leaves_connections_in_the_backlog() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let (accepted, done) = (log.clone(), countdown.clone());
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        accepted.add("accepted");
        Script::new().then_done(&done)
    });
    let listener = listener.unwrap();
    listener.pause_accepting();
    listener.pause_accepting();
    let (connected, again, resumed) = (log.clone(), listener.clone(), log.clone());
    let client = Script::new().made(move |transport| {
        connected.add("connected");
        transport.lose_connection();
        let (again, resumed) = (again.clone(), resumed.clone());
        transport
            .reactor()
            .call_later(Duration::from_millis(50), move |_| {
                resumed.add("resumed");
                again.resume_accepting();
                again.resume_accepting();
            });
    });
    let client = Cell::new(Some(client));
    let address = listener.local_addr();
    // By then, the pause has taken effect.
    reactor.call_later(Duration::from_millis(10), move |reactor| {
        reactor.connect_tcp(address, move |_: Address| client.take().unwrap());
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["connected", "resumed", "accepted"]);
    assert_eq!(reactor.metrics().accepted, 1);
}

/// Pauses at each connection, and resumes a little later.
struct OneByOne {
    listener: Rc<RefCell<Option<Listener>>>,
    paused: Rc<Cell<bool>>,
    countdown: Countdown,
}

impl Factory for OneByOne {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        assert!(!self.paused.replace(true), "it came in spite of the pause");
        let listener = self.listener.borrow().clone().expect("it listens");
        listener.pause_accepting();
        let (reactor, paused) = (listener.reactor().clone(), Rc::clone(&self.paused));
        let countdown = self.countdown.clone();
        reactor.call_later(Duration::from_millis(5), move |reactor| {
            paused.set(false);
            listener.resume_accepting();
            countdown.hit(reactor);
        });
        Some(Box::new(Silent))
    }
}

/// Goal: a factory that pauses at a connection gets only that one: no other was accepted with it.
#[test]
fn pausing_at_each_connection_leaves_all_others_in_the_backlog() {
    let (reactor, countdown) = (reactor(), Countdown::new(10));
    let (place, paused) = (Rc::default(), Rc::default());
    let factory = OneByOne {
        listener: Rc::clone(&place),
        paused,
        countdown,
    };
    let mut options = ListenOptions::new(any_port());
    options.one_at_a_time = true;
    let listener = reactor.listen_tcp(options, factory).unwrap();
    let address = listener.local_addr();
    place.replace(Some(listener));
    for _ in 0..10 {
        reactor.connect_tcp(address.clone(), |_: Address| Silent);
    }
    run_clean(&reactor);
    assert_eq!(reactor.metrics().accepted, 10);
}

#[test]
fn connections_are_handed_over_and_adopted() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let (adopter, done) = (reactor.clone(), countdown.clone());
    let take = move |socket, peer: Address| {
        let server = Script::new().data(|transport, data| {
            transport.write(data);
            transport.lose_connection();
        });
        let made = Rc::new(Cell::new(false));
        let seen = Rc::clone(&made);
        let server = server.made(move |_| seen.set(true)).then_done(&done);
        let transport = adopter.adopt_stream(socket, peer.clone(), server).unwrap();
        assert!(!made.get(), "only the loop makes callbacks");
        assert_eq!(transport.peer_addr(), Some(peer));
    };
    let listener = reactor.listen_handing_over(any_port(), take).unwrap();
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .then_done(&countdown);
    let client = Cell::new(Some(client));
    reactor.connect_tcp(listener.local_addr(), move |_: Address| {
        client.take().unwrap()
    });
    run_clean(&reactor);
    assert_eq!(
        (reactor.metrics().accepted, reactor.metrics().bytes_received),
        (1, 10)
    );
}

#[test]
fn connections_are_handed_over_to_a_reactor_in_another_thread() {
    if crate::SIMULATED {
        // Each of these reactors has a simulation of its own.
        return;
    }
    let (to_us, from_thread) = mpsc::channel();
    let thread = thread::spawn(move || {
        let reactor = reactor();
        to_us.send(reactor.remote()).unwrap();
        run_clean(&reactor);
        reactor.metrics()
    });
    let remote = from_thread.recv().unwrap();
    let (reactor, countdown) = (reactor(), Countdown::new(20));
    let to_thread = remote.clone();
    let take = move |socket, peer| {
        let adopt = move |there: &Reactor| {
            there.adopt_stream(socket, peer, Echo).expect("it runs");
        };
        to_thread.call(adopt).unwrap();
    };
    let listener = reactor.listen_handing_over(any_port(), take).unwrap();
    for number in 0..20u8 {
        let client = Script::new()
            .made(move |transport| transport.write(&[number; 100]))
            .data(|transport, _| transport.lose_connection())
            .lost({
                let countdown = countdown.clone();
                move |transport, _| countdown.hit(transport.reactor())
            });
        let client = Cell::new(Some(client));
        reactor.connect_tcp(listener.local_addr(), move |_: Address| {
            client.take().unwrap()
        });
    }
    run_clean(&reactor);
    remote.stop().unwrap();
    let theirs = thread.join().unwrap();
    let counts = |metrics: &Metrics| (metrics.accepted, metrics.adopted, metrics.connected);
    assert_eq!(counts(&theirs), (0, 20, 0));
    assert_eq!(theirs.bytes_received, 2000);
    assert_eq!(counts(&reactor.metrics()), (20, 0, 20));
    assert_empty(&theirs);
}

#[test]
fn a_socket_made_elsewhere_is_adopted_or_refused() {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, peer) = listener.accept().unwrap();
    let adopted = reactor.adopt_stream(ours, peer, Script::new().then_done(&countdown));
    if crate::SIMULATED {
        let error = adopted.unwrap_err();
        assert!(
            matches!(&error, Error::Adopt { peer: Some(at), .. } if *at == peer.into()),
            "{error}"
        );
        assert!(error.to_string().contains(&peer.to_string()));
        assert_eq!(reactor.metrics().adopted, 0);
        assert_empty(&reactor.metrics());
        return;
    }
    adopted.unwrap().write(b"hello");
    drop(listener);
    let reader = thread::spawn(move || {
        let mut text = [0; 5];
        io::Read::read_exact(&mut &theirs, &mut text).map(|()| text)
    });
    run_clean(&reactor);
    assert_eq!(&reader.join().unwrap().unwrap(), b"hello");
}
