//! Numbers and durations at the ends of their ranges: each is refused or replaced by the nearest valid one.
//! None panics, and none keeps the reactor from its other work.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{ListenOptions, PortOptions};
use tidewaiter::process::{Command, Signal, SignalTarget, Stdio};
use tidewaiter::{Address, ConnectOptions, Process, ProcessProtocol, Reactor, RunEnd, TurnTimes};

use super::support::{Countdown, Script, any_port, assert_empty, pair, reactor, run};
use crate::support::roles::Role;

const DURATIONS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(1 << 33),
    Duration::from_secs(i64::MAX.cast_unsigned()),
    Duration::MAX,
];

const SIZES: [usize; 6] = [
    0,
    1,
    1 << 31,
    isize::MAX.cast_unsigned(),
    usize::MAX - 1,
    usize::MAX,
];

/// Whether the delay ends within a test.
fn is_short(delay: Duration) -> bool {
    delay < Duration::from_secs(1)
}

#[test]
fn calls_may_be_delayed_by_any_time() {
    for first in DURATIONS {
        for then in DURATIONS {
            let reactor = reactor();
            let made = Rc::new(Cell::new(0));
            let count = || {
                let made = Rc::clone(&made);
                move |_: &Reactor| made.set(made.get() + 1)
            };
            let reset = reactor.call_later(first, count());
            let delayed = reactor.call_later(first, count());
            assert!(reset.reset(then) && delayed.delay(then));
            assert!(delayed.delay(Duration::ZERO) && reset.is_active());
            assert!(reset.due().is_some() && delayed.due().is_some());
            // A few turns after the short delays.
            reactor.call_later(Duration::from_millis(20), Reactor::stop);
            assert_eq!(run(&reactor), RunEnd::Stopped);
            let expected = u32::from(is_short(then)) + u32::from(is_short(first.max(then)));
            assert_eq!(made.get(), expected, "{first:?}, then {then:?}");
        }
    }
}

#[test]
fn a_turn_may_wait_for_any_time() {
    // Without the zero limit: a simulated clock does not advance in a wait of zero.
    for &limit in &DURATIONS[1..] {
        let reactor = reactor();
        let made = Rc::new(Cell::new(false));
        let note = Rc::clone(&made);
        reactor.call_later(Duration::from_nanos(2), move |reactor| {
            note.set(true);
            // Keeps this turn from waiting for the whole limit.
            reactor.crash();
        });
        while !made.get() {
            reactor.iterate(limit).expect("it resumes");
        }
    }
}

#[test]
fn a_reactor_may_be_built_with_any_numbers() {
    for duration in DURATIONS {
        for count in SIZES {
            let builder = Reactor::builder()
                .signals(false)
                .workers(count)
                .timer_slack(duration)
                .slow_callback(duration, |_| ());
            let (reactor, countdown) = (crate::open(builder), Countdown::new(3));
            for delay in [1, 2] {
                let countdown = countdown.clone();
                reactor.call_later(Duration::from_millis(delay), move |reactor| {
                    countdown.hit(reactor);
                });
            }
            reactor.defer_to_thread(|| (), move |reactor, _| countdown.hit(reactor));
            assert_eq!(run(&reactor), RunEnd::Stopped);
        }
    }
}

#[test]
fn a_port_may_be_asked_for_any_numbers() {
    for size in SIZES {
        let narrow = u16::try_from(size).unwrap_or(u16::MAX);
        let wide = u32::try_from(size).unwrap_or(u32::MAX);
        let usual = PortOptions::default();
        for number in 0..5 {
            let mut options = usual.clone();
            options.kind = reactor().port_info().kind.into();
            match number {
                0 => options.receive_bytes = size,
                1 => options.surge_bytes = size,
                2 => options.receive_buffers = narrow,
                3 => options.submission_entries = wide,
                _ => options.completion_entries = wide,
            }
            if crate::SIMULATED {
                options.kind = None;
            }
            let built = Reactor::builder()
                .signals(false)
                .port_options(options)
                .build();
            let Ok(reactor) = built else { continue };
            let countdown = Countdown::new(2);
            let server = Script::new()
                .data(|transport, data| {
                    transport.write(data);
                    transport.lose_connection();
                })
                .then_done(&countdown);
            let client = Script::new()
                .made(|transport| transport.write(b"x"))
                .then_done(&countdown);
            let _listener = pair(&reactor, client, server);
            assert_eq!(run(&reactor), RunEnd::Stopped);
        }
    }
}

#[test]
fn connections_take_any_numbers() {
    for duration in DURATIONS {
        for size in SIZES {
            let (reactor, countdown) = (reactor(), Countdown::new(2));
            let mut options = ListenOptions::new(any_port());
            options.backlog = u32::try_from(size).unwrap_or(u32::MAX).max(1);
            let server = Cell::new(Some(
                Script::new()
                    .data(move |transport, data| {
                        transport.set_water_marks(usize::MAX - size, size);
                        transport.write(data);
                        transport.lose_connection();
                    })
                    .then_done(&countdown),
            ));
            let listener = reactor.listen_tcp(options, move |_: Address| {
                server.take().expect("one connection")
            });
            let address = listener.expect("a port is free").local_addr();
            let client = Cell::new(Some(
                Script::new()
                    .made(move |transport| {
                        // The OS may refuse the value, but must not fail otherwise.
                        let _ = transport.set_keep_alive(Some(duration));
                        transport.set_water_marks(size, size);
                        transport.write(b"hello");
                    })
                    .then_done(&countdown),
            ));
            let timeout = duration.max(Duration::from_secs(60));
            let options = ConnectOptions::from(address)
                .timeout(timeout)
                .attempt_delay(duration);
            reactor.connect_tcp(options, move |_: Address| {
                client.take().expect("connected once")
            });
            assert_eq!(run(&reactor), RunEnd::Stopped);
            assert_empty(&reactor.metrics());
        }
    }
}

#[test]
fn children_take_any_numbers() {
    struct Asks(Countdown);
    impl ProcessProtocol for Asks {
        fn connection_made(&mut self, process: &Process) {
            for child_fd in [3, i32::MAX.cast_unsigned(), u32::MAX] {
                assert!(process.pipe(child_fd).is_none());
                process.write_to(child_fd, b"nobody");
                process.close_fd(child_fd);
            }
            for number in [0, -1, i32::MIN, i32::MAX, 65] {
                for target in [SignalTarget::Process, SignalTarget::Tree] {
                    // The OS refuses the number, or the signal has no effect on the process.
                    let _ = process.signal(Signal::Number(number), target);
                }
            }
            process.kill().expect("it runs");
        }

        fn process_ended(&mut self, process: &Process, _: tidewaiter::process::ExitStatus) {
            self.0.hit(process.reactor());
        }
    }
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let asks = |command: Command| {
        let spawned = reactor.spawn_process(&command, Asks(Countdown::new(usize::MAX)));
        if let Ok(process) = spawned {
            let _ = process.kill();
        }
    };
    for child_fd in [3, i32::MAX.cast_unsigned(), u32::MAX - 1, u32::MAX] {
        asks(crate::child(Role::Exit(0)).fd(child_fd, Stdio::Pipe));
    }
    for number in [0, u32::MAX] {
        asks(crate::child(Role::Exit(0)).user(number, number, vec![number; 3]));
    }
    let spawned = reactor.spawn_process(&crate::child(Role::Deaf), Asks(countdown));
    spawned.expect("it starts");
    assert_eq!(run(&reactor), RunEnd::Stopped);
}

#[test]
fn any_percentage_of_any_turns_is_told() {
    let reactor = reactor();
    reactor.call_later(Duration::ZERO, Reactor::stop);
    run(&reactor);
    for times in [TurnTimes::default(), reactor.metrics().turn_times] {
        for percent in 0..=u8::MAX {
            assert!(times.percentile(percent) <= times.max());
        }
    }
}
