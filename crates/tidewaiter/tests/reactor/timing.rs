//! Calls and timeouts that end with their connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewaiter::{ConnectionTimeout, Protocol, Reason, Transport};

use super::support::{Countdown, Echo, Log, Script, Silent, pair, reactor, run, run_clean};

const MOMENT: Duration = Duration::from_millis(5);

/// A protocol that delayed calls change.
struct Called {
    log: Log,
    calls: usize,
    done: Countdown,
}

impl Protocol for Called {
    fn connection_made(&mut self, transport: &Transport) {
        transport.call_later(MOMENT, |called: &mut Called, transport| {
            called.calls += 1;
            transport.call_later(MOMENT, |called: &mut Called, transport| {
                called.log.add(format!("call {}", called.calls + 1));
                transport.lose_connection();
            });
        });
        let cancelled = transport.call_later(MOMENT, |called: &mut Called, _| {
            called.log.add("although cancelled");
        });
        assert!(cancelled.cancel());
        transport.call_later(MOMENT, |_: &mut Silent, _| panic!("of another type"));
        let dropped = NotesDrop(self.log.clone());
        let late = Duration::from_secs(60);
        transport.call_later(late, move |_: &mut Called, _| drop(dropped));
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.log.add(format!("lost: {reason}"));
        let too_late = transport.call_later(Duration::ZERO, |_: &mut Called, _| {});
        assert!(!too_late.is_active());
        self.done.hit(transport.reactor());
    }
}

struct NotesDrop(Log);

impl Drop for NotesDrop {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

#[test]
fn a_delayed_call_gets_the_protocol_and_ends_with_the_connection() {
    let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
    let called = Called {
        log: log.clone(),
        calls: 0,
        done,
    };
    let _listener = pair(&reactor, called, Silent);
    run_clean(&reactor);
    assert_eq!(log.take(), ["call 2", "dropped", "lost: closed in order"]);
}

#[test]
fn a_panic_in_a_delayed_call_loses_the_connection() {
    let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
    let client = Script::new()
        .made(|transport| {
            transport.call_later(MOMENT, |_: &mut Script, _| panic!("as the test asks"));
        })
        .then_noted(&log, "client", &done);
    let _listener = pair(&reactor, client, Silent);
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
    assert_eq!(log.take(), ["client: panicked"]);
}

/// A reactor that is dropped drops the calls of its connections.
#[test]
fn a_dropped_reactor_drops_delayed_calls() {
    let (reactor, log) = (reactor(), Log::default());
    let dropped = NotesDrop(log.clone());
    let mut dropped = Some(dropped);
    let client = Script::new().made(move |transport| {
        let dropped = dropped.take();
        let late = Duration::from_secs(60);
        transport.call_later(late, move |_: &mut Script, _| drop(dropped));
        transport.set_idle_timeout(late);
        transport.reactor().crash();
    });
    let _listener = pair(&reactor, client, Silent);
    run(&reactor);
    drop(reactor);
    assert_eq!(log.take(), ["dropped"]);
}

/// Expects a timeout, not earlier than it is due.
struct Expects {
    timeout: ConnectionTimeout,
    /// A time just before the latest activity.
    since: Rc<Cell<Option<Instant>>>,
    /// How many timeouts are answered by a message.
    pings: usize,
    /// Whether the connection is paused at first, for longer than the period.
    paused: bool,
    log: Log,
    done: Countdown,
}

impl Expects {
    fn new(timeout: ConnectionTimeout, log: &Log, done: Countdown) -> Expects {
        Expects {
            timeout,
            since: Rc::default(),
            pings: 0,
            paused: false,
            log: log.clone(),
            done,
        }
    }

    fn period(&self) -> Duration {
        match self.timeout {
            ConnectionTimeout::Idle(period) | ConnectionTimeout::Read(period) => period,
            other => panic!("a new timeout: {other}"),
        }
    }
}

impl Protocol for Expects {
    fn connection_made(&mut self, transport: &Transport) {
        self.since.set(Some(transport.reactor().now()));
        match self.timeout {
            ConnectionTimeout::Read(period) => transport.set_read_timeout(period),
            _ => transport.set_idle_timeout(self.period()),
        }
        if self.paused {
            let pause = transport.pause();
            transport.call_later(self.period() * 3, |expects: &mut Expects, transport| {
                expects.since.set(Some(transport.reactor().now()));
                expects.log.add("resumed");
                drop(pause);
            });
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.log.add(String::from_utf8_lossy(data));
    }

    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        assert_eq!(timeout, self.timeout);
        let now = transport.reactor().now();
        let passed = self.since.get().map(|since| now - since);
        assert!(passed >= Some(self.period()), "{passed:?} of silence");
        self.log.add("timed out");
        self.since.set(Some(now));
        match self.pings.checked_sub(1) {
            Some(left) => {
                self.pings = left;
                transport.write(b"ping");
            }
            None => transport.abort_connection(),
        }
    }

    fn connection_lost(&mut self, transport: &Transport, _: Reason) {
        self.done.hit(transport.reactor());
    }
}

#[test]
fn a_silent_peer_is_told_of_and_then_lost() {
    // Longer than a busy machine needs for the answer to a ping.
    let period = Duration::from_millis(500);
    for timeout in [
        ConnectionTimeout::Idle(period),
        ConnectionTimeout::Read(period),
    ] {
        let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
        let server = Expects {
            pings: 1,
            ..Expects::new(timeout, &log, done)
        };
        // Answers the ping.
        let since = Rc::clone(&server.since);
        let client = Script::new().data(move |transport, _| {
            since.set(Some(transport.reactor().now()));
            transport.write(b"pong");
        });
        let _listener = pair(&reactor, client, server);
        run_clean(&reactor);
        assert_eq!(log.take(), ["timed out", "pong", "timed out"]);
    }
}

/// Goal: while the program itself pauses the connection, the silence is not the peer's.
#[test]
fn a_read_timeout_begins_anew_after_a_pause() {
    let period = Duration::from_millis(30);
    let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
    let server = Expects {
        paused: true,
        ..Expects::new(ConnectionTimeout::Read(period), &log, done)
    };
    let _listener = pair(&reactor, Silent, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["resumed", "timed out"]);
}

/// Goal: the default ends a connection that waits for a peer which does not read, and says why.
#[test]
fn an_idle_timeout_ends_a_close_that_waits_for_a_deaf_peer() {
    let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
    let server_ended = log.clone();
    let server = Script::new()
        .made(|transport| {
            transport.set_idle_timeout(Duration::from_millis(30));
            transport.write_bytes(vec![0; 16 << 20]);
            transport.lose_connection();
        })
        .lost(move |transport, reason| {
            assert!(matches!(reason, Reason::TimedOut(_)), "{reason}");
            assert!(transport.unsent() > 0);
            server_ended.add(reason.to_string());
            done.hit(transport.reactor());
        });
    // On Windows, a connection that is paused does not notice an end in order.
    let client = Script::new().made(Transport::pause_producing);
    let _listener = pair(&reactor, client, server);
    run_clean(&reactor);
    let message = "timed out: nothing was received or sent for 30ms";
    assert_eq!(log.take(), [message]);
}

/// Timeouts that are taken back do not come, and a later one replaces an earlier one.
#[test]
fn a_timeout_can_be_taken_back_and_replaced() {
    let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
    let client_log = log.clone();
    let client = Script::new()
        .made(|transport| {
            transport.set_read_timeout(Duration::from_millis(10));
            transport.set_read_timeout(None);
            transport.set_idle_timeout(Duration::from_millis(10));
            transport.set_idle_timeout(Duration::from_secs(3600));
            transport.call_later(Duration::from_millis(30), |_: &mut Script, transport| {
                transport.write(b"still here");
            });
        })
        .data(move |transport, data| {
            client_log.add(String::from_utf8_lossy(data));
            transport.set_idle_timeout(Duration::from_millis(10));
        })
        .then_noted(&log, "client", &done);
    let _listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
    assert_eq!(log.take(), ["still here", "client: timed out"]);
}
