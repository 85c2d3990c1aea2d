//! Pauses: nothing is called during one, and nothing is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{Pause, ProducerKind, Transport};

use super::support::{
    Checker, Countdown, HIGH_WATER, Log, RECEIVE, Script, pair, pattern, reactor, run_clean,
    wait_until,
};

/// Goal: no call after a pause; data that arrived meanwhile is delivered in order, then the end.
#[test]
fn a_paused_connection_is_not_called_and_misses_nothing() {
    const SIZE: usize = 300_000;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            transport.write(&pattern(SIZE));
            transport.lose_connection();
        })
        .then_done(&countdown);
    let paused = Rc::new(Cell::new(false));
    let checker = Rc::new(Checker::default());
    let (on_data, on_end) = (Rc::clone(&paused), Rc::clone(&paused));
    let (check, checked) = (Rc::clone(&checker), Rc::clone(&checker));
    let ended = log.clone();
    let server = Script::new()
        .data(move |transport, data| {
            assert!(!on_data.get(), "no data after a pause");
            check.take(data);
            on_data.set(true);
            transport.pause_producing();
            let (again, flag) = (transport.clone(), Rc::clone(&on_data));
            transport
                .reactor()
                .call_later(Duration::from_millis(2), move |_| {
                    flag.set(false);
                    again.resume_producing();
                    // A resume followed at once by a pause still pauses.
                    again.pause_producing();
                    again.resume_producing();
                });
        })
        .read_lost(move |transport| {
            assert!(!on_end.get(), "no end after a pause");
            assert_eq!(checked.received.get(), SIZE);
            ended.add("end");
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(
        (checker.received.get(), log.take()),
        (SIZE, vec!["end".to_owned()])
    );
}

#[test]
fn a_connection_paused_before_anything_arrives_holds_the_end_back() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(Transport::lose_write_connection)
        .then_done(&countdown);
    let (resumed, ended) = (log.clone(), log.clone());
    let server = Script::new()
        .made(move |transport| {
            transport.pause_producing();
            let (again, resumed) = (transport.clone(), resumed.clone());
            transport
                .reactor()
                .call_later(Duration::from_millis(50), move |_| {
                    resumed.add("resumed");
                    again.resume_producing();
                });
        })
        .read_lost(move |transport| {
            ended.add("end");
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["resumed", "end"]);
}

/// Goal: an echo to a peer that does not read holds no more than the water mark and one receive; then all of it
/// arrives.
#[test]
fn an_echo_that_pauses_while_congested_holds_little_and_loses_nothing() {
    let size = crate::MUCH;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let checker = Rc::new(Checker::default());
    let check = Rc::clone(&checker);
    let client = Script::new()
        .made(move |transport| {
            transport.write_bytes(pattern(size));
            transport.lose_write_connection();
            transport.pause_producing();
            let later = transport.clone();
            transport
                .reactor()
                .call_later(Duration::from_millis(100), move |_| {
                    later.resume_producing();
                });
        })
        .data(move |_, data| check.take(data))
        .then_done(&countdown);
    let most = Rc::new(Cell::new(0));
    let seen = Rc::clone(&most);
    let echo = Script::new()
        .made(Transport::pause_while_congested)
        .data(move |transport, data| {
            assert!(!transport.is_congested(), "nothing is received meanwhile");
            transport.write(data);
            seen.set(seen.get().max(transport.queued()));
        })
        .then_done(&countdown);
    pair(&reactor, client, echo);
    run_clean(&reactor);
    assert_eq!(checker.received.get(), size);
    assert!(most.get() <= HIGH_WATER + RECEIVE, "{}", most.get());
}

/// Goal: a pause and congestion both stop receiving, and the end of one does not end the other.
#[test]
fn a_pause_and_a_congestion_do_not_end_each_other() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let server_paused = Rc::new(Cell::new(false));
    let pauses = Rc::clone(&server_paused);
    let client = Script::new()
        .made(move |transport| {
            transport.pause_producing();
            transport.write(b"question");
            let (later, server_paused) = (transport.clone(), Rc::clone(&server_paused));
            wait_until(
                transport.reactor(),
                move |_| server_paused.get(),
                move |_| later.resume_producing(),
            );
        })
        .then_done(&countdown);
    let (noted, received) = (log.clone(), log.clone());
    let server = Script::new()
        .made(move |transport| {
            transport.pause_while_congested();
            transport.write_bytes(vec![0; 16 << 20]);
            assert!(transport.is_congested());
            transport.pause_producing();
            transport.resume_producing();
            let (paused, resumed) = (transport.clone(), transport.clone());
            let (reactor, pauses) = (transport.reactor(), Rc::clone(&pauses));
            reactor.call_later(Duration::from_millis(20), move |_| {
                assert!(paused.is_congested(), "the peer does not read yet");
                paused.pause_producing();
                pauses.set(true);
            });
            resume_when_relieved(resumed, noted.clone());
        })
        .data(move |transport, data| {
            received.add(String::from_utf8_lossy(data));
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["resumed", "question"]);
}

/// Resumes a while after the congestion has ended.
fn resume_when_relieved(transport: Transport, log: Log) {
    let reactor = transport.reactor().clone();
    reactor.call_later(Duration::from_millis(20), move |_| {
        if transport.is_congested() {
            resume_when_relieved(transport, log);
        } else {
            log.add("resumed");
            transport.resume_producing();
        }
    });
}

/// Goal: each owner's pause holds whatever the others do, and data follows the end of the last one.
#[test]
fn the_pauses_of_several_owners_do_not_end_each_other() {
    for application_last in [false, true] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
        let client = Script::new()
            .made(|transport| {
                transport.write(b"data");
                transport.lose_write_connection();
            })
            .then_done(&countdown);
        let (steps, received) = (log.clone(), log.clone());
        let server = Script::new()
            .made(move |transport| {
                let mut pauses = vec![transport.pause(), transport.pause()];
                transport.pause_producing();
                transport.pause_producing();
                if !application_last {
                    transport.resume_producing();
                    transport.resume_producing();
                    pauses.push(transport.pause());
                }
                end_one_by_one(transport.clone(), pauses, steps.clone());
            })
            .data(move |_, data| received.add(String::from_utf8_lossy(data)))
            .then_done(&countdown);
        pair(&reactor, client, server);
        run_clean(&reactor);
        match application_last {
            false => assert_eq!(log.take(), ["step", "step", "step", "data"]),
            true => assert_eq!(log.take(), ["step", "step", "data"]),
        }
    }
}

/// Ends a pause every few milliseconds, and the application's last, if there is one.
fn end_one_by_one(transport: Transport, mut pauses: Vec<Pause>, log: Log) {
    let reactor = transport.reactor().clone();
    reactor.call_later(Duration::from_millis(5), move |_| match pauses.pop() {
        Some(pause) => {
            log.add("step");
            drop(pause);
            end_one_by_one(transport, pauses, log);
        }
        None => transport.resume_producing(),
    });
}

/// Goal: a source that is the producer of a congested transport stays paused for it, although the application resumes it;
/// and the end of the registration ends that pause, but not the application's.
#[test]
fn a_source_is_paused_by_its_destination_apart_from_the_application() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let ends = Log::default();
    // On Windows, a connection that is paused does not notice an end in order.
    let client = Script::new().made(|transport| {
        transport.pause_producing();
        transport.write(b"question");
    });
    let (steps, received) = (log.clone(), log.clone());
    let server = Script::new()
        .made(move |transport| {
            transport.register_producer(transport.clone(), ProducerKind::Push);
            transport.write_bytes(vec![0; 16 << 20]);
            assert!(transport.is_congested(), "the peer does not read");
            let (server, steps) = (transport.clone(), steps.clone());
            let reactor = transport.reactor();
            reactor.call_later(Duration::from_millis(20), move |reactor| {
                server.pause_producing();
                server.resume_producing();
                steps.add("application resumed");
                server.pause_producing();
                reactor.call_later(Duration::from_millis(20), move |reactor| {
                    steps.add("unregistered");
                    server.unregister_producer();
                    reactor.call_later(Duration::from_millis(20), move |_| {
                        steps.add("application resumed");
                        server.resume_producing();
                    });
                });
            });
        })
        .data(move |transport, data| {
            received.add(String::from_utf8_lossy(data));
            transport.abort_connection();
        })
        .then_noted(&ends, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let resumed = "application resumed";
    assert_eq!(log.take(), [resumed, "unregistered", resumed, "question"]);
}
