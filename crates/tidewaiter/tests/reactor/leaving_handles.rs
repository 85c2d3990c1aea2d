//! Handles that children leave behind: none, whether they start or not.

use tidewaiter::process::{Command, ExitStatus, SpawnStep};
use tidewaiter::{Process, ProcessProtocol};

use crate::promises::support::{Countdown, assert_empty, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::number::open_handles;
use crate::support::real_child::child;
use crate::support::roles::Role;

/// How many children there are at a time.
const MANY: usize = 30;

struct Short(Countdown);

impl ProcessProtocol for Short {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, ExitStatus::Code(3));
        self.0.hit(process.reactor());
    }
}

/// Starts and refuses many children.
fn round() {
    let (reactor, countdown) = (reactor(), Countdown::new(MANY));
    let own = std::env::current_exe().expect("we are a program");
    let below = own.join("below");
    let failing = [
        (Command::new("no-such-program"), SpawnStep::Search),
        (child(Role::Exit(3)).arg("\0"), SpawnStep::Arguments),
        (
            child(Role::Exit(3)).current_dir(below),
            SpawnStep::Directory,
        ),
    ];
    for number in 0..MANY {
        let (command, step) = &failing[number % failing.len()];
        let refused = reactor.spawn_process(command, Short(countdown.clone()));
        assert_eq!(refused.expect_err("it cannot start").step, *step);
    }
    assert_empty(&reactor.metrics());
    for _ in 0..MANY {
        let started = reactor.spawn_process(&child(Role::Exit(3)), Short(countdown.clone()));
        started.expect("the child starts");
    }
    run_clean(&reactor);
}

#[test]
fn children_and_failed_starts_leave_no_handle() {
    alone(
        module_path!(),
        "children_and_failed_starts_leave_no_handle",
        || {
            // The first round starts threads of Windows's own.
            round();
            let before = open_handles();
            round();
            let after = open_handles();
            assert!(after < before + 5, "{before} handles became {after}");
        },
    );
}
