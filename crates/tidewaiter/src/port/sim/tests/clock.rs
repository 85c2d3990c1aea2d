//! Time, waiting, waking, and repeatability.

use std::io;
use std::time::{Duration, Instant};

use super::{Bench, error_kind};
use crate::port::sim::{Faults, Sim, programs};
use crate::port::{Outcome, PortKind, Request, RequestKind};
use crate::process::Command;

#[test]
fn the_port_says_what_it_is() {
    let port = Sim::new(7).port();
    assert_eq!(port.info().kind, PortKind::Sim);
    assert_eq!(port.info().to_string(), "sim (simulated, seed 7)");
}

#[test]
fn a_timeout_moves_the_simulated_clock_and_takes_no_time() {
    let sim = Sim::new(1);
    let mut port = sim.port();
    let (start, real_start) = (port.now(), Instant::now());
    port.wait(Some(Duration::from_secs(3600)), &mut Vec::new())
        .expect("it times out");
    assert_eq!(port.now() - start, Duration::from_secs(3600));
    assert!(real_start.elapsed() < Duration::from_secs(600));
    port.wait(Some(Duration::ZERO), &mut Vec::new())
        .expect("it times out");
    assert_eq!(sim.elapsed(), Duration::from_secs(3600));
}

#[test]
fn waiting_for_what_cannot_come_is_an_error() {
    let mut bench = Bench::new(Sim::new(1));
    let (listener, _) = bench.listen();
    bench.submit(listener, Request::Accept);
    let error = bench
        .port
        .wait(None, &mut Vec::new())
        .expect_err("nobody connects");
    assert_eq!(error.kind(), io::ErrorKind::Deadlock);
    assert!(error.to_string().contains("1 operations"), "{error}");
}

#[test]
fn wake_ups_coalesce_end_one_wait_and_leave_the_clock_alone() {
    let sim = Sim::new(1);
    let mut port = sim.port();
    let waker = port.waker();
    for _ in 0..2 {
        waker.wake();
        waker.wake();
        port.wait(None, &mut Vec::new()).expect("it is woken");
        assert_eq!(sim.elapsed(), Duration::ZERO);
        let again = port.wait(None, &mut Vec::new());
        assert_eq!(
            again.expect_err("woken once").kind(),
            io::ErrorKind::Deadlock
        );
    }
}

#[test]
fn a_patient_port_sleeps_until_another_thread_wakes_it() {
    let sim = Sim::builder(1).patience(Duration::from_secs(600)).build();
    let mut port = sim.port();
    let waker = port.waker();
    let thread = std::thread::spawn(move || waker.wake());
    port.wait(None, &mut Vec::new()).expect("it is woken");
    thread.join().expect("the waker does not panic");
}

#[test]
fn a_patient_port_sees_what_another_threads_port_does() {
    let sim = Sim::builder(1).patience(Duration::from_secs(600)).build();
    let mut server = Bench::new(sim.clone());
    let (listener, address) = server.listen();
    server.submit(listener, Request::Accept);
    let thread = std::thread::spawn(move || {
        let mut client = Bench::new(sim);
        client.connect(address);
        client.next(RequestKind::Connect).map(drop)
    });
    server.next(RequestKind::Accept).expect("somebody connects");
    let connected = thread.join().expect("the client does not panic");
    connected.expect("somebody accepts");
}

#[test]
fn delays_hold_completions_back_by_the_clock() {
    let faults = Faults {
        delay: Duration::from_millis(5)..=Duration::from_millis(5),
        ..Faults::default()
    };
    let mut bench = Bench::new(Sim::builder(1).faults(faults).build());
    let (_, address) = bench.listen();
    bench.connect(address);
    let mut batch = Vec::new();
    for _ in 0..2 {
        let waited = bench.port.wait(Some(Duration::from_millis(2)), &mut batch);
        waited.expect("it times out");
        assert!(batch.is_empty(), "too early: {batch:?}");
    }
    bench.port.wait(None, &mut batch).expect("it is due");
    assert_eq!(batch.len(), 1);
    assert_eq!(bench.sim.elapsed(), Duration::from_millis(5));
}

/// The completions, with their times, of a fixed program in a world with many faults.
fn trace(seed: u64) -> Vec<String> {
    let mut faults = Faults::stormy();
    faults.delay = Duration::ZERO..=Duration::from_secs(1);
    let sim = Sim::builder(seed).faults(faults).build();
    sim.program("cat", || programs::Cat);
    let mut bench = Bench::new(sim);
    let (listener, address) = bench.listen();
    bench.submit(listener, Request::Accept);
    for _ in 0..5 {
        bench.connect(address);
    }
    if let Ok(spawned) = bench.port.spawn(&Command::new("cat")) {
        let pipes = [0, 1].map(|number| spawned.pipe(number).expect("a pipe each"));
        bench.send(pipes[0], &[7; 5000]);
        bench.submit(pipes[1], Request::Receive);
        bench.submit(spawned.process, Request::Exit);
    }
    let mut lines = Vec::new();
    let mut batch = Vec::new();
    while bench.port.wait(None, &mut batch).is_ok() {
        let time = bench.sim.elapsed();
        lines.extend(
            batch
                .drain(..)
                .map(|completion| format!("{time:?} {completion:?}")),
        );
    }
    lines
}

#[test]
fn equal_seeds_give_equal_completions() {
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

/// Goal: a world without end, in which anything takes for ever, still comes to an end.
#[test]
fn the_clock_stops_at_the_end_of_time() {
    for span in [Duration::from_secs(1 << 40), Duration::MAX] {
        let faults = Faults {
            delay: span..=span,
            ..Faults::default()
        };
        let sim = Sim::builder(1).faults(faults).patience(span).build();
        sim.program("late", || {
            |event: super::super::Event, process: &mut super::super::Process<'_>| match event {
                super::super::Event::Timer => process.exit(0),
                _ => process.set_timer(Duration::MAX),
            }
        });
        let mut bench = Bench::new(sim);
        bench.port.spawn(&Command::new("late")).expect("it starts");
        bench.connect(([127, 0, 0, 1], 9));
        let result = bench.next(RequestKind::Connect);
        assert_eq!(error_kind(result), io::ErrorKind::ConnectionRefused);
        for _ in 0..2 {
            bench.sim.advance(span);
            let waited = bench.port.wait(Some(span), &mut Vec::new());
            waited.expect("it times out");
            assert!(bench.port.now() >= bench.sim.now() && bench.sim.running_processes() == 0);
        }
    }
}

#[test]
fn worlds_take_any_numbers() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0] {
        let faults = Faults {
            short_receives: number,
            short_sends: number,
            refusals: number,
            silences: -number,
            resets: number,
            delay: Duration::MAX..=Duration::ZERO,
            capacity: usize::MAX,
            ..Faults::default()
        };
        for bytes in [0, usize::MAX] {
            let sim = Sim::builder(u64::MAX).faults(faults.clone());
            let mut bench = Bench::new(sim.receive_bytes(bytes).build());
            let (_, address) = bench.listen();
            bench.connect(address);
            let waited = bench
                .port
                .wait(Some(Duration::from_secs(1)), &mut Vec::new());
            waited.expect("it waits");
        }
    }
}

#[test]
fn a_program_that_panics_ends_its_process_alone() {
    let sim = Sim::new(1);
    sim.program("bad", || {
        |_: super::super::Event, _: &mut super::super::Process<'_>| panic!("on purpose")
    });
    let mut bench = Bench::new(sim);
    let bad = bench.port.spawn(&Command::new("bad")).expect("it starts");
    bench.submit(bad.process, Request::Exit);
    let ended = bench.next(RequestKind::Exit);
    let Ok(Outcome::Exited(status)) = ended else {
        panic!("it ends: {ended:?}");
    };
    assert_eq!(status.to_string(), "signal 6");
    bench.connect(([127, 0, 0, 1], 9));
    let result = bench.next(RequestKind::Connect);
    assert_eq!(error_kind(result), io::ErrorKind::ConnectionRefused);
}
