//! Children that other threads reach.

use std::thread;
use std::time::Duration;

use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{Error, Process, RemoteProcess};

use super::processes::{Watch, check_events, role_output, start};
use super::support::{Countdown, Log, reactor, run_clean};
use crate::KILLED;
use crate::support::roles::Role;

fn is_shared<T: Send + Sync + Clone>(value: T) -> T {
    value
}

/// Runs `calls` on another thread once the child plays its role, and returns the child's events.
fn events_of(
    role: Role,
    calls: impl FnOnce(&RemoteProcess) -> Result<(), Error> + Send + 'static,
) -> (Vec<String>, RemoteProcess) {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let (mut calls, answered) = (Some(calls), log.clone());
    let watch = Watch::new(&log, &countdown).data(move |process, _, all| {
        let Some(output) = role_output(all) else {
            return;
        };
        if let Some(calls) = calls.take() {
            let remote = is_shared(process.remote());
            let calling = thread::spawn(move || calls(&remote));
            calling.join().expect("no panic").expect("it runs");
        }
        if output == b"one two" {
            answered.add("answered");
        }
    });
    let process = start(&reactor, role, watch);
    let remote = process.remote();
    assert_eq!(remote.pid(), process.pid());
    run_clean(&reactor);
    (log.take(), remote)
}

#[test]
fn another_thread_writes_to_a_child_and_closes_its_input() {
    let (mut events, remote) = events_of(Role::Echo, |remote| {
        remote.write("one ")?;
        remote.write(vec![b't', b'w', b'o'])?;
        remote.close_stdin()
    });
    let answered = events.iter().position(|event| event == "answered");
    events.remove(answered.expect("it echoes what was written"));
    check_events(&events, ExitStatus::Code(0));
    let refused = remote.kill();
    assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
}

#[test]
fn another_thread_ends_a_child() {
    let (events, _) = events_of(Role::KeepDeaf, RemoteProcess::kill);
    check_events(&events, KILLED);
    let (events, _) = events_of(Role::Stubborn, |remote| {
        remote.terminate()?;
        remote.terminate_tree()?;
        remote.terminate_then_kill(Duration::from_millis(50))
    });
    check_events(&events, KILLED);
    let (events, _) = events_of(Role::Deaf, |remote| {
        remote.signal(Signal::Kill, SignalTarget::Process)
    });
    check_events(&events, KILLED);
}

/// Goal: a call for a child whose end was told does nothing, though another child may have its place.
#[test]
fn a_call_for_a_child_that_has_ended_does_nothing() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let first = start(
        &reactor,
        Role::Exit(0),
        Watch::new(&Log::default(), &countdown),
    );
    let (remote, second) = (first.remote(), log.clone());
    drop(first);
    let ended = countdown.clone();
    reactor.call_later(Duration::from_millis(1), move |reactor| {
        begin_when_ended(reactor, remote, second, ended);
    });
    run_clean(&reactor);
    check_events(&log.take(), ExitStatus::Code(0));
}

/// Starts an echo once the other child has ended, and tries to reach it by the other one's handle.
fn begin_when_ended(
    reactor: &tidewaiter::Reactor,
    remote: RemoteProcess,
    log: Log,
    countdown: Countdown,
) {
    if reactor.metrics().living.children > 0 {
        reactor.call_later(Duration::from_millis(1), |reactor| {
            begin_when_ended(reactor, remote, log, countdown);
        });
        return;
    }
    let watch = Watch::new(&log, &countdown).made(move |process: &Process| {
        remote.call(|_| panic!("it has ended")).expect("it runs");
        remote.kill().expect("it runs");
        let to = process.clone();
        process
            .reactor()
            .call_later(Duration::from_millis(20), move |_| to.close_stdin());
    });
    start(reactor, Role::Echo, watch);
}
