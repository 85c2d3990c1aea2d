//! Named pipes that carry messages.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{ListenOptions, PipeConnectOptions, PipeMode};
use tidewaiter::{ConnectOptions, PipeName};

use super::super::promises::support::{
    Checker, Countdown, Echo, Log, Script, Silent, pattern, reactor, run_clean,
};
use super::{connect, expect_failure, kind, listen, name};

/// A server and a client of a pipe that carries messages.
fn messages(name: &PipeName) -> (ListenOptions, ConnectOptions) {
    let mut server = ListenOptions::new(name.clone());
    server.pipe.mode = PipeMode::MESSAGES;
    let mut client = PipeConnectOptions::default();
    client.mode = PipeMode::MESSAGES;
    (server, ConnectOptions::from(name.clone()).pipe(client))
}

#[test]
fn each_message_arrives_whole_and_alone() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(1), name());
    let (server, client) = messages(&name);
    listen(&reactor, server, || Echo);
    let sizes = [
        1,
        2,
        4096,
        16 * 1024,
        17 * 1024,
        65_536,
        100_000,
        1_000_000,
        3,
    ];
    let expected = RefCell::new(sizes.to_vec());
    let client_protocol = Script::new()
        .made(move |transport| {
            for size in sizes {
                transport.write(&pattern(size));
            }
        })
        .data(move |transport, data| {
            let size = expected.borrow_mut().remove(0);
            assert_eq!(data.len(), size);
            assert!(data == pattern(size));
            if expected.borrow().is_empty() {
                transport.lose_connection();
            }
        })
        .then_done(&countdown);
    connect(&reactor, client, client_protocol);
    run_clean(&reactor);
}

/// Goal: pauses and the end of a connection cut no message.
#[test]
fn messages_stay_whole_over_pauses_and_the_end() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(1), name());
    let (server, client) = messages(&name);
    listen(&reactor, server, || {
        Script::new().made(|transport| {
            for number in 1..=40 {
                transport.write(&pattern(number * 3001));
            }
            transport.lose_connection();
        })
    });
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let client_protocol = Script::new()
        .data(move |transport, data| {
            count.set(count.get() + 1);
            assert_eq!(data.len(), count.get() * 3001);
            assert!(data == pattern(data.len()));
            transport.pause_producing();
            let paused = transport.clone();
            (transport.reactor()).call_later(Duration::from_millis(1), move |_| {
                paused.resume_producing();
            });
        })
        .then_done(&countdown);
    connect(&reactor, client, client_protocol);
    run_clean(&reactor);
    assert_eq!(received.get(), 40);
}

#[test]
fn a_message_beyond_the_limit_ends_the_connection_undelivered() {
    let (reactor, log, countdown, name) = (reactor(), Log::default(), Countdown::new(2), name());
    let (mut server, client) = messages(&name);
    server.pipe.mode = PipeMode::Messages {
        received_max: 100_000,
    };
    let (server_log, server_countdown) = (log.clone(), countdown.clone());
    listen(&reactor, server, move || {
        let (log, lost) = (server_log.clone(), server_log.clone());
        let countdown = server_countdown.clone();
        Script::new()
            .data(move |_, data| log.add(data.len().to_string()))
            .lost(move |transport, reason| {
                lost.add(reason.to_string());
                countdown.hit(transport.reactor());
            })
    });
    let client_protocol = Script::new()
        .made(|transport| {
            transport.write(&pattern(100_000));
            transport.write(&pattern(100_001));
        })
        .lost(move |transport, _| countdown.hit(transport.reactor()));
    connect(&reactor, client, client_protocol);
    run_clean(&reactor);
    let told = log.take();
    assert_eq!(told[0], "100000");
    assert!(told[1].contains("more than 100000 bytes"), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn messages_are_not_expected_of_a_pipe_that_carries_bytes() {
    let (reactor, name) = (reactor(), name());
    let (_, client) = messages(&name);
    listen(&reactor, name, || Silent);
    expect_failure(&reactor, client, |reactor, error| {
        assert_eq!(kind(&error), ErrorKind::InvalidInput, "{error}");
        reactor.stop();
    });
    run_clean(&reactor);
}

/// Goal: a client that knows nothing of messages receives their bytes.
#[test]
fn messages_arrive_as_bytes_where_nobody_asked_for_them() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(1), name());
    let (server, _) = messages(&name);
    listen(&reactor, server, || {
        Script::new().made(|transport| {
            transport.write(&pattern(100_000));
            transport.lose_connection();
        })
    });
    let checker = Rc::new(Checker::default());
    let seen = Rc::clone(&checker);
    let client = Script::new()
        .data(move |_, data| seen.take(data))
        .then_done(&countdown);
    connect(&reactor, name, client);
    run_clean(&reactor);
    assert_eq!(checker.received.get(), 100_000);
}
