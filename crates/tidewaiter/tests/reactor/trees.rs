//! The tree of a child: the child and all that descends from it.

use std::time::{Duration, Instant};

use tidewaiter::Process;
use tidewaiter::process::{Signal, SignalTarget};

use super::processes::{Watch, start};
use super::support::{Countdown, Log, reactor, run_clean};
use crate::support::roles::{READY, Role};

/// Less than what a child stays that nothing ends.
const SOON: Duration = Duration::from_secs(150);

/// Calls `call` once, as soon as `count` processes that share the child's output play their roles.
pub(super) fn once_ready(
    log: &Log,
    countdown: &Countdown,
    count: usize,
    call: impl FnOnce(&Process) + 'static,
) -> Watch {
    let mut call = Some(call);
    Watch::new(log, countdown).data(move |process, child_fd, all| {
        let parts = all.windows(READY.len());
        if child_fd == 1
            && parts.filter(|part| *part == READY).count() == count
            && let Some(call) = call.take()
        {
            call(process);
        }
    })
}

/// Goal: a child that was asked to ends with its parent, whatever ends the parent.
/// Method: a child of ours starts one that shares its pipes, and is killed alone. The pipes end with the last of the two.
#[cfg(not(target_vendor = "apple"))]
#[test]
fn a_child_ends_with_its_parent() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let begun = Instant::now();
    let watch = once_ready(&log, &countdown, 2, |process| {
        let killed = process.signal(Signal::Kill, SignalTarget::Process);
        killed.expect("it runs");
    });
    start(&reactor, Role::KeepBound, watch);
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events.last(), Some(&format!("ended: {}", crate::KILLED)));
    assert!(begun.elapsed() < SOON, "its own child lived on");
}

/// Goal: a kill ends a whole tree, and says that nothing is left that was found.
/// Method: four generations that share the pipes. These end with the last of the tree.
#[test]
fn a_tree_of_four_generations_is_killed() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let begun = Instant::now();
    let watch = once_ready(&log, &countdown, 4, |process| {
        let left = process.kill().expect("it runs");
        assert!(left.processes.is_empty(), "{left:?}");
        assert!(!left.may_be_more || cfg!(unix) && !crate::SIMULATED);
    });
    start(&reactor, Role::Ancestor(3), watch);
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events.last(), Some(&format!("ended: {}", crate::KILLED)));
    assert!(begun.elapsed() < SOON, "one of them lived on");
}
