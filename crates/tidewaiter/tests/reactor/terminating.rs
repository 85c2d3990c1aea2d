//! Children that are asked to end, and killed if they do not.

use std::time::Duration;

use tidewaiter::process::ExitStatus;
use tidewaiter::{Phase, Reactor, SystemEvent};

use super::processes::{Watch, check_events, start};
use super::support::{Countdown, Log, reactor, run_clean};
use super::trees::once_ready;
use crate::KILLED;
use crate::support::roles::Role;

/// Longer than a test may take.
const LONG: Duration = Duration::from_secs(3600);

/// Checks, once the reactor stops, that no delayed call is left.
fn expect_no_timers(reactor: &Reactor) {
    reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, |reactor, _| {
        assert!(reactor.delayed_calls().is_empty(), "no timer is left");
    });
}

/// The last event of a child that ended because it was asked to.
#[track_caller]
fn check_obeyed(events: &[String]) {
    let signal = ExitStatus::Signal {
        number: 15,
        core_dumped: false,
    };
    // Ctrl-Break ends a program of Windows with this code. Without a console, the child cannot be asked.
    let codes = [ExitStatus::Code(0xC000_013A), KILLED];
    let expected = if cfg!(windows) && !crate::SIMULATED {
        &codes[..]
    } else {
        &[signal]
    };
    let ended = events.last().expect("it ended");
    let status = expected
        .iter()
        .find(|status| *ended == format!("ended: {status}"));
    check_events(events, *status.unwrap_or_else(|| panic!("{ended}")));
}

#[test]
fn a_child_that_ends_when_it_is_asked_leaves_no_timer() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = once_ready(&log, &countdown, 1, |process| {
        process.terminate_then_kill(LONG);
        // The later grace replaces the earlier one.
        process.terminate_then_kill(LONG);
    });
    let process = start(&reactor, Role::Deaf, watch);
    expect_no_timers(&reactor);
    run_clean(&reactor);
    check_obeyed(&log.take());
    // Nothing happens any more.
    process.terminate_then_kill(LONG);
    assert!(process.terminate_tree().is_err());
}

#[test]
fn a_child_that_does_not_end_when_it_is_asked_is_killed_after_the_grace() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = once_ready(&log, &countdown, 1, |process| {
        process.terminate_then_kill(Duration::from_millis(100));
    });
    start(&reactor, Role::Stubborn, watch);
    expect_no_timers(&reactor);
    run_clean(&reactor);
    check_events(&log.take(), KILLED);
}

#[test]
fn a_whole_tree_ends_when_it_is_asked() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let logs: [Log; 2] = Default::default();
    let watch = once_ready(&logs[0], &countdown, 2, |process| {
        process.terminate_then_kill(LONG);
    });
    start(&reactor, Role::KeepDeaf, watch);
    let watch = once_ready(&logs[1], &countdown, 2, |process| {
        // Without a console, Windows cannot ask.
        if process.terminate_tree().is_err() {
            process.kill().expect("it runs");
        }
    });
    start(&reactor, Role::KeepDeaf, watch);
    expect_no_timers(&reactor);
    run_clean(&reactor);
    for log in logs {
        check_obeyed(&log.take());
    }
}

/// Goal: the grace lasts for what is left of a tree whose root has ended, as long as that holds the child's pipes.
#[test]
fn what_is_left_of_a_tree_is_killed_after_the_grace() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).exited(|process| {
        process.terminate_then_kill(Duration::from_millis(100));
    });
    start(&reactor, Role::LeaveStubborn, watch);
    expect_no_timers(&reactor);
    run_clean(&reactor);
    check_events(&log.take(), ExitStatus::Code(5));
}
