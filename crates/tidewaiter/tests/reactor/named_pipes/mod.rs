//! Named pipes: servers with many instances, clients, bytes and messages.
//!
//! What peers document, the test of ours, and where ours differs:
//!
//! - tokio: a server must always have an instance, or clients find no pipe. Ours makes them by itself:
//!   `many_clients_at_once_are_all_served`.
//! - tokio: opening a busy pipe is an error, and the client tries again after a sleep. Ours waits:
//!   `waiting::clients_beyond_the_limit_wait_for_their_turn`. libuv waits on a thread for up to 30 s; ours waits on the port, within the
//!   connect's limit: `waiting::a_client_that_waits_for_an_instance_runs_out_of_time_or_is_cancelled`.
//! - tokio (`first_pipe_instance`, an option), libuv (`EADDRINUSE`): one server for a name, `a_name_has_one_server`.
//! - tokio: a limit of instances above 254 panics. Ours is an error: `options_without_a_meaning_are_refused`.
//! - tokio: a read may return a part of a message. Ours returns whole ones: `messages::each_message_arrives_whole_and_alone`. mio: a part
//!   of a message is no error; the same test.
//! - libuv: `uv_shutdown` of a pipe lets the peer read what was written, `ending_the_sending_side_ends_the_connection`.
//! - tokio: bytes that a client has not read when the server disconnects are lost, unless it flushes before. Ours closes
//!   without a disconnect, so they arrive: `the_last_bytes_before_a_close_arrive`.

mod messages;
mod tasks;
mod waiting;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidewaiter::port::ListenOptions;
use tidewaiter::{
    Address, ConnectError, ConnectOptions, Error, Factory, Listener, PipeName, Protocol, Reactor,
    Transport,
};

use super::promises::support::{
    Checker, Countdown, Echo, Log, Script, Silent, pattern, reactor, run_clean,
};

/// A name that no other test has.
fn name() -> PipeName {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    PipeName::local(format!("tidewaiter-{}-{number}", std::process::id())).expect("a good name")
}

fn listen<P: Protocol + 'static>(
    reactor: &Reactor,
    options: impl Into<ListenOptions>,
    mut make: impl FnMut() -> P + 'static,
) -> Listener {
    let listener = reactor.listen_pipe(options, move |_: Address| make());
    listener.expect("the name is free")
}

/// Makes one connection, which must not fail.
struct Connecting(Option<Box<dyn Protocol>>);

impl Factory for Connecting {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        self.0.take()
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        reactor.stop();
        panic!("{error}: {:?}", error.io_error());
    }
}

fn connect(
    reactor: &Reactor,
    options: impl Into<ConnectOptions>,
    protocol: impl Protocol + 'static,
) {
    reactor.connect_pipe(options, Connecting(Some(Box::new(protocol))));
}

type OnFailure = dyn Fn(&Reactor, ConnectError);

/// Tells why connecting failed.
struct Failing(Rc<OnFailure>);

impl Factory for Failing {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        panic!("connected, against expectation")
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        (self.0)(reactor, error);
    }
}

fn expect_failure(
    reactor: &Reactor,
    options: impl Into<ConnectOptions>,
    tell: impl Fn(&Reactor, ConnectError) + 'static,
) {
    reactor.connect_pipe(options, Failing(Rc::new(tell)));
}

fn kind(error: &ConnectError) -> ErrorKind {
    error.io_error().expect("an error of the OS").kind()
}

#[test]
fn an_echo_comes_back_whole_and_both_sides_know_the_name() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(1), name());
    let address = Address::from(name.clone());
    let listener = listen(&reactor, name.clone(), || Echo);
    assert_eq!(listener.local_addr(), address);
    let message = pattern(3_000_000);
    let (sent, answer) = (message.clone(), Checker::default());
    let client = Script::new()
        .made(move |transport| {
            assert_eq!(transport.peer_addr(), Some(address.clone()));
            if !crate::SIMULATED {
                let peer = transport.peer_credentials().expect("it is told");
                assert_eq!(peer.process, Some(std::process::id()));
            }
            assert_eq!(transport.local_addr().expect("it is open"), address);
            transport.write(&sent);
        })
        .data(move |transport, data| {
            answer.take(data);
            if answer.received.get() == message.len() {
                transport.lose_connection();
            }
        })
        .then_done(&countdown);
    connect(&reactor, name, client);
    run_clean(&reactor);
}

/// Goal: listening and connecting by an address of any kind reaches pipes.
#[test]
fn a_pipe_is_an_address_as_any_other() {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let address = Address::from(name());
    let listener = reactor.listen(address.clone(), |_: Address| Echo);
    assert_eq!(listener.expect("it is free").local_addr(), address);
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .data(|transport, _| transport.lose_connection())
        .then_done(&countdown);
    let client = Cell::new(Some(client));
    reactor.connect(address, move |_: Address| client.take().expect("once"));
    run_clean(&reactor);
}

#[test]
fn other_addresses_are_not_pipes() {
    let reactor = reactor();
    let other = Address::from(([127, 0, 0, 1], 0));
    let refused = reactor.listen_pipe(other.clone(), |_: Address| Silent);
    let Err(Error::Listen { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.kind(), ErrorKind::InvalidInput);
    expect_failure(&reactor, other, |reactor, error| {
        assert_eq!(kind(&error), ErrorKind::InvalidInput);
        reactor.stop();
    });
    run_clean(&reactor);
}

#[test]
fn a_pipe_of_another_machine_has_no_server_here() {
    let reactor = reactor();
    let remote = PipeName::new(r"\\host.invalid\pipe\app").expect("a good name");
    let refused = reactor.listen_pipe(remote.clone(), |_: Address| Silent);
    assert!(matches!(refused, Err(Error::Listen { .. })), "{refused:?}");
    expect_failure(&reactor, remote, |reactor, error| {
        assert!(error.io_error().is_some(), "{error}");
        reactor.stop();
    });
    run_clean(&reactor);
}

#[test]
fn a_pipe_without_a_server_is_not_found() {
    let reactor = reactor();
    expect_failure(&reactor, name(), |reactor, error| {
        assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
        reactor.stop();
    });
    run_clean(&reactor);
}

#[test]
fn a_name_has_one_server() {
    let (reactor, name) = (reactor(), name());
    let first = reactor.listen_pipe(name.clone(), Again(name.clone()));
    let first = first.expect("the name is free");
    let second = reactor.listen_pipe(name.clone(), |_: Address| Silent);
    let Err(Error::Listen { source, address }) = second else {
        panic!("{second:?}");
    };
    assert_eq!(source.kind(), ErrorKind::AddrInUse, "{source}");
    assert_eq!(address, name.clone().into());
    first.stop_listening();
    run_clean(&reactor);
}

/// Listens again once its listener is closed.
struct Again(PipeName);

impl Factory for Again {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        None
    }

    fn listener_closed(&mut self, listener: &Listener) {
        let reactor = listener.reactor().clone();
        let name = self.0.clone();
        let next = listen(&reactor, name, || Silent);
        next.stop_listening();
        reactor.stop();
    }
}

/// Goal: whatever the server does, its last bytes reach a client that reads on.
#[test]
fn the_last_bytes_before_a_close_arrive() {
    for size in [1, 100_000, 3_000_000] {
        let (reactor, countdown, name) = (reactor(), Countdown::new(2), name());
        let server_countdown = countdown.clone();
        listen(&reactor, name.clone(), move || {
            Script::new()
                .made(move |transport| {
                    transport.write(&pattern(size));
                    transport.lose_connection();
                })
                .then_done(&server_countdown)
        });
        let checker = Rc::new(Checker::default());
        let seen = Rc::clone(&checker);
        let client = Script::new()
            .data(move |_, data| seen.take(data))
            .then_done(&countdown);
        connect(&reactor, name, client);
        run_clean(&reactor);
        assert_eq!(checker.received.get(), size);
    }
}

/// Goal: pipes have no half-close, so ending the sending side ends the connection, after what was written.
#[test]
fn ending_the_sending_side_ends_the_connection() {
    let (reactor, log, countdown, name) = (reactor(), Log::default(), Countdown::new(2), name());
    let (server_log, server_countdown) = (log.clone(), countdown.clone());
    listen(&reactor, name.clone(), move || {
        let log = server_log.clone();
        Script::new()
            .data(move |_, data| log.add(String::from_utf8_lossy(data)))
            .then_done(&server_countdown)
    });
    let client = Script::new()
        .made(|transport| {
            transport.write(b"bye");
            transport.lose_write_connection();
        })
        .then_done(&countdown);
    connect(&reactor, name, client);
    run_clean(&reactor);
    assert_eq!(log.take(), ["bye"]);
}

#[test]
fn many_clients_at_once_are_all_served() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(crate::MANY), name());
    listen(&reactor, name.clone(), || Echo);
    for number in 0..crate::MANY {
        let text = number.to_string();
        let expected = text.clone();
        let client = Script::new()
            .made(move |transport| transport.write(text.as_bytes()))
            .data(move |transport, data| {
                assert_eq!(data, expected.as_bytes());
                transport.lose_connection();
            })
            .then_done(&countdown);
        connect(&reactor, name.clone(), client);
    }
    run_clean(&reactor);
}

#[test]
fn a_peer_that_never_reads_holds_the_writer_back_and_no_one_else() {
    let (reactor, name) = (reactor(), name());
    listen(&reactor, name.clone(), || {
        Script::new().made(Transport::pause_producing)
    });
    let client = Script::new().made(|transport| {
        transport.write(&vec![7; 8 << 20]);
        let stuck = transport.clone();
        (transport.reactor()).call_later(Duration::from_millis(50), move |reactor| {
            assert!(stuck.is_congested());
            assert!(stuck.queued() > 4 << 20, "{} are queued", stuck.queued());
            stuck.abort_connection();
            reactor.stop();
        });
    });
    connect(&reactor, name, client);
    run_clean(&reactor);
}

#[test]
fn a_client_that_vanishes_is_noticed_and_the_next_one_served() {
    let (reactor, countdown, name) = (reactor(), Countdown::new(3), name());
    let server_countdown = countdown.clone();
    listen(&reactor, name.clone(), move || {
        let countdown = server_countdown.clone();
        Script::new()
            .data(Transport::write)
            .lost(move |transport, _| countdown.hit(transport.reactor()))
    });
    connect(
        &reactor,
        name.clone(),
        Script::new().made(Transport::abort_connection),
    );
    let second = Script::new()
        .made(|transport| transport.write(b"hello"))
        .data(|transport, _| transport.lose_connection())
        .then_done(&countdown);
    connect(&reactor, name, second);
    run_clean(&reactor);
}

#[test]
fn options_without_a_meaning_are_refused() {
    let reactor = reactor();
    for limit in [0, 254] {
        let mut options = ListenOptions::new(name());
        options.pipe.connections_max = Some(limit);
        let refused = reactor.listen_pipe(options, |_: Address| Silent);
        let Err(Error::Listen { source, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(source.kind(), ErrorKind::InvalidInput, "{source}");
    }
}

#[test]
fn a_reactor_that_stops_lets_go_of_pipes_in_every_state() {
    let (reactor, name) = (reactor(), name());
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(1);
    listen(&reactor, options, || Silent);
    let waiting = name.clone();
    connect(&reactor, name.clone(), Silent);
    let second = Script::new().made(move |transport| {
        expect_failure(transport.reactor(), waiting.clone(), |_, error| {
            assert!(matches!(error, ConnectError::Stopped), "{error}");
        });
        (transport.reactor()).call_later(Duration::from_millis(20), Reactor::stop);
    });
    connect(&reactor, name, second);
    run_clean(&reactor);
}

/// Goal: dropping a reactor that never stopped leaves nothing behind: the name is free.
#[test]
fn a_dropped_reactor_frees_the_name() {
    let name = name();
    let first = reactor();
    listen(&first, name.clone(), || Silent);
    connect(&first, name.clone(), Silent);
    first.call_later(Duration::from_millis(20), Reactor::crash);
    first.run().expect("it runs");
    drop(first);
    let second = reactor();
    if !crate::SIMULATED {
        listen(&second, name.clone(), || Silent);
    }
    second.call_later(Duration::ZERO, Reactor::stop);
    run_clean(&second);
}
