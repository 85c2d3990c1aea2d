//! Children that other threads start for the reactor.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use tidewaiter::process::{Command, ExitStatus, SharedPipe, SpawnStep, Stdio};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor, Reason, Remote};

use super::processes::{Watch, check_events, role_output};
use super::support::{Countdown, Log, reactor, run_clean};
use crate::support::roles::Role;

/// Sends every event, and all output at the end. Stops the reactor then.
struct Tells {
    events: Sender<String>,
    output: Vec<u8>,
}

impl Tells {
    fn new(events: &Sender<String>) -> Tells {
        Tells {
            events: events.clone(),
            output: Vec::new(),
        }
    }

    fn tell(&self, event: impl Into<String>) {
        self.events.send(event.into()).expect("the test listens");
    }
}

impl ProcessProtocol for Tells {
    fn connection_made(&mut self, _: &Process) {
        self.tell("made");
    }

    fn child_data_received(&mut self, _: &Process, _: ChildFd, data: &[u8]) {
        self.output.extend_from_slice(data);
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, _: Reason) {
        self.tell(format!("lost {child_fd}"));
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.tell(format!("exited: {status}"));
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(role_output(&self.output), Some(&b"one two"[..]));
        self.tell(format!("ended: {status}"));
        process.reactor().stop();
    }
}

/// Starts an echo and uses it at once, before the reactor can have taken it.
fn start_and_use(remote: &Remote, events: &Sender<String>) {
    let started = remote.spawn_process(&crate::child(Role::Echo), |pipes| {
        assert_eq!(pipes, [0, 1, 2]);
        Tells::new(events)
    });
    if crate::SIMULATED {
        let error = started.expect_err("no child of the OS is on a simulated port");
        assert_eq!(error.step, SpawnStep::Begin);
        assert_eq!(error.source.kind(), io::ErrorKind::Unsupported);
        return remote.stop().expect("it runs");
    }
    let child = started.expect("it starts");
    assert_ne!(child.pid(), 0);
    child.write("one ").expect("it runs");
    child.write("two").expect("it runs");
    child.close_stdin().expect("it runs");
}

#[test]
fn a_child_that_another_thread_starts_is_as_any_other() {
    let reactor = reactor();
    let (remote, (events, told)) = (reactor.remote(), mpsc::channel());
    let starting = thread::spawn(move || start_and_use(&remote, &events));
    run_clean(&reactor);
    starting.join().expect("it does not panic");
    let events: Vec<_> = told.iter().collect();
    match crate::SIMULATED {
        true => assert!(events.is_empty()),
        false => check_events(&events, ExitStatus::Code(0)),
    }
}

#[test]
fn what_cannot_be_started_is_told_at_once() {
    let reactor = reactor();
    let command = Command::new("no-such-program-of-ours");
    let started = reactor.remote().spawn_process(&command, |_| -> Tells {
        panic!("there is no child");
    });
    let error = started.expect_err("there is no such program");
    assert_eq!(error.program, "no-such-program-of-ours");
    let expected = match crate::SIMULATED {
        true => SpawnStep::Begin,
        false => SpawnStep::Search,
    };
    assert_eq!(error.step, expected);
}

/// A child that stays, and whose output another one can read.
fn deaf() -> (Command, SharedPipe) {
    let pipe = SharedPipe::new();
    let command = crate::child(Role::Deaf)
        .stdin(Stdio::Null)
        .stdout(pipe.writer())
        .stderr(Stdio::Null);
    (command, pipe)
}

/// Fails unless the child at the other end of the pipe ends.
fn await_end(pipe: &SharedPipe) {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = crate::child(Role::Echo).stdin(pipe.reader());
    let watch = Watch::new(&log, &countdown);
    reactor.spawn_process(&command, watch).expect("it starts");
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(
        events.last().map(String::as_str),
        Some("ended: exit code 0")
    );
}

/// Goal: nothing is left running if the reactor ends before it takes the child, whether or not it is known by then.
#[test]
fn a_child_that_the_reactor_does_not_take_is_killed() {
    if crate::SIMULATED {
        return;
    }
    let (events, told) = mpsc::channel();
    let stopped = reactor();
    let remote = stopped.remote();
    stopped.call_when_running(Reactor::stop);
    run_clean(&stopped);
    let (command, pipe) = deaf();
    let started = remote.spawn_process(&command, |_| Tells::new(&events));
    assert_eq!(started.expect_err("it has stopped").step, SpawnStep::Begin);
    await_end(&pipe);

    let dropped = reactor();
    let (command, pipe) = deaf();
    let started = dropped
        .remote()
        .spawn_process(&command, |_| Tells::new(&events));
    let child = started.expect("it starts");
    drop(dropped);
    await_end(&pipe);
    assert!(child.kill().is_err(), "the reactor is gone");

    drop(events);
    assert_eq!(
        told.iter().next(),
        None,
        "the protocols are dropped uncalled"
    );
}
