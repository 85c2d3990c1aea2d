//! Connecting, and the ways in which it fails.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidewaiter::{
    Address, ConnectError, ConnectOptions, Factory, PipeName, Protocol, Reactor, Transport,
    UnixAddress,
};

use super::support::{
    Countdown, Echo, Log, Script, Silent, any_port, deserted_port, pair, reactor, run, run_clean,
};

/// Notes the outcome of a connect, and counts down.
struct Outcome {
    log: Log,
    countdown: Countdown,
    reactor: Reactor,
}

impl Outcome {
    fn new(reactor: &Reactor, log: &Log, countdown: &Countdown) -> Outcome {
        Outcome {
            log: log.clone(),
            countdown: countdown.clone(),
            reactor: reactor.clone(),
        }
    }
}

impl Factory for Outcome {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        self.log.add("connected");
        self.countdown.hit(&self.reactor);
        Some(Box::new(Silent))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        let message = error.to_string();
        assert!(!message.is_empty());
        // The message contains the cause once, and does not repeat what was attempted.
        assert!(message.matches("cannot").count() <= 1, "{message}");
        self.log.add(match error {
            ConnectError::Resolve { .. } => "not resolved".to_owned(),
            ConnectError::Refused { address, .. } => format!("refused by {address}"),
            ConnectError::Unreachable { address, .. } => format!("{address} unreachable"),
            ConnectError::TimedOut { source } => format!("timed out: {source}"),
            ConnectError::Cancelled => "cancelled".to_owned(),
            ConnectError::Stopped => "stopped".to_owned(),
            ConnectError::Os { address, source } => format!("{address}: {:?}", source.kind()),
            other => format!("something new: {other}"),
        });
        self.countdown.hit(&self.reactor);
    }
}

/// Connects, and returns the outcome as text.
#[track_caller]
fn connect(options: impl Into<ConnectOptions>) -> String {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let connector = reactor.connect_tcp(options, Outcome::new(&reactor, &log, &countdown));
    assert!(connector.is_connecting());
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    run_clean(&reactor);
    assert!(!connector.is_connecting());
    connector.cancel();
    log.take().join(", ")
}

/// An address of this machine at which nobody listens.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

#[test]
fn a_port_at_which_nobody_listens_refuses() {
    let address = deserted_port();
    assert_eq!(connect(address), format!("refused by {address}"));
}

#[test]
fn an_address_that_tcp_does_not_connect_to_is_named() {
    let path = UnixAddress::from_pathname("/run/app.sock").expect("a good path");
    assert_eq!(
        connect(Address::from(path)),
        "unix:/run/app.sock: InvalidInput"
    );
    let pipe = PipeName::local("app").expect("a good name");
    assert_eq!(connect(Address::from(pipe)), "pipe:app: InvalidInput");
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_without_a_route_is_unreachable() {
    if crate::SIMULATED {
        return;
    }
    // TCP has no route to the broadcast address, whatever the routing table.
    let address = SocketAddr::from(([255, 255, 255, 255], 80));
    assert_eq!(connect(address), format!("{address} unreachable"));
}

/// An address that does not answer: one that no machine has, or a listener whose backlog is full.
#[cfg(target_os = "linux")]
fn silent_address() -> (SocketAddr, impl Sized) {
    use std::net::TcpStream;
    if crate::SIMULATED {
        return (SocketAddr::from(([192, 0, 2, 1], 80)), None);
    }
    let listener = TcpListener::bind(any_port()).unwrap();
    rustix::net::listen(&listener, 0).expect("a backlog may be made smaller");
    let address = listener.local_addr().unwrap();
    let mut connected = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        connected.push(stream);
    }
    (address, Some((listener, connected)))
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_that_does_not_answer_times_out() {
    let (address, _full) = silent_address();
    let timeout = Duration::from_millis(200);
    let options = ConnectOptions::from(address).timeout(timeout);
    assert_eq!(connect(options), "timed out: no answer within 200ms");
}

#[cfg(target_os = "linux")]
#[test]
fn connecting_can_be_cancelled_while_under_way() {
    let (address, _full) = silent_address();
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let connector = reactor.connect_tcp(address, Outcome::new(&reactor, &log, &countdown));
    let seen = log.clone();
    reactor.call_later(Duration::from_millis(50), move |_| {
        assert!(connector.is_connecting());
        connector.cancel();
        connector.cancel();
        seen.add("asked");
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["asked", "cancelled"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_stop_ends_connecting() {
    let (address, _full) = silent_address();
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let connector = reactor.connect_tcp(address, Outcome::new(&reactor, &log, &countdown));
    reactor.call_later(Duration::from_millis(50), Reactor::stop);
    run_clean(&reactor);
    assert_eq!(log.take(), ["stopped"]);
    assert!(!connector.is_connecting());
}

#[test]
fn connecting_can_be_cancelled_before_it_begins_and_not_once_it_is_done() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let outcome = Outcome::new(&reactor, &log, &countdown);
    reactor.connect_tcp(deserted_port(), outcome).cancel();
    run_clean(&reactor);
    assert_eq!(log.take(), ["cancelled"]);
}

#[test]
fn a_failed_lookup_and_a_lookup_that_takes_too_long_are_reported() {
    if crate::SIMULATED {
        // The OS's resolver takes no simulated time, and the simulated clock does not wait for it.
        return;
    }
    // No resolver queries a server for a name that is too long.
    let name = "x".repeat(300);
    assert_eq!(connect((name.as_str(), 80)), "not resolved");
    let options = ConnectOptions::new("localhost", 80).timeout(Duration::ZERO);
    assert_eq!(connect(options), "timed out: no answer within 0ns");
}

/// A name server that does not answer for names that begin with "silent" until it is released, and knows no
/// other name.
#[derive(Clone, Default)]
struct NameServer(Arc<(Mutex<Answers>, Condvar)>);

#[derive(Default)]
struct Answers {
    silent: usize,
    let_go: bool,
}

impl NameServer {
    fn answer(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let (answers, changed) = &*self.0;
        let mut answers = answers.lock().unwrap();
        if host.starts_with("silent") {
            answers.silent += 1;
            changed.notify_all();
            answers = changed.wait_while(answers, |it| !it.let_go).unwrap();
        }
        drop(answers);
        Err(io::Error::new(io::ErrorKind::NotFound, "no such host"))
    }

    /// Waits until this many queries are waiting for an answer.
    fn await_silent(&self, count: usize) {
        let (answers, changed) = &*self.0;
        let answers = answers.lock().unwrap();
        let limit = Duration::from_secs(60);
        let asked = changed.wait_timeout_while(answers, limit, |it| it.silent < count);
        assert!(!asked.unwrap().1.timed_out(), "never asked so often");
    }

    fn let_go(&self) {
        let (answers, changed) = &*self.0;
        answers.lock().unwrap().let_go = true;
        changed.notify_all();
    }

    fn reactor(&self) -> Reactor {
        let server = self.clone();
        let resolver = move |host: &str, _: u16| server.answer(host);
        crate::open(Reactor::builder().signals(false).resolver(resolver))
    }
}

/// How many names a reactor looks up at a time.
const LOOKUPS_AT_ONCE: usize = 16;

/// Goal: lookups that nothing waits for any more delay neither other lookups nor the user's work nor a stop,
/// whether they had begun or not; those that had not never begin.
#[test]
fn lookups_of_cancelled_connects_delay_nothing() {
    if crate::SIMULATED {
        // Threads take no simulated time, and the clock does not wait for them.
        return;
    }
    let (server, log) = (NameServer::default(), Log::default());
    let reactor = server.reactor();
    let (cancelled, rest) = (Countdown::new(usize::MAX), Countdown::new(2));
    let connectors: Vec<_> = (0..3 * LOOKUPS_AT_ONCE)
        .map(|number| {
            let name = format!("silent{number}");
            let outcome = Outcome::new(&reactor, &Log::default(), &cancelled);
            reactor.connect_tcp((name.as_str(), 80), outcome)
        })
        .collect();
    server.await_silent(LOOKUPS_AT_ONCE);
    // Cancels the waiting lookups first, last to first, so that none of them takes the place of a running one.
    for connector in connectors.iter().rev() {
        connector.cancel();
    }
    // The user's work is done while every lookup thread is stuck.
    let noted = log.clone();
    reactor.defer_to_thread(
        || (),
        move |reactor, _| {
            noted.add("worked");
            rest.hit(reactor);
            let outcome = Outcome::new(reactor, &noted, &rest);
            reactor.connect_tcp(("unknown", 80), outcome);
        },
    );
    run_clean(&reactor);
    assert_eq!(log.take(), ["worked", "not resolved"]);
    assert_eq!(server.0.0.lock().unwrap().silent, LOOKUPS_AT_ONCE);
    server.let_go();
}

/// Goal: a lookup whose connect has timed out does not keep its thread from other lookups.
#[test]
fn lookups_of_timed_out_connects_free_their_threads() {
    if crate::SIMULATED {
        return;
    }
    let (server, log) = (NameServer::default(), Log::default());
    let (reactor, countdown) = (server.reactor(), Countdown::new(2 * LOOKUPS_AT_ONCE));
    for number in 0..2 * LOOKUPS_AT_ONCE {
        let options = ConnectOptions::new(format!("silent{number}"), 80);
        let after = Duration::from_millis(if number < LOOKUPS_AT_ONCE { 1 } else { 50 });
        let outcome = Outcome::new(&reactor, &log, &countdown);
        reactor.connect_tcp(options.timeout(after), outcome);
    }
    run_clean(&reactor);
    assert!(log.take().iter().all(|it| it.starts_with("timed out")));
    server.let_go();
}

/// Goal: the queue of lookups is bounded; a connect beyond it fails at once and names its host; a stop ends
/// them all.
#[test]
fn a_lookup_beyond_the_queue_is_refused_and_names_its_host() {
    if crate::SIMULATED {
        return;
    }
    struct Refused(Log);

    impl Factory for Refused {
        fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
            panic!("{peer} should not answer");
        }

        fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
            if !matches!(error, ConnectError::Stopped) {
                self.0.add(error.to_string());
                reactor.stop();
            }
        }
    }

    let (server, log) = (NameServer::default(), Log::default());
    let reactor = server.reactor();
    let connect = |name: &str| {
        reactor.connect_tcp((name, 80), Refused(log.clone()));
    };
    (0..LOOKUPS_AT_ONCE).for_each(|_| connect("silent"));
    server.await_silent(LOOKUPS_AT_ONCE);
    (0..16 * 1024).for_each(|_| connect("silent"));
    connect("one-too-many");
    run_clean(&reactor);
    let said = "cannot resolve \"one-too-many\": 16384 others wait for a thread already";
    assert_eq!(log.take(), [said]);
    server.let_go();
}

/// Goal: of a name's addresses, the one that answers is used, whichever family comes first.
#[test]
fn localhost_is_reached_over_either_family() {
    if crate::SIMULATED {
        return;
    }
    let mut reached = 0;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let (reactor, countdown) = (reactor(), Countdown::new(2));
        let server = Cell::new(Some(Script::new().then_done(&countdown)));
        let listening = reactor.listen_tcp(address, move |_: Address| {
            server.take().expect("one connection only")
        });
        // Some machines have no IPv6, or no IPv6 address for localhost.
        let known = ("localhost", 1)
            .to_socket_addrs()
            .expect("every machine has one");
        let known = known.into_iter().any(|known| known.ip() == address.ip());
        let (Ok(listener), true) = (listening, known) else {
            continue;
        };
        let closes = Script::new().made(Transport::lose_connection);
        let client = Cell::new(Some(closes.then_done(&countdown)));
        let listening = listener.local_addr().socket_addr().expect("an IP address");
        reactor.connect_tcp(("localhost", listening.port()), move |peer: Address| {
            let ip = peer.socket_addr().expect("an IP address");
            assert_eq!(ip.is_ipv4(), address.is_ipv4());
            client.take().expect("connected once")
        });
        run_clean(&reactor);
        reached += 1;
    }
    assert!(reached > 0);
}

#[test]
fn a_local_address_is_bound_before_connecting() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let local = closed_port();
    let server = Cell::new(Some(Script::new().then_done(&countdown)));
    let listener = reactor.listen_tcp(any_port(), move |peer: Address| {
        assert_eq!(peer, local.into());
        server.take().expect("one connection only")
    });
    let client = Script::new().made(move |transport| {
        assert_eq!(transport.local_addr().unwrap(), local.into());
        transport.lose_connection();
    });
    let client = Cell::new(Some(client.then_done(&countdown)));
    let options = ConnectOptions::from(listener.unwrap().local_addr()).local_address(local);
    reactor.connect_tcp(options, move |_: Address| client.take().expect("once"));
    run_clean(&reactor);
}

#[test]
fn a_local_address_that_is_not_ours_or_of_another_family_is_refused() {
    let target = deserted_port();
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    let options = ConnectOptions::from(target).local_address(foreign);
    assert_eq!(
        connect(options),
        format!("{target}: {:?}", io::ErrorKind::AddrNotAvailable)
    );
    let other: SocketAddr = "[::1]:0".parse().unwrap();
    let options = ConnectOptions::from(target).local_address(other);
    assert_eq!(connect(options), "not resolved");
}

#[test]
fn connecting_while_the_reactor_drains_fails_from_the_loop_and_later_not_at_all() {
    let (reactor, log) = (reactor(), Log::default());
    let noted = log.clone();
    let client = Script::new()
        .made(|transport| transport.reactor().stop())
        .lost(move |transport, _| {
            let reactor = transport.reactor();
            let outcome = Outcome::new(reactor, &noted, &Countdown::new(1));
            let connector = reactor.connect_tcp(any_port(), outcome);
            assert!(!connector.is_connecting());
            noted.add("asked");
        });
    pair(&reactor, client, Echo);
    run(&reactor);
    assert_eq!(log.take(), ["asked", "stopped"]);
    let outcome = Outcome::new(&reactor, &log, &Countdown::new(1));
    let connector = reactor.connect_tcp(any_port(), outcome);
    assert!(!connector.is_connecting() && log.take().is_empty());
    assert_eq!(reactor.metrics().panics, 0);
}
