//! Many children that end at once, and children that a stop finds in any state.

use std::cell::RefCell;
use std::rc::Rc;

use tidewaiter::process::{Command, ExitStatus, Stdio};
use tidewaiter::{ChildFd, Process, ProcessProtocol};

use super::support::{Countdown, reactor, run_clean};
use crate::support::roles::{READY, Role};

/// How many children are killed at once: fewer under Wine, which needs seconds to start a hundred.
const MANY: usize = if cfg!(windows) { 50 } else { 1000 };

/// A child that stays until it is killed, and is started fast.
fn staying() -> Command {
    let command = match cfg!(unix) && !crate::SIMULATED {
        true => Command::new("cat"),
        false => crate::child(Role::Deaf),
    };
    command.stdout(Stdio::Null).stderr(Stdio::Null)
}

/// A process and a pipe for each child need more descriptors than a program has to begin with.
#[cfg(unix)]
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const ENOUGH: u64 = 8192;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= ENOUGH) {
        return;
    }
    let current = Some(limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    raised.expect("a soft limit may be raised");
}

#[cfg(windows)]
fn allow_many_descriptors() {}

/// Expects that its child is killed.
struct Victim(Countdown);

impl ProcessProtocol for Victim {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, crate::KILLED);
        self.0.hit(process.reactor());
    }
}

#[test]
fn a_thousand_children_killed_at_once_are_all_told() {
    allow_many_descriptors();
    let (reactor, countdown) = (reactor(), Countdown::new(MANY));
    let start = |_| {
        let started = reactor.spawn_process(&staying(), Victim(countdown.clone()));
        started.expect("the child starts")
    };
    let children: Vec<_> = (0..MANY).map(start).collect();
    reactor.call_when_running(move |_| {
        for child in &children {
            child.kill().expect("it lives");
        }
    });
    run_clean(&reactor);
}

/// Stops the reactor once all children play their roles, and the last one was suspended.
struct Witness {
    ready: Rc<RefCell<Vec<Process>>>,
    output: Vec<u8>,
    ended: Rc<RefCell<Vec<ExitStatus>>>,
}

/// How many children a stop finds.
const FOUND: usize = 3;

impl ProcessProtocol for Witness {
    fn child_data_received(&mut self, process: &Process, _: ChildFd, data: &[u8]) {
        self.output.extend_from_slice(data);
        if !self.output.ends_with(READY) {
            return;
        }
        let mut ready = self.ready.borrow_mut();
        ready.push(process.clone());
        if ready.len() < FOUND {
            return;
        }
        #[cfg(unix)]
        if !crate::SIMULATED {
            use tidewaiter::process::{Signal, SignalTarget};
            let stop = Signal::Number(rustix::process::Signal::STOP.as_raw());
            process
                .signal(stop, SignalTarget::Process)
                .expect("it lives");
        }
        process.reactor().stop();
    }

    fn process_ended(&mut self, _: &Process, status: ExitStatus) {
        self.ended.borrow_mut().push(status);
    }
}

#[test]
fn a_stop_ends_children_that_ignore_requests_and_those_that_may_not_go_on() {
    let reactor = reactor();
    let (ready, ended) = (Rc::default(), Rc::default());
    for role in [Role::Deaf, Role::Stubborn, Role::Deaf] {
        let witness = Witness {
            ready: Rc::clone(&ready),
            output: Vec::new(),
            ended: Rc::clone(&ended),
        };
        let child = reactor.spawn_process(&crate::child(role), witness);
        child.expect("the child starts");
    }
    run_clean(&reactor);
    assert_eq!(*ended.borrow(), [crate::KILLED; FOUND]);
    ready.take();
}
