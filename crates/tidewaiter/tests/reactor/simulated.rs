//! Tests that only a simulation allows: faults on demand, and a simulated clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::sim::{Call, Faults, Sim};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{
    Address, ConnectError, ConnectOptions, Error, Factory, Listener, Producer, ProducerKind,
    Protocol, Reactor, Transport,
};

use crate::KILLED;
use crate::promises::processes::Watch;
use crate::promises::support::{
    Countdown, Echo, Log, Script, Silent, any_port, pair, pattern, run, run_clean,
};
use crate::support::messages;
use crate::support::roles::Role;
use crate::support::sim_child::{child, register};

fn world(faults: Faults) -> (Sim, Reactor) {
    let patience = Duration::from_secs(10);
    let sim = Sim::builder(3).patience(patience).faults(faults).build();
    register(&sim);
    let reactor = Reactor::builder().simulation(&sim).build().unwrap();
    (sim, reactor)
}

/// Notes why connecting failed, and stops.
struct Failed(Log);

impl Factory for Failed {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        panic!("{peer} should not answer");
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        self.0.add(error.to_string());
        reactor.stop();
    }
}

#[test]
fn a_port_that_is_not_permitted_is_named() {
    let (sim, reactor) = world(Faults::default());
    sim.fail_next(Call::Listen, io::ErrorKind::PermissionDenied);
    let error = reactor
        .listen_tcp(any_port(), |_: Address| Silent)
        .unwrap_err();
    let kind = io::ErrorKind::PermissionDenied;
    assert!(matches!(error, Error::Listen { source, .. } if source.kind() == kind));
}

#[test]
fn each_way_in_which_connecting_fails_has_its_own_error() {
    for (kind, text) in [
        (io::ErrorKind::ConnectionRefused, "refused"),
        (io::ErrorKind::HostUnreachable, "unreachable"),
        (io::ErrorKind::NetworkUnreachable, "unreachable"),
        (io::ErrorKind::TimedOut, "no connection"),
        (io::ErrorKind::OutOfMemory, "cannot connect"),
    ] {
        for call in [Call::Connect, Call::OpenStream] {
            let (sim, reactor) = world(Faults::default());
            let listener = reactor.listen_tcp(any_port(), |_: Address| Silent).unwrap();
            sim.fail_next(call, kind);
            let log = Log::default();
            reactor.connect_tcp(listener.local_addr(), Failed(log.clone()));
            run_clean(&reactor);
            let events = log.take();
            assert!(events.len() == 1 && events[0].contains(text), "{events:?}");
        }
    }
}

#[test]
fn an_address_that_does_not_answer_takes_the_whole_timeout() {
    let (sim, reactor) = world(Faults::default());
    let log = Log::default();
    let options = ConnectOptions::new("192.0.2.1", 80).timeout(Duration::from_secs(7));
    reactor.connect_tcp(options, Failed(log.clone()));
    run_clean(&reactor);
    assert_eq!(log.take(), ["no connection: no answer within 7s"]);
    assert_eq!(sim.elapsed(), Duration::from_secs(7));
}

/// Goal: failed accepts lead to longer and longer pauses, up to a second, until the first success.
#[test]
fn accepting_recovers_from_failures_and_waits_longer_each_time() {
    let (sim, reactor) = world(Faults::default());
    for _ in 0..6 {
        sim.fail_next(Call::Accept, io::ErrorKind::QuotaExceeded);
    }
    let client = Script::new().made(|transport| transport.write(b"x"));
    let client = client.data(|transport, _| transport.reactor().stop());
    pair(&reactor, client, Echo);
    run_clean(&reactor);
    assert_eq!(reactor.metrics().accepted, 1);
    // 50, 100, 200, 400 and 800 ms, and then a second.
    assert_eq!(sim.elapsed(), Duration::from_millis(2550));
}

/// Stops when a connection is accepted; counts failures, and pauses and resumes in each.
struct Impatient(Rc<Cell<u32>>);

impl Factory for Impatient {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let accepted = Script::new().made(|transport| transport.reactor().stop());
        Some(Box::new(accepted))
    }

    fn accept_failed(&mut self, listener: &Listener, _: &io::Error) {
        self.0.set(self.0.get() + 1);
        pause_and_resume(listener);
    }
}

fn pause_and_resume(listener: &Listener) {
    listener.pause_accepting();
    listener.resume_accepting();
}

/// Pauses and resumes every few milliseconds, without end.
fn keep_pausing(listener: Listener) {
    let reactor = listener.reactor().clone();
    reactor.call_later(Duration::from_millis(3), move |_| {
        pause_and_resume(&listener);
        keep_pausing(listener);
    });
}

/// Goal: however the program pauses and resumes, there is one next attempt, and it is made when it is due.
#[test]
fn pauses_and_resumptions_make_no_attempt_to_accept_earlier_or_more_often() {
    let (sim, reactor) = world(Faults::default());
    for _ in 0..6 {
        sim.fail_next(Call::Accept, io::ErrorKind::QuotaExceeded);
    }
    let failures = Rc::new(Cell::new(0));
    let listener = reactor.listen_tcp(any_port(), Impatient(Rc::clone(&failures)));
    let listener = listener.unwrap();
    reactor.connect_tcp(listener.local_addr(), |_: Address| Silent);
    keep_pausing(listener);
    run_clean(&reactor);
    assert_eq!((failures.get(), reactor.metrics().accepted), (6, 1));
    assert_eq!(sim.elapsed(), Duration::from_millis(2550));
}

/// Goal: a listener that is closed cancels its next attempt.
#[test]
fn a_listener_that_is_closed_after_a_failure_leaves_no_call_behind() {
    struct Close;
    impl Factory for Close {
        fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
            panic!("nobody is accepted");
        }
        fn accept_failed(&mut self, listener: &Listener, _: &io::Error) {
            listener.stop_listening();
        }
        fn listener_closed(&mut self, listener: &Listener) {
            assert!(listener.reactor().delayed_calls().is_empty());
            listener.reactor().stop();
        }
    }
    let (sim, reactor) = world(Faults::default());
    sim.fail_next(Call::Accept, io::ErrorKind::QuotaExceeded);
    let listener = reactor.listen_tcp(any_port(), Close).unwrap();
    // Without a timeout, which would be a delayed call as well.
    let options = ConnectOptions::from(listener.local_addr()).timeout(None);
    reactor.connect_tcp(options, |_: Address| Silent);
    run_clean(&reactor);
}

#[test]
fn a_spawn_that_is_refused_leaves_nothing_and_a_stop_no_process() {
    let (sim, reactor) = world(Faults::default());
    sim.fail_next(Call::Spawn, io::ErrorKind::QuotaExceeded);
    let (log, countdown) = (Log::default(), Countdown::new(1));
    let refused = reactor.spawn_process(&child(Role::Deaf), Watch::new(&log, &countdown));
    assert_eq!(
        refused.unwrap_err().source.kind(),
        io::ErrorKind::QuotaExceeded
    );
    assert_eq!((sim.running_processes(), reactor.metrics().live), (0, 0));
    let watch = Watch::new(&log, &countdown).made(|process| process.reactor().stop());
    reactor
        .spawn_process(&child(Role::KeepDeaf), watch)
        .unwrap();
    run_clean(&reactor);
    assert_eq!(sim.running_processes(), 0, "neither child nor grandchild");
}

/// Goal: a child whose end cannot be awaited does not go on unseen: it is killed, and its end is told.
#[test]
fn a_child_that_cannot_be_awaited_is_killed_and_its_end_is_told() {
    messages::keep();
    for failures in 1..=2 {
        let (sim, reactor) = world(Faults::default());
        for _ in 0..failures {
            sim.fail_next(Call::Exit, io::ErrorKind::OutOfMemory);
        }
        let (log, countdown) = (Log::default(), Countdown::new(1));
        let watch = Watch::new(&log, &countdown).left();
        let process = reactor
            .spawn_process(&child(Role::KeepDeaf), watch)
            .unwrap();
        run_clean(&reactor);
        assert_eq!(sim.running_processes(), 0, "neither child nor grandchild");
        let status = match failures {
            1 => KILLED,
            _ => ExitStatus::Unknown,
        };
        assert_eq!(process.status(), Some(status));
        assert_eq!(log.take().last().unwrap(), &format!("ended: {status}"));
        let name = format!("ERROR: child {} (\"player\"): wait: ", process.pid());
        let messages = messages::take().into_iter();
        assert_eq!(
            messages.filter(|text| text.starts_with(&name)).count(),
            failures
        );
    }
}

#[test]
fn a_dropped_reactor_leaves_no_simulated_process_but_detached_ones() {
    let (sim, reactor) = world(Faults::default());
    let (log, countdown) = (Log::default(), Countdown::new(1));
    for _ in 0..3 {
        let watch = Watch::new(&log, &countdown);
        reactor
            .spawn_process(&child(Role::KeepDeaf), watch)
            .unwrap();
    }
    let watch = Watch::new(&log, &countdown);
    let detached = reactor.spawn_process(&child(Role::Deaf), watch).unwrap();
    detached.detach();
    reactor.iterate(Duration::ZERO).unwrap();
    drop(reactor);
    assert_eq!(sim.running_processes(), 1);
}

#[test]
fn a_kill_reaches_the_children_of_a_child_that_has_ended() {
    let (sim, reactor) = world(Faults::default());
    let (log, countdown) = (Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).made(|process| {
        let only = process.clone();
        // By then, its own child runs.
        let later = Duration::from_millis(1);
        process.reactor().call_later(later, move |reactor| {
            only.signal(Signal::Kill, SignalTarget::Process).unwrap();
            reactor.call_later(later, move |_| {
                assert!(only.status().is_some());
                only.kill().unwrap();
                assert!(only.kill().is_err(), "no process is left");
            });
        });
    });
    let keeper = reactor.spawn_process(&child(Role::KeepDeaf), watch);
    keeper.unwrap();
    run_clean(&reactor);
    assert_eq!(sim.running_processes(), 0);
}

/// Goal: in any network that does not break connections, every byte arrives once and in order.
#[test]
fn bumpy_weather_changes_nothing_but_the_time() {
    let (_, reactor) = world(Faults::bumpy());
    let countdown = Countdown::new(20);
    let served = Rc::new(Cell::new(0));
    let seen = Rc::clone(&served);
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        seen.set(seen.get() + 1);
        Echo
    });
    let address = listener.unwrap().local_addr();
    for size in 1..=20_usize {
        let (size, done) = (size * 997, countdown.clone());
        let mut answer = Vec::new();
        let client = Script::new()
            .made(move |transport| {
                transport.write(&pattern(size));
                transport.lose_write_connection();
            })
            .data(move |transport, data| {
                answer.extend_from_slice(data);
                if answer.len() >= size {
                    assert!(answer == pattern(size));
                    transport.lose_connection();
                }
            })
            .then_done(&done);
        let client = Cell::new(Some(client));
        reactor.connect_tcp(address.clone(), move |_: Address| client.take().unwrap());
    }
    run_clean(&reactor);
    assert_eq!(served.get(), 20);
}

/// Goal: whatever breaks, each connection and child ends once, and a stop leaves nothing.
#[test]
fn stormy_weather_leaves_nothing_behind() {
    let (sim, reactor) = world(Faults::stormy());
    let listener = reactor.listen_tcp(any_port(), |_: Address| Echo).unwrap();
    let address = listener.local_addr();
    let (made, lost) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    for _ in 0..50 {
        let (made, lost) = (Rc::clone(&made), Rc::clone(&lost));
        reactor.connect_tcp(address.clone(), move |_: Address| {
            let (made, lost) = (Rc::clone(&made), Rc::clone(&lost));
            Script::new()
                .made(move |transport| {
                    made.set(made.get() + 1);
                    transport.write(&pattern(5000));
                })
                .lost(move |_, _| lost.set(lost.get() + 1))
        });
        let (log, countdown) = (Log::default(), Countdown::new(usize::MAX));
        let watch = Watch::new(&log, &countdown).made(|process| process.write(b"hello"));
        let _ = reactor.spawn_process(&child(Role::Echo), watch);
    }
    reactor.call_later(Duration::from_secs(2), Reactor::stop);
    run(&reactor);
    assert!(made.get() > 10);
    assert_eq!(made.get(), lost.get());
    let metrics = reactor.metrics();
    assert_eq!((metrics.live, metrics.in_flight, metrics.panics), (0, 0, 0));
    assert_eq!(sim.running_processes(), 0);
}

/// Returns when each of these delayed calls is made, in microseconds, and how many turns that takes.
fn made_at(slack: Option<Duration>, delays: &[u64]) -> (Vec<u128>, u64) {
    let sim = Sim::new(3);
    let builder = Reactor::builder().simulation(&sim);
    let builder = match slack {
        Some(slack) => builder.timer_slack(slack),
        None => builder,
    };
    let (reactor, start) = (builder.build().unwrap(), sim.now());
    let (times, left) = (
        Rc::new(RefCell::new(Vec::new())),
        Rc::new(Cell::new(delays.len())),
    );
    for &delay in delays {
        let (times, left) = (Rc::clone(&times), Rc::clone(&left));
        reactor.call_later(Duration::from_micros(delay), move |reactor| {
            times.borrow_mut().push((reactor.now() - start).as_micros());
            left.set(left.get() - 1);
            if left.get() == 0 {
                reactor.crash();
            }
        });
    }
    reactor.run().unwrap();
    let times = times.take();
    (times, reactor.metrics().turns)
}

/// Goal: calls due within the slack of the first are made in one turn, none of them early; a call that is due
/// alone is on time; a simulation has no slack by default.
#[test]
fn timer_slack_puts_delayed_calls_together_and_leaves_single_ones_alone() {
    let delays = [1000, 1050, 1100, 1101, 9000];
    let slack = Some(Duration::from_micros(100));
    let (together, turns) = made_at(slack, &delays);
    assert_eq!(together, [1100, 1100, 1100, 1101, 9000]);
    let (exact, more_turns) = made_at(None, &delays);
    assert_eq!(exact, delays.map(u128::from));
    assert_eq!(more_turns, turns + 2);
}

/// Runs a server that answers and ends, and a client that does not end its side by itself. Returns how many
/// connections lingered at each of `looks`.
fn lingering_after(client: Script, looks: &[Duration]) -> Vec<usize> {
    let (_, reactor) = world(Faults::default());
    let (log, countdown) = (Log::default(), Countdown::new(1));
    let counts = Rc::new(RefCell::new(Vec::new()));
    let (counted, looks) = (Rc::clone(&counts), looks.to_vec());
    let server = Script::new()
        .data(|transport, _| {
            transport.write(b"answer");
            transport.lose_connection();
        })
        .lost(move |transport, reason| {
            assert!(reason.is_done(), "{reason}");
            let last = looks.len() - 1;
            for (number, look) in looks.iter().enumerate() {
                let counted = Rc::clone(&counted);
                transport.reactor().call_later(*look, move |reactor| {
                    let living = reactor.metrics().living;
                    counted.borrow_mut().push(living.lingering);
                    if number == last {
                        reactor.stop();
                    }
                });
            }
        });
    let client = client.then_noted(&log, "client", &countdown);
    pair(&reactor, client, server);
    run(&reactor);
    assert_eq!(reactor.metrics().live, 0);
    counts.take()
}

fn milliseconds(looks: [u64; 2]) -> [Duration; 2] {
    looks.map(Duration::from_millis)
}

#[test]
fn a_connection_does_not_linger_for_a_silent_peer() {
    let silent = Script::new()
        .made(|transport| transport.write(b"question"))
        .read_lost(|_| ());
    let looks = milliseconds([1990, 2010]);
    assert_eq!(lingering_after(silent, &looks), [1, 0]);
}

#[test]
fn a_connection_does_not_linger_for_ever_for_a_peer_that_sends_a_little_now_and_then() {
    fn send(transport: &Transport) {
        transport.write(b"more");
        let again = transport.clone();
        let call = move |_: &Reactor| send(&again);
        transport
            .reactor()
            .call_later(Duration::from_millis(300), call);
    }
    let trickling = Script::new().made(send).read_lost(|_| ());
    let looks = milliseconds([9990, 10_010]);
    assert_eq!(lingering_after(trickling, &looks), [1, 0]);
}

#[test]
fn a_connection_does_not_linger_for_a_peer_that_sends_without_end() {
    struct Endless(Transport);

    impl Producer for Endless {
        fn pause_producing(&mut self) {}

        fn resume_producing(&mut self) {
            self.0.write_bytes(vec![0; 1 << 20]);
        }
    }
    let (_, reactor) = world(Faults::default());
    let (log, countdown) = (Log::default(), Countdown::new(2));
    let flood = Script::new()
        .made(|transport| {
            transport.register_producer(Endless(transport.clone()), ProducerKind::Pull);
        })
        .read_lost(|_| ())
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .data(|transport, _| transport.lose_connection())
        .then_noted(&log, "server", &countdown);
    pair(&reactor, flood, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["server: done", "client: reset"]);
    let received = reactor.metrics().bytes_received;
    assert!((64 << 20..65 << 20).contains(&received), "{received}");
}

/// Goal: a stop completes when it has no permission to kill a child, and logs which child it left behind.
#[test]
fn a_child_that_may_not_be_killed_is_left_behind_and_named() {
    messages::keep();
    let (sim, reactor) = world(Faults::default());
    let (log, countdown) = (Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).made(|process| process.reactor().stop());
    let process = reactor.spawn_process(&child(Role::Deaf), watch).unwrap();
    sim.fail_next(Call::Signal, io::ErrorKind::PermissionDenied);
    let begun = sim.elapsed();
    run_clean(&reactor);
    assert_eq!(sim.elapsed() - begun, Duration::from_secs(5));
    assert_eq!(log.take().len(), 4, "made, and three pipes lost");
    assert_eq!((process.status(), sim.running_processes()), (None, 1));
    let name = format!("ERROR: child {} (\"player\") ", process.pid());
    let messages = messages::take().into_iter();
    let messages: Vec<_> = messages.filter(|text| text.starts_with(&name)).collect();
    let [refused, left] = &messages[..] else {
        panic!("there should be two messages: {messages:?}");
    };
    assert!(
        refused.contains("cannot be killed: permission denied"),
        "{refused}"
    );
    assert!(left.contains("is left behind"), "{left}");
}

#[test]
fn a_simulated_port_accepts_for_no_other_program() {
    let (_, reactor) = world(Faults::default());
    let listening = reactor.listen_for_programs(any_port(), |_, _| ());
    let error = listening
        .expect_err("it has no sockets of the OS")
        .to_string();
    assert!(
        error.contains("the sim port does not accept for other programs"),
        "{error}"
    );
}
