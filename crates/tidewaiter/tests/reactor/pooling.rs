//! Pools that run commands a few at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::process::{Command, ExitStatus};
use tidewaiter::{
    CommandError, CommandFailure, CommandOptions, CommandOutput, CommandPool, CommandRun, Phase,
    Reactor, SystemEvent,
};

use super::support::{Log, reactor, run_clean};
use crate::support::roles::Role;

type RunResult = Result<CommandOutput, CommandError>;

/// Notes how a command ended.
fn note(log: &Log, name: impl Into<String>) -> impl FnOnce(&Reactor, RunResult) + 'static {
    let (log, name) = (log.clone(), name.into());
    move |_, result| {
        log.add(match result {
            Ok(output) => format!("{name}: {}", output.status),
            Err(error) => match error.failure {
                CommandFailure::Start(_) => format!("{name}: not started"),
                failure => format!("{name}: {failure}"),
            },
        });
    }
}

fn stop_when_idle(pool: &CommandPool) {
    pool.when_idle(|reactor| {
        assert!(reactor.delayed_calls().is_empty(), "no timer is left");
        reactor.stop();
    });
}

#[test]
fn no_more_run_at_a_time_than_the_limit_and_all_are_run() {
    let reactor = reactor();
    let pool = CommandPool::new(&reactor, 3);
    let results = Rc::new(RefCell::new(Vec::new()));
    for code in 0..20 {
        let (results, all) = (Rc::clone(&results), pool.clone());
        pool.run(crate::child(Role::Exit(code)), move |_, result| {
            assert!(all.running() <= 3);
            assert!(all.waiting() == 0 || all.running() == 3, "no place is left");
            let status = result.expect("it comes to its own end").status;
            results.borrow_mut().push(status);
        });
        assert!(pool.running() <= 3);
    }
    assert_eq!((pool.running(), pool.waiting()), (3, 17));
    stop_when_idle(&pool);
    run_clean(&reactor);
    assert!(pool.is_idle());
    let mut results = results.take();
    results.sort_by_key(|status| status.code());
    let expected: Vec<_> = (0..20).map(ExitStatus::Code).collect();
    assert_eq!(results, expected);
}

#[test]
fn commands_are_started_in_order() {
    let (reactor, log) = (reactor(), Log::default());
    // At least one is run at a time.
    let pool = CommandPool::new(&reactor, 0);
    for code in 0..5 {
        pool.run(
            crate::child(Role::Exit(code)),
            note(&log, format!("{code}")),
        );
    }
    stop_when_idle(&pool);
    run_clean(&reactor);
    let expected: Vec<_> = (0..5)
        .map(|code| format!("{code}: exit code {code}"))
        .collect();
    assert_eq!(log.take(), expected);
}

/// Goal: a command that fails, in whichever way, gives its place to the next.
#[test]
fn a_failed_command_keeps_no_place() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 1);
    pool.run(
        Command::new("no-such-program-anywhere"),
        note(&log, "missing"),
    );
    let limit = Duration::from_millis(100);
    let slow = CommandOptions::new(crate::child(Role::Deaf)).time_limit(limit);
    pool.run(slow, note(&log, "slow"));
    let flood = CommandOptions::new(crate::child(Role::Flood(100))).output_limit(1000);
    pool.run(flood, note(&log, "flood"));
    pool.run(crate::child(Role::Exit(3)), note(&log, "good"));
    stop_when_idle(&pool);
    run_clean(&reactor);
    let expected = [
        "missing: not started",
        "slow: the command took longer than 100ms",
        "flood: the command wrote more than 1000 bytes",
        "good: exit code 3",
    ];
    assert_eq!(log.take(), expected);
}

#[test]
fn a_panic_in_a_callback_keeps_no_place() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 1);
    pool.run(crate::child(Role::Exit(0)), |_, _| {
        panic!("a deliberate panic")
    });
    pool.run(crate::child(Role::Exit(1)), note(&log, "next"));
    stop_when_idle(&pool);
    super::support::run(&reactor);
    assert_eq!(log.take(), ["next: exit code 1"]);
    assert_eq!(reactor.metrics().panics, 1);
}

#[test]
fn a_waiting_command_can_be_cancelled() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 1);
    let first = pool.run(crate::child(Role::Deaf), note(&log, "first"));
    let (cancelled, noted) = (first.clone(), note(&log, "second"));
    let second = pool.run(crate::child(Role::Exit(2)), move |reactor, result| {
        noted(reactor, result);
        assert!(!cancelled.is_over());
        cancelled.cancel();
    });
    pool.run(crate::child(Role::Exit(3)), note(&log, "third"));
    assert!(first.process().is_some() && second.process().is_none());
    second.cancel();
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    stop_when_idle(&pool);
    run_clean(&reactor);
    assert!(second.is_over() && first.is_over());
    let expected = [
        "second: the command was cancelled",
        "first: the command was cancelled",
        "third: exit code 3",
    ];
    assert_eq!(log.take(), expected);
}

/// Goal: commands that are cancelled in the turn in which their turn comes are not started.
#[test]
fn all_commands_can_be_cancelled_and_the_pool_goes_on() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 2);
    let mut runs = Vec::new();
    for number in 0..4 {
        runs.push(pool.run(crate::child(Role::Deaf), note(&log, format!("{number}"))));
    }
    runs[2].cancel();
    runs[0].cancel();
    pool.cancel_all();
    assert_eq!(pool.waiting(), 0);
    pool.run(crate::child(Role::Exit(7)), note(&log, "later"));
    stop_when_idle(&pool);
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    let cancelled = (0..4).map(|number| format!("{number}: the command was cancelled"));
    let expected: Vec<_> = cancelled.chain(["later: exit code 7".to_owned()]).collect();
    assert_eq!(events, expected);
    assert!(runs.iter().all(CommandRun::is_over));
    assert_eq!(reactor.metrics().spawned, 3);
}

/// Goal: a stop tells every command of its end, however many wait.
#[test]
fn a_stop_ends_what_runs_and_starts_nothing() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 2);
    for _ in 0..3000 {
        pool.run(crate::child(Role::Deaf), note(&log, "it"));
    }
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
    assert_eq!(log.take(), vec!["it: the reactor stopped"; 3000]);
    assert!(pool.is_idle());
    assert_eq!(reactor.metrics().spawned, 2);
}

#[test]
fn a_hold_lets_a_pool_finish_before_the_reactor_stops() {
    let (reactor, log) = (reactor(), Log::default());
    let pool = CommandPool::new(&reactor, 1);
    for number in 0..3 {
        pool.run(
            crate::child(Role::Exit(number)),
            note(&log, format!("{number}")),
        );
    }
    let finishing = pool.clone();
    reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, move |_, hold| {
        finishing.when_idle(move |_| drop(hold));
    });
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
    assert_eq!(log.take().len(), 3);
    assert_eq!(reactor.metrics().spawned, 3);
}

/// Goal: a pool is idle once nothing is left to do, not between a callback and what that one adds.
#[test]
fn a_pool_is_not_idle_while_callbacks_add_commands() {
    fn add(pool: &CommandPool, left: u8, count: &Rc<Cell<u32>>) {
        let (again, count) = (pool.clone(), Rc::clone(count));
        pool.run(crate::child(Role::Exit(left)), move |_, _| {
            count.set(count.get() + 1);
            if left > 0 {
                add(&again, left - 1, &count);
            }
        });
    }
    let reactor = reactor();
    let (pool, count) = (CommandPool::new(&reactor, 2), Rc::default());
    let idle = Rc::new(Cell::new(false));
    let told = Rc::clone(&idle);
    // An idle pool says so at once, and later callbacks are called as well.
    pool.when_idle(move |_| told.set(true));
    reactor.call_later(Duration::from_millis(1), {
        let (pool, count) = (pool.clone(), Rc::clone(&count));
        move |_| {
            add(&pool, 4, &count);
            stop_when_idle(&pool);
        }
    });
    run_clean(&reactor);
    assert!(idle.get());
    assert_eq!(count.get(), 5);
}

#[test]
fn a_dropped_reactor_drops_all_callbacks_uncalled() {
    let (reactor, told) = (reactor(), Rc::new(()));
    let pool = CommandPool::new(&reactor, 1);
    let kept = || {
        let (told, pool) = (Rc::clone(&told), pool.clone());
        move |_: &Reactor| panic!("this is not called: {told:?} {pool:?}")
    };
    let kept_run = || {
        let kept = kept();
        move |reactor: &Reactor, _: RunResult| kept(reactor)
    };
    for _ in 0..3 {
        pool.run(crate::child(Role::Deaf), kept_run());
    }
    let missing = CommandPool::new(&reactor, 1);
    for _ in 0..2 {
        missing.run(Command::new("no-such-program-anywhere"), kept_run());
    }
    pool.when_idle(kept());
    drop(reactor);
    assert_eq!(Rc::strong_count(&told), 1, "the callbacks are dropped");
}
