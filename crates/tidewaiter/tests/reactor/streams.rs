//! TCP connections: data both ways, half-closes, ends and their reasons.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::Transport;

use super::support::{
    Countdown, Echo, Log, Script, Silent, pair, pattern, reactor, run_clean, wait_until,
};
use crate::support::reasons::kind_of;

#[test]
fn an_echo_comes_back_whole_and_the_connection_ends_in_order() {
    for size in [1, 1000, 3_000_000] {
        let reactor = reactor();
        let log = Log::default();
        let message = pattern(size);
        let (sent, answer, made) = (message.clone(), RefCell::new(Vec::new()), log.clone());
        let client = Script::new()
            .made(move |transport| {
                made.add("made");
                transport.write(&sent);
            })
            .data(move |transport, data| {
                answer.borrow_mut().extend_from_slice(data);
                if answer.borrow().len() == message.len() {
                    assert!(*answer.borrow() == message);
                    transport.lose_connection();
                }
            })
            .then_noted(&log, "client", &Countdown::new(1));
        pair(&reactor, client, Echo);
        run_clean(&reactor);
        assert_eq!(log.take(), ["made", "client: done"]);
    }
}

/// Goal: ending one direction leaves the other one open, whichever side begins, and ending it twice is like
/// once.
#[test]
fn each_side_ends_its_writing_and_still_receives() {
    for server_first in [false, true] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
        let side = |name: &'static str, first: bool| {
            let (on_data, on_read, on_write) = (log.clone(), log.clone(), log.clone());
            Script::new()
                .made(move |transport| {
                    if first {
                        transport.write(b"first");
                        transport.lose_write_connection();
                        transport.lose_write_connection();
                        transport.write(b"never");
                    }
                })
                .data(move |_, data| {
                    on_data.add(format!("{name}: {}", String::from_utf8_lossy(data)));
                })
                .read_lost(move |transport| {
                    on_read.add(format!("{name}: read lost"));
                    assert!(transport.is_open());
                    transport.write(b"second");
                    transport.lose_write_connection();
                    transport.lose_write_connection();
                })
                .write_lost(move |_| on_write.add(format!("{name}: write lost")))
                .then_noted(&log, name, &countdown)
        };
        let _listener = pair(
            &reactor,
            side("client", !server_first),
            side("server", server_first),
        );
        run_clean(&reactor);
        let (a, b) = if server_first {
            ("server", "client")
        } else {
            ("client", "server")
        };
        let events = log.take();
        let of = |name: &str| -> Vec<String> {
            let own = events.iter().filter(|event| event.starts_with(name));
            own.map(|event| event[name.len() + 2..].to_owned())
                .collect()
        };
        assert_eq!(of(a), ["write lost", "second", "read lost", "done"]);
        assert_eq!(of(b), ["first", "read lost", "write lost", "done"]);
    }
}

#[test]
fn losing_a_connection_sends_what_was_written_first() {
    const SIZE: usize = 8 << 20;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            transport.write_bytes(pattern(SIZE));
            transport.lose_connection();
            transport.lose_connection();
            transport.write(b"too late");
            assert!(transport.is_open() && transport.queued() == SIZE);
        })
        .then_done(&countdown);
    let (received, whole) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
    let (gather, seen) = (Rc::clone(&received), Rc::clone(&whole));
    let server = Script::new()
        .data(move |_, data| gather.borrow_mut().extend_from_slice(data))
        .read_lost(move |transport| {
            seen.set(*received.borrow() == pattern(SIZE));
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert!(whole.get(), "every byte arrives, and nothing after it");
    assert_eq!(reactor.metrics().bytes_sent, SIZE as u64);
    assert_eq!(reactor.metrics().bytes_received, SIZE as u64);
}

#[test]
fn an_aborted_connection_is_a_reset_to_the_peer() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .data(|transport, _| {
            transport.write_bytes(vec![1; 1 << 20]);
            transport.abort_connection();
            transport.abort_connection();
            transport.lose_connection();
            assert!(!transport.is_open());
            transport.write(b"nowhere");
        })
        .then_noted(&log, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["client: reset", "server: aborted"]);
}

/// Goal: bytes still unsent when the peer resets are lost with `Reset`, although we were closing.
#[test]
fn a_reset_in_the_middle_of_a_message_is_no_orderly_end() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            transport.write_bytes(vec![7; 32 << 20]);
            transport.lose_connection();
        })
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .data(|transport, _| transport.abort_connection())
        .then_noted(&log, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["client: reset", "server: aborted"]);
}

#[test]
fn a_reset_of_a_connection_that_only_receives_is_reported() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let client = Script::new().then_noted(&log, "client", &countdown);
    let server = Script::new().made(|transport| {
        transport.write(b"half a mess");
        let later = transport.clone();
        let call = move |_: &tidewaiter::Reactor| later.abort_connection();
        transport
            .reactor()
            .call_later(Duration::from_millis(5), call);
    });
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["client: reset"]);
}

#[test]
fn a_connection_knows_its_addresses_and_takes_options() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let kept: Rc<RefCell<Option<Transport>>> = Rc::default();
    let (keep, addresses) = (Rc::clone(&kept), Rc::new(RefCell::new(Vec::new())));
    let (ours, theirs) = (Rc::clone(&addresses), Rc::clone(&addresses));
    let client = Script::new()
        .made(move |transport| {
            let both = (
                transport.local_addr().unwrap(),
                transport.peer_addr().unwrap(),
            );
            assert!(format!("{transport:?}").contains(&both.1.to_string()));
            ours.borrow_mut().push(both);
            for enabled in [true, false] {
                transport.set_no_delay(enabled).unwrap();
            }
            for idle in [Some(Duration::from_secs(60)), None] {
                transport.set_keep_alive(idle).unwrap();
            }
            keep.replace(Some(transport.clone()));
            transport.lose_connection();
            // Nothing was written, so it closes at once.
            let error = transport.local_addr().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        })
        .then_done(&countdown);
    let server = Script::new()
        .made(move |transport| {
            let both = (
                transport.peer_addr().unwrap(),
                transport.local_addr().unwrap(),
            );
            theirs.borrow_mut().push(both);
        })
        .then_done(&countdown);
    let listener = pair(&reactor, client, server);
    run_clean(&reactor);
    let addresses = addresses.take();
    assert_eq!(addresses.len(), 2);
    assert_eq!(addresses[0], addresses[1]);
    assert_eq!(addresses[0].1, listener.local_addr());
    let transport = kept.take().unwrap();
    for error in [
        transport.local_addr().unwrap_err(),
        transport.set_no_delay(true).unwrap_err(),
        transport.set_keep_alive(None).unwrap_err(),
    ] {
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    }
    // No call on a closed connection has an effect.
    transport.write(b"x");
    transport.pause_producing();
    transport.resume_producing();
    transport.abort_connection();
    assert_eq!((transport.queued(), transport.is_open()), (0, false));
    assert_eq!(transport.peer_addr(), Some(listener.local_addr()));
}

#[test]
fn many_small_writes_arrive_in_order() {
    const COUNT: u32 = 20_000;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            for number in 0..COUNT {
                // Copied and shared pieces alternate.
                if number % 3 == 0 {
                    transport.write_bytes(number.to_be_bytes().to_vec());
                } else {
                    transport.write(&number.to_be_bytes());
                }
                transport.write(b"");
                transport.write_bytes(Vec::new());
            }
            transport.lose_write_connection();
        })
        .then_done(&countdown);
    let received = Rc::new(RefCell::new(Vec::new()));
    let gather = Rc::clone(&received);
    let server = Script::new()
        .data(move |_, data| gather.borrow_mut().extend_from_slice(data))
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let expected: Vec<u8> = (0..COUNT).flat_map(u32::to_be_bytes).collect();
    assert!(*received.borrow() == expected);
}

/// Goal: a callback may do anything to other connections, and to the reactor.
#[test]
fn a_callback_closes_other_connections_listens_connects_and_stops() {
    let (reactor, log) = (reactor(), Log::default());
    let other: Rc<RefCell<Option<Transport>>> = Rc::default();
    let (keep, victim) = (Rc::clone(&other), Rc::clone(&other));
    let noted = log.clone();
    let bystander = Script::new()
        .made(move |transport| drop(keep.replace(Some(transport.clone()))))
        .lost(move |_, reason| noted.add(format!("bystander: {}", kind_of(&reason))));
    let _listener = pair(&reactor, bystander, Silent);
    let noted = log.clone();
    let actor = Script::new()
        .made(|transport| transport.write(b"go"))
        .data(move |transport, _| {
            let reactor = transport.reactor();
            let other = victim.take().expect("it was connected first");
            assert!(*transport != other);
            other.abort_connection();
            let noted = noted.clone();
            let newcomer = Script::new().data(move |transport, data| {
                noted.add(format!("newcomer: {}", String::from_utf8_lossy(data)));
                transport.reactor().stop();
            });
            pair(
                reactor,
                newcomer,
                Script::new().made(|t| t.write(b"welcome")),
            );
            transport.lose_connection();
        });
    // The bystander's connection exists by then, because connecting takes turns of the loop.
    let actor = Cell::new(Some(actor));
    let started = Rc::clone(&other);
    wait_until(
        &reactor,
        move |_| started.borrow().is_some(),
        move |reactor| {
            pair(reactor, actor.take().expect("once"), Echo);
        },
    );
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["bystander: aborted", "newcomer: welcome"]);
}

/// Goal: shared bytes, even empty ones, are dropped while the library borrows nothing, because their owner may
/// call the transport.
#[test]
fn the_owner_of_empty_shared_bytes_may_call_the_transport_when_dropped() {
    thread_local! {
        static TRANSPORT: RefCell<Option<Transport>> = const { RefCell::new(None) };
    }

    struct Last;

    impl AsRef<[u8]> for Last {
        fn as_ref(&self) -> &[u8] {
            &[]
        }
    }

    impl Drop for Last {
        fn drop(&mut self) {
            let transport = TRANSPORT.take().expect("dropped once");
            transport.write(b"the end");
            transport.lose_connection();
        }
    }

    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let client = Script::new().made(|transport| {
        TRANSPORT.set(Some(transport.clone()));
        transport.write_bytes(bytes::Bytes::from_owner(Last));
    });
    let server = Script::new().data(|_, data| assert_eq!(data, b"the end"));
    pair(
        &reactor,
        client.then_done(&countdown),
        server.then_done(&countdown),
    );
    run_clean(&reactor);
}
