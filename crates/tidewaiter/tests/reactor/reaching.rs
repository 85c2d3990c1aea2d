//! Connections that are reached from elsewhere: from timers and other connections, and from other threads.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::Duration;

use tidewaiter::endpoint::HostPort;
use tidewaiter::port::PortKind;
use tidewaiter::{Address, Error, JoinError, Protocol, Reactor, Reason, Transport, WorkLost};

use super::support::{Countdown, Echo, Log, Script, pair, reactor, run_clean};

/// A protocol with state that others read and change.
struct Known {
    name: &'static str,
    echoed: usize,
    done: Countdown,
}

impl Protocol for Known {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"four");
        let within = transport.with_protocol(|known: &mut Known| known.echoed);
        assert_eq!(within, None, "it is being called");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.echoed += data.len();
        let known = transport.clone();
        transport
            .reactor()
            .call_later(Duration::ZERO, move |reactor| {
                let other = known.with_protocol(|_: &mut Echo| ());
                assert_eq!(other, None, "of another type");
                let echoed = known.with_protocol(|known: &mut Known| {
                    known.name = "renamed";
                    assert!(matches!(reactor.iterate(None), Err(Error::Running)));
                    known.echoed
                });
                if echoed == Some(4) {
                    known.lose_connection();
                }
            });
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        assert_eq!(self.name, "renamed");
        self.done.hit(transport.reactor());
    }
}

#[test]
fn a_timer_reaches_the_state_of_a_protocol() {
    for boxed in [false, true] {
        let (reactor, done) = (reactor(), Countdown::new(1));
        let known = Known {
            name: "new",
            echoed: 0,
            done,
        };
        let _listener = match boxed {
            false => pair(&reactor, known, Echo),
            true => pair(&reactor, Box::new(known) as Box<dyn Protocol>, Echo),
        };
        run_clean(&reactor);
    }
}

#[test]
#[expect(
    clippy::mutable_key_type,
    reason = "a transport's hash is that of its address, which never changes"
)]
fn a_transport_is_a_key_and_has_a_number_of_its_own() {
    let (reactor, done) = (reactor(), Countdown::new(1));
    let client = Script::new()
        .made(|transport| {
            let mut table = HashMap::from([(transport.clone(), "client")]);
            assert_eq!(table.get(&transport.clone()), Some(&"client"));
            assert_eq!(table.remove(transport), Some("client"));
            assert_eq!(transport.id(), transport.remote().id());
            transport.lose_connection();
        })
        .then_done(&done);
    let _listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
}

#[test]
fn another_thread_writes_to_a_connection_and_closes_it() {
    for abort in [false, true] {
        let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(2));
        let client = Script::new()
            .made(move |transport| {
                let remote = transport.remote();
                let writing = thread::spawn(move || {
                    remote.write("from ")?;
                    remote.write(b"afar".to_vec())?;
                    match abort {
                        false => remote.lose_connection(),
                        true => remote.abort_connection(),
                    }
                });
                writing.join().expect("no panic").expect("it runs");
            })
            .then_noted(&log, "client", &done);
        let server = Script::new()
            .data(|_, data| assert!(b"from afar".starts_with(data) || b"afar".ends_with(data)))
            .then_noted(&log, "server", &done);
        let _listener = pair(&reactor, client, server);
        run_clean(&reactor);
        let mut events = log.take();
        events.sort_unstable();
        match abort {
            false => assert_eq!(events, ["client: done", "server: done"]),
            true => assert!(events.contains(&"client: aborted".to_owned()), "{events:?}"),
        }
    }
}

#[test]
fn a_handle_of_a_connection_that_is_gone_does_nothing() {
    let (reactor, done) = (reactor(), Countdown::new(1));
    let (sender, handles) = std::sync::mpsc::channel();
    let client = Script::new()
        .made(move |transport| {
            sender.send(transport.remote()).expect("the test listens");
            transport.lose_connection();
        })
        .then_done(&done);
    let _listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
    let remote = handles.recv().expect("it was made");
    let late = remote.write("late");
    assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
    let error = io::Error::from(late.expect_err("it has stopped"));
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "the reactor has been stopped");
}

#[test]
fn errors_of_the_library_become_errors_of_the_system_with_their_kind() {
    let reactor = reactor();
    let taken: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    let first = reactor.listen_tcp(taken, |_| Echo).expect("a port is free");
    let second = reactor.listen_tcp(first.local_addr(), |_| Echo);
    let error = io::Error::from(second.expect_err("the port is taken"));
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(Error::Listen { .. })), "{error:?}");
    assert_eq!(
        io::Error::from(Error::Running).kind(),
        io::ErrorKind::ResourceBusy
    );
    drop(Reactor::clone(&reactor));
}

/// Goal: a function that returns `io::Result` takes every error by `?`.
#[test]
fn each_error_becomes_one_of_io_with_its_kind_and_message() {
    fn check<E: std::fmt::Display>(error: E, kind: io::ErrorKind)
    where
        io::Error: From<E>,
    {
        let message = error.to_string();
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (kind, message));
    }
    check(JoinError::Aborted, io::ErrorKind::Interrupted);
    check(JoinError::Panicked("no".into()), io::ErrorKind::Other);
    check(WorkLost::Stopped, io::ErrorKind::ConnectionAborted);
    check(WorkLost::Panicked, io::ErrorKind::Other);
    let full = io::ErrorKind::WouldBlock;
    check(WorkLost::NoThread(full.into()), full);
    let invalid = io::ErrorKind::InvalidInput;
    check("nothing".parse::<Address>().unwrap_err(), invalid);
    check("nothing".parse::<HostPort>().unwrap_err(), invalid);
    check("nothing".parse::<PortKind>().unwrap_err(), invalid);
}
