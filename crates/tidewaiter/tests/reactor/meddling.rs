//! The end of a child in which others have a hand: code of this process that reaps it, SIGCHLD, and debuggers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, wait};
use tidewaiter::process::ExitStatus;
use tidewaiter::{Process, ProcessProtocol};

use crate::promises::support::{reactor, run_clean};
use crate::support::alone::alone;
use crate::support::roles::Role;
use crate::support::system::{Debugger, ignore_sigchld};

/// Stops the reactor at the end of a child, and keeps its status.
struct Ended(Rc<Cell<Option<ExitStatus>>>);

impl ProcessProtocol for Ended {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.0.set(Some(status));
        process.reactor().stop();
    }
}

/// Starts a child, meddles, and runs until the child has ended.
fn end_of(own_group: bool, role: Role, meddle: impl FnOnce(&Process)) -> ExitStatus {
    let (reactor, ended) = (reactor(), Rc::default());
    let command = crate::child(role).own_group(own_group);
    let process = reactor.spawn_process(&command, Ended(Rc::clone(&ended)));
    meddle(&process.expect("it starts"));
    run_clean(&reactor);
    ended.get().expect("it ended")
}

fn pid_of(process: &Process) -> Pid {
    Pid::from_raw(process.pid().cast_signed()).expect("it is no zero")
}

/// Goal: a child that other code reaped has an end, and its number is not signalled any more.
#[test]
fn a_child_that_other_code_reaped_ends_with_an_unknown_status() {
    let name = "a_child_that_other_code_reaped_ends_with_an_unknown_status";
    alone(module_path!(), name, || {
        for own_group in [true, false] {
            let end = end_of(own_group, Role::Exit(3), |process| {
                let reaped = wait(WaitOptions::empty()).expect("there is a child");
                assert_eq!(reaped.expect("it has ended").0, pid_of(process));
                let error = process.kill().expect_err("it is gone");
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            });
            assert_eq!(end, ExitStatus::Unknown, "{own_group}");
        }
    });
}

/// Goal: while SIGCHLD is ignored, the kernel keeps no status, and a child has an end nevertheless.
#[test]
fn a_child_ends_while_sigchld_is_ignored() {
    let name = "a_child_ends_while_sigchld_is_ignored";
    alone(module_path!(), name, || {
        ignore_sigchld();
        for own_group in [true, false] {
            let end = end_of(own_group, Role::Exit(3), |_| {});
            assert_eq!(end, ExitStatus::Unknown, "{own_group}");
        }
        let ignored = tidewaiter::process::stop_ignoring_sigchld();
        assert!(ignored.expect("the action can be changed"));
        assert_eq!(end_of(true, Role::Exit(3), |_| {}), ExitStatus::Code(3));
    });
}

/// Goal: a debugger that is attached to the child changes nothing of its end, and its stops are none.
/// Method: another process is the debugger. It stops the child, lets it go on, and is told of its end first.
#[test]
fn a_child_under_a_debugger_ends_as_usual() {
    let name = "a_child_under_a_debugger_ends_as_usual";
    alone(module_path!(), name, || {
        for own_group in [true, false] {
            let end = end_of(own_group, Role::Deaf, |process| {
                let debugger = Debugger::attach(pid_of(process));
                let (left, after) = (process.clone(), Duration::from_millis(200));
                process.reactor().call_later(after, move |_| {
                    assert_eq!(left.status(), None, "it is stopped, and has not ended");
                    if let Some(debugger) = debugger {
                        debugger.let_go_on();
                    }
                    left.kill().expect("it lives");
                });
            });
            assert_eq!(end, crate::KILLED, "{own_group}");
        }
    });
}
