//! Killed children that do not end, as when one hangs in the kernel.

use std::time::Instant;

use rustix::process::Pid;
use tidewaiter::{Process, Reactor};

use crate::promises::processes::Watch;
use crate::promises::support::{Countdown, Log, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::messages;
use crate::support::roles::Role;
use crate::support::system::Held;

/// Starts a child whose end is held back.
fn start(reactor: &Reactor, own_group: bool, watch: Watch) -> (Process, Held) {
    let command = crate::child(Role::Deaf).own_group(own_group);
    let process = reactor.spawn_process(&command, watch).expect("it starts");
    let pid = Pid::from_raw(process.pid().cast_signed()).expect("it is no zero");
    (process, Held::hold(pid).expect("it is our child"))
}

/// The log messages that name this child.
fn about(process: &Process) -> Vec<String> {
    let program = std::env::current_exe().expect("we are a program");
    let name = format!("ERROR: child {} ({program:?}) ", process.pid());
    let mut messages = messages::take();
    messages.retain(|message| message.starts_with(&name));
    messages
}

/// Goal: a stop completes whatever a child does, and logs which child it left behind.
#[test]
fn a_stop_leaves_a_child_behind_that_does_not_end_and_names_it() {
    let name = "a_stop_leaves_a_child_behind_that_does_not_end_and_names_it";
    alone(module_path!(), name, || {
        messages::keep();
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let watch = |log| Watch::new(log, &countdown);
        let (left, held) = start(&reactor, false, watch(&log));
        let (_, released) = start(&reactor, true, watch(&Log::default()));
        reactor.call_when_running(move |reactor| {
            reactor.stop();
            // A child that ends late, but within the limit, is awaited.
            reactor.call_later(std::time::Duration::from_secs(1), |_| drop(released));
        });
        run_clean(&reactor);
        assert_eq!(left.status(), None);
        let mut events = log.take();
        events.sort();
        assert_eq!(events, ["lost 0", "lost 1", "lost 2", "made"]);
        let messages = about(&left);
        let [message] = &messages[..] else {
            panic!("there should be one message: {messages:?}");
        };
        assert!(message.contains("is left behind"), "{message}");
        drop(held);
    });
}

/// Goal: dropping a reactor completes, too.
#[test]
fn a_dropped_reactor_leaves_a_child_behind_that_does_not_end_and_names_it() {
    let name = "a_dropped_reactor_leaves_a_child_behind_that_does_not_end_and_names_it";
    alone(module_path!(), name, || {
        messages::keep();
        let (reactor, countdown) = (reactor(), Countdown::new(1));
        let watch = Watch::new(&Log::default(), &countdown);
        let (left, held) = start(&reactor, true, watch);
        let begun = Instant::now();
        drop(reactor);
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
        let messages = about(&left);
        assert!(
            messages.len() == 1 && messages[0].contains("is left behind"),
            "{messages:?}"
        );
        drop(held);
    });
}
