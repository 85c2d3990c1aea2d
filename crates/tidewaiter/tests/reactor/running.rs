//! Commands that are run to their ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::process::{Command, ExitStatus, SpawnStep};
use tidewaiter::{
    CommandError, CommandFailure, CommandOptions, CommandOutput, Phase, Reactor, SystemEvent,
};

use super::processes::role_output;
use super::support::{assert_empty, reactor, run_clean};
use crate::KILLED;
use crate::support::roles::Role;

/// Longer than a test may take.
const LONG: Duration = Duration::from_secs(3600);

fn options(role: Role) -> CommandOptions {
    CommandOptions::new(crate::child(role))
}

type RunResult = Result<CommandOutput, CommandError>;

/// Holds the result of a run, once there is one.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Option<RunResult>>>);

impl Told {
    fn set(&self, result: RunResult) {
        let before = self.0.replace(Some(result));
        assert!(before.is_none(), "the callback comes once");
    }

    fn is_told(&self) -> bool {
        self.0.borrow().is_some()
    }

    #[track_caller]
    fn take(&self) -> RunResult {
        self.0.take().expect("the callback was called")
    }
}

/// Stops the reactor once the run is over. No timer may be left then.
fn stop_after(told: &Told) -> impl FnOnce(&Reactor, RunResult) + 'static {
    let told = told.clone();
    move |reactor, result| {
        told.set(result);
        assert!(reactor.delayed_calls().is_empty(), "no timer is left");
        reactor.stop();
    }
}

/// Runs one command, and returns its result.
#[track_caller]
fn result_of(options: impl Into<CommandOptions>) -> RunResult {
    let (reactor, told) = (reactor(), Told::default());
    let run = reactor.run_command(options, stop_after(&told));
    assert!(!told.is_told(), "only the loop makes callbacks");
    run_clean(&reactor);
    assert!(run.is_over());
    // Nothing happens any more.
    run.cancel();
    told.take()
}

/// The output of a command that was ended before its own end.
#[track_caller]
fn cut_short(result: RunResult) -> (CommandFailure, CommandOutput) {
    let error = result.expect_err("it did not come to its own end");
    (error.failure, *error.output.expect("it was started"))
}

#[test]
fn a_command_gets_its_input_and_gives_its_output() {
    let input = "a word ".repeat(100_000);
    let output = result_of(options(Role::Echo).input(input.clone())).unwrap();
    assert!(output.status.success());
    assert_eq!(role_output(&output.stdout), Some(input.as_bytes()));
    assert_eq!(output.stderr, []);
    assert_eq!(output.usage.is_none(), crate::SIMULATED);
}

#[test]
fn standard_error_is_apart_and_an_exit_code_is_no_error() {
    let output = result_of(crate::child(Role::Exit(7))).unwrap();
    assert_eq!(output.status, ExitStatus::Code(7));
    let output = result_of(options(Role::Flood(300))).unwrap();
    assert!(output.status.success());
    assert_eq!(output.stderr, vec![b'!'; 300 * 1024]);
    assert_eq!(role_output(&output.stdout), Some(&b""[..]));
}

#[test]
fn a_time_limit_kills_the_whole_tree() {
    let limit = Duration::from_millis(200);
    let (failure, output) = cut_short(result_of(options(Role::KeepDeaf).time_limit(limit)));
    assert!(
        matches!(failure, CommandFailure::TimedOut(after) if after == limit),
        "{failure}"
    );
    assert_eq!(output.status, KILLED);
}

#[test]
fn a_command_that_ends_in_time_is_not_touched() {
    let output = result_of(options(Role::Exit(0)).time_limit(LONG).grace(LONG)).unwrap();
    assert!(output.status.success());
}

#[test]
fn a_command_has_its_grace_and_no_longer() {
    let limit = Duration::from_millis(200);
    let stubborn = options(Role::Stubborn).time_limit(limit).grace(limit);
    let (failure, output) = cut_short(result_of(stubborn));
    assert!(matches!(failure, CommandFailure::TimedOut(_)), "{failure}");
    // A child on a slow machine may not have begun to be stubborn when it is asked.
    assert!(!output.status.success());
    // On Windows, a child on a slow machine may not hear of Ctrl-Break before its console is set up.
    let grace = if cfg!(windows) { limit * 10 } else { LONG };
    let obedient = options(Role::Deaf).time_limit(limit).grace(grace);
    let (failure, output) = cut_short(result_of(obedient));
    assert!(matches!(failure, CommandFailure::TimedOut(_)), "{failure}");
    assert!(!output.status.success());
    if cfg!(unix) {
        assert_ne!(output.status, KILLED);
    }
}

#[test]
fn more_output_than_the_limit_ends_the_command() {
    let flood = options(Role::Flood(20_000)).output_limit(10_000);
    let (failure, output) = cut_short(result_of(flood));
    assert!(
        matches!(failure, CommandFailure::TooMuchOutput(10_000)),
        "{failure}"
    );
    assert_eq!(output.stdout.len() + output.stderr.len(), 10_000);
    assert_eq!(output.status, KILLED);
}

#[test]
fn a_command_that_cannot_be_started_is_told_of_from_the_loop() {
    let error = result_of(Command::new("no-such-program-anywhere")).unwrap_err();
    assert!(error.output.is_none());
    assert!(error.to_string().contains("no-such-program-anywhere"));
    let CommandFailure::Start(error) = error.failure else {
        panic!("it cannot be started: {error}");
    };
    assert_eq!(error.step, SpawnStep::Search);
}

#[test]
fn a_cancelled_command_is_killed_and_told_of_once() {
    let (reactor, told) = (reactor(), Told::default());
    let run = reactor.run_command(options(Role::KeepDeaf).time_limit(LONG), stop_after(&told));
    assert!(run.process().is_some());
    run.cancel();
    run.cancel();
    assert!(!told.is_told(), "only the loop makes callbacks");
    run_clean(&reactor);
    let (failure, output) = cut_short(told.take());
    assert!(matches!(failure, CommandFailure::Cancelled), "{failure}");
    assert_eq!(output.status, KILLED);
}

#[test]
fn a_stop_kills_what_runs_and_refuses_what_comes() {
    let reactor = reactor();
    let told: [Told; 3] = Default::default();
    let keep = |told: &Told| {
        let told = told.clone();
        move |_: &Reactor, result| told.set(result)
    };
    reactor.run_command(options(Role::Deaf), keep(&told[0]));
    // It cannot end before the stop, and ends when nothing reads its output any more.
    let detached = reactor.run_command(options(Role::Flood(20_000)), keep(&told[1]));
    detached.process().expect("it runs").detach();
    let late = keep(&told[2]);
    reactor.add_trigger(Phase::During, SystemEvent::Shutdown, |reactor, _| {
        reactor.call_later(Duration::ZERO, |reactor| {
            reactor.run_command(options(Role::Deaf), late);
        });
    });
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
    let (failure, output) = cut_short(told[0].take());
    assert!(matches!(failure, CommandFailure::Stopped), "{failure}");
    assert_eq!(output.status, KILLED);
    for told in &told[1..] {
        let error = told.take().unwrap_err();
        assert!(matches!(error.failure, CommandFailure::Stopped), "{error}");
        assert!(error.output.is_none());
    }
    // Once the reactor has stopped, nothing is told.
    reactor.run_command(options(Role::Deaf), |_, _| panic!("this is not called"));
}

#[test]
fn a_dropped_reactor_drops_the_callback_uncalled() {
    let (reactor, told) = (reactor(), Told::default());
    let run = reactor.run_command(options(Role::Deaf).time_limit(LONG), stop_after(&told));
    let missing = Command::new("no-such-program-anywhere");
    let failed = reactor.run_command(missing, stop_after(&told));
    drop(failed);
    drop(reactor);
    assert!(run.is_over() && !told.is_told());
    assert_eq!(Rc::strong_count(&told.0), 1, "the callbacks are dropped");
}

/// Goal: a panic in a callback costs that callback alone.
#[test]
fn a_panic_in_the_callback_ends_nothing_else() {
    let (reactor, told) = (reactor(), Told::default());
    reactor.run_command(options(Role::Exit(0)), |_, _| panic!("a deliberate panic"));
    let after = Duration::from_millis(500);
    reactor.run_command(options(Role::Deaf).time_limit(after), stop_after(&told));
    super::support::run(&reactor);
    assert!(told.take().is_err());
    assert_eq!(reactor.metrics().panics, 1);
    assert_empty(&reactor.metrics());
}
