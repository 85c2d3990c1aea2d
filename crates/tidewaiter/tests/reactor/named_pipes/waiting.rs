//! Clients of a named pipe that wait: for an instance, for a server that pauses, and for the end.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::ListenOptions;
use tidewaiter::{ConnectError, ConnectOptions, Reactor, Transport};

use super::super::promises::support::{Countdown, Echo, Log, Script, Silent, reactor, run_clean};
use super::{Failing, connect, expect_failure, kind, listen, name};

/// Goal: a limit of connections holds, and each client that waits for an instance gets one.
#[test]
fn clients_beyond_the_limit_wait_for_their_turn() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(9), name());
    let open = Rc::new(Cell::new(0_usize));
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(2);
    let count = Rc::clone(&open);
    listen(&reactor, options, move || {
        let (begin, end) = (Rc::clone(&count), Rc::clone(&count));
        Script::new()
            .made(move |transport| {
                begin.set(begin.get() + 1);
                assert!(begin.get() <= 2, "two at a time");
                transport.write(b"welcome");
            })
            .lost(move |_, _| end.set(end.get() - 1))
    });
    for _ in 0..9 {
        let client = Script::new()
            .data(|transport, _| transport.lose_connection())
            .then_done(&countdown);
        connect(&reactor, name.clone(), client);
    }
    run_clean(&reactor);
}

#[test]
fn a_client_that_waits_for_an_instance_runs_out_of_time_or_is_cancelled() {
    let (reactor, log, countdown, name) = (reactor(), Log::default(), Countdown::new(2), name());
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(1);
    listen(&reactor, options, || Silent);
    let late = ConnectOptions::from(name.clone()).timeout(Duration::from_millis(50));
    let waiting = (name.clone(), log.clone(), countdown.clone());
    connect(&reactor, name.clone(), Silent);
    let second = Script::new().made(move |transport| {
        let (name, log, countdown) = waiting.clone();
        let reactor = transport.reactor();
        let tell = move |reactor: &Reactor, error: ConnectError| {
            log.add(match error {
                ConnectError::TimedOut { .. } => "timed out",
                ConnectError::Cancelled => "cancelled",
                _ => panic!("{error}"),
            });
            countdown.hit(reactor);
        };
        let tell = Rc::new(tell);
        reactor.connect_pipe(late.clone(), Failing(tell.clone()));
        let patient = reactor.connect_pipe(name, Failing(tell));
        reactor.call_later(Duration::from_millis(20), move |_| {
            assert!(patient.is_connecting());
            patient.cancel();
        });
    });
    connect(&reactor, name, second);
    run_clean(&reactor);
    let mut told = log.take();
    // On a busy machine, both are due in the same turn.
    told.sort();
    assert_eq!(told, ["cancelled", "timed out"]);
}

/// Goal: a client that waits for an instance learns that the server is gone.
#[test]
fn a_server_that_goes_turns_its_waiting_clients_away() {
    let (reactor, name) = (reactor(), name());
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(1);
    let accepted = Rc::<RefCell<Vec<Transport>>>::default();
    let keep = Rc::clone(&accepted);
    let listener = listen(&reactor, options, move || {
        let keep = Rc::clone(&keep);
        Script::new().made(move |transport| keep.borrow_mut().push(transport.clone()))
    });
    let waiting = name.clone();
    connect(&reactor, name.clone(), Silent);
    let second = Script::new().made(move |transport| {
        expect_failure(transport.reactor(), waiting.clone(), |reactor, error| {
            assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
            reactor.stop();
        });
        let (listener, accepted) = (listener.clone(), Rc::clone(&accepted));
        (transport.reactor()).call_later(Duration::from_millis(20), move |_| {
            listener.stop_listening();
            for transport in accepted.take() {
                transport.lose_connection();
            }
        });
    });
    connect(&reactor, name, second);
    run_clean(&reactor);
}

/// Goal: a listener that pauses loses no client.
#[test]
fn clients_wait_while_accepting_is_paused() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(20), name());
    let listener = listen(&reactor, name.clone(), || Echo);
    listener.pause_accepting();
    for _ in 0..20 {
        let client = Script::new()
            .made(|transport| transport.write(b"hello"))
            .data(|transport, _| transport.lose_connection())
            .then_done(&countdown);
        connect(&reactor, name.clone(), client);
    }
    reactor.call_later(Duration::from_millis(30), move |_| {
        listener.resume_accepting();
    });
    run_clean(&reactor);
}

#[test]
fn connections_are_accepted_one_at_a_time() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(12), name());
    let mut options = ListenOptions::new(name.clone());
    options.one_at_a_time = true;
    listen(&reactor, options, || Echo);
    for _ in 0..12 {
        let client = Script::new()
            .made(|transport| transport.write(b"hello"))
            .data(|transport, _| transport.lose_connection())
            .then_done(&countdown);
        connect(&reactor, name.clone(), client);
    }
    run_clean(&reactor);
}
