//! Killed children that do not end, as when one hangs in the kernel.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tidewaiter::{CommandOptions, CommandPool, Process, Reactor};

use crate::promises::processes::Watch;
use crate::promises::support::{Countdown, Log, reactor, run_clean, wait_until};
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

/// Goal: a command that cannot be killed does not hold back its result, nor its place in a pool.
#[test]
fn a_command_that_does_not_end_gives_its_result_and_its_place() {
    let name = "a_command_that_does_not_end_gives_its_result_and_its_place";
    alone(module_path!(), name, || {
        messages::keep();
        let reactor = reactor();
        let pool = CommandPool::new(&reactor, 1);
        let results: Rc<RefCell<Vec<String>>> = Rc::default();
        let limit = Duration::from_millis(100);
        let options = CommandOptions::new(crate::child(Role::Deaf)).time_limit(limit);
        let told = Rc::clone(&results);
        let run = pool.run(options, move |_, result| {
            let error = result.expect_err("it takes too long");
            let output = error.output.as_ref().expect("it ran");
            told.borrow_mut()
                .push(format!("{error}: {}", output.status));
        });
        let left = run.process().expect("it runs");
        let pid = Pid::from_raw(left.pid().cast_signed()).expect("it is no zero");
        let held = Held::hold(pid).expect("it is our child");
        let told = Rc::clone(&results);
        pool.run(crate::child(Role::Exit(0)), move |reactor, result| {
            let output = result.expect("it ends");
            told.borrow_mut().push(output.status.to_string());
            reactor.stop();
        });
        run_clean(&reactor);
        let expected = [
            "the command took longer than 100ms: unknown exit status",
            "exit code 0",
        ];
        assert_eq!(*results.borrow(), expected);
        let messages = about(&left);
        assert!(messages.iter().all(|it| it.contains("is left behind")));
        assert!(!messages.is_empty());
        drop(held);
    });
}

/// Goal: a child that outlives its grace and the kill after it is named, and does not keep the reactor from stopping.
#[test]
fn a_child_that_does_not_end_after_its_grace_is_named() {
    let name = "a_child_that_does_not_end_after_its_grace_is_named";
    alone(module_path!(), name, || {
        messages::keep();
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let (left, held) = start(&reactor, true, Watch::new(&log, &countdown));
        left.terminate_then_kill(Duration::from_millis(10));
        let (child, told) = (left.clone(), Rc::new(RefCell::new(Vec::new())));
        let first = Rc::clone(&told);
        let is_named = move |_: &Reactor| {
            first.borrow_mut().extend(about(&child));
            !first.borrow().is_empty()
        };
        wait_until(&reactor, is_named, Reactor::stop);
        run_clean(&reactor);
        let messages = [told.take(), about(&left)].concat();
        assert!(messages[0].contains("still runs 5s after it was killed"));
        assert!(messages[1].contains("is left behind"));
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
