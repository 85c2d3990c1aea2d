//! Signals that ask the process to end. Each test runs in a process of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tidewaiter::io::{Signals, ctrl_c};
use tidewaiter::port::ShutdownSignal;
use tidewaiter::{Phase, Reactor, RunEnd, SystemEvent};

use crate::promises::io_support::poll_times;
use crate::promises::support::run;
use crate::support::alone::alone;

fn send(signal: Signal) {
    kill_process(getpid(), signal).expect("a process may signal itself");
}

#[test]
fn run_distinguishes_a_signal_from_a_stop() {
    alone(
        module_path!(),
        "run_distinguishes_a_signal_from_a_stop",
        || {
            for (signal, told) in [
                (Signal::TERM, ShutdownSignal::Terminate),
                (Signal::INT, ShutdownSignal::Interrupt),
                (Signal::HUP, ShutdownSignal::Hangup),
            ] {
                let reactor = crate::open(Reactor::builder());
                reactor.call_when_running(move |_| send(signal));
                assert_eq!(run(&reactor), RunEnd::Signal(told));
            }
            // A program that handles signals itself has to stop the reactor itself.
            let reactor = crate::open(Reactor::builder());
            reactor.on_signal(|reactor, _| reactor.stop());
            reactor.call_when_running(|_| send(Signal::TERM));
            assert_eq!(run(&reactor), RunEnd::Stopped);
        },
    );
}

#[test]
fn a_second_signal_releases_a_hold() {
    alone(module_path!(), "a_second_signal_releases_a_hold", || {
        for second in [Signal::TERM, Signal::INT] {
            let reactor = crate::open(Reactor::builder());
            // Kept beyond the end of the loop.
            let kept = Rc::new(RefCell::new(None));
            let keep = Rc::clone(&kept);
            reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, move |_, hold| {
                keep.replace(Some(hold));
                send(second);
            });
            reactor.call_when_running(|_| send(Signal::TERM));
            let first = RunEnd::Signal(ShutdownSignal::Terminate);
            assert_eq!(run(&reactor), first);
            assert!(kept.borrow().is_some(), "the trigger was called");
        }
    });
}

/// Goal: a hold keeps its effect at a SIGHUP that a service manager sends along with SIGTERM, and at a first
/// signal when the program is already stopping the reactor.
#[test]
fn a_sighup_or_a_first_signal_during_a_stop_releases_no_hold() {
    let name = "a_sighup_or_a_first_signal_during_a_stop_releases_no_hold";
    alone(module_path!(), name, || {
        for (start, then, end) in [
            (
                send as fn(Signal),
                Signal::HUP,
                RunEnd::Signal(ShutdownSignal::Terminate),
            ),
            (|_| (), Signal::TERM, RunEnd::Stopped),
        ] {
            let reactor = crate::open(Reactor::builder());
            let finished = Rc::new(Cell::new(false));
            let finish = Rc::clone(&finished);
            reactor.add_trigger(
                Phase::Before,
                SystemEvent::Shutdown,
                move |reactor, hold| {
                    send(then);
                    reactor.call_later(Duration::from_millis(50), move |_| {
                        finish.set(true);
                        drop(hold);
                    });
                },
            );
            let awaited = Rc::clone(&finished);
            reactor.add_trigger(Phase::During, SystemEvent::Shutdown, move |_, _| {
                assert!(awaited.get(), "the shutdown did not wait");
            });
            reactor.call_when_running(move |reactor| {
                start(Signal::TERM);
                if end == RunEnd::Stopped {
                    reactor.stop();
                }
            });
            assert_eq!(run(&reactor), end);
            assert_eq!(reactor.metrics().panics, 0);
        }
    });
}

#[test]
fn a_task_awaits_signals_which_then_stop_nothing() {
    let name = "a_task_awaits_signals_which_then_stop_nothing";
    alone(module_path!(), name, || {
        let reactor = crate::open(Reactor::builder());
        let kinds = [ShutdownSignal::Hangup, ShutdownSignal::Terminate];
        let taken = reactor.block_on(async {
            let mut signals = Signals::new(&reactor, kinds);
            let mut others = Signals::new(&reactor, kinds);
            assert!(poll_times(1, signals.recv()).await.is_none(), "none yet");
            send(Signal::HUP);
            assert_eq!(signals.recv().await, ShutdownSignal::Hangup);
            send(Signal::TERM);
            assert_eq!(signals.recv().await, ShutdownSignal::Terminate);
            assert_eq!(others.recv().await, ShutdownSignal::Hangup);
            // It arrives between two futures.
            send(Signal::HUP);
            assert!(poll_times(1, signals.recv()).await.is_none(), "not yet");
            reactor.sleep(Duration::from_millis(1)).await;
            assert_eq!(signals.recv().await, ShutdownSignal::Hangup);
            drop(others);
            reactor.call_later(Duration::from_millis(1), |_| send(Signal::INT));
            ctrl_c(&reactor).await;
        });
        taken.unwrap();
        // Nobody awaits it any more.
        reactor.call_when_running(|_| send(Signal::INT));
        let end = RunEnd::Signal(ShutdownSignal::Interrupt);
        assert_eq!(run(&reactor), end);
    });
}
