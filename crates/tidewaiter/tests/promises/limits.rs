//! Limits on what a child may use: enforced, or refused with an error that names the limit.

use std::io;
use std::time::Duration;

use tidewaiter::port::{Outcome, Request};
use tidewaiter::process::{Command, ExitStatus, Limits, SpawnStep, Stdio};

use crate::support::harness::Harness;
use crate::support::roles::Role;

/// What a role exits with that was refused what it wanted.
const REFUSED: ExitStatus = ExitStatus::Code(9);

const MIB: u64 = 1 << 20;

/// The names of the limits that this system does not have.
fn missing() -> &'static [&'static str] {
    match (crate::SIMULATED, cfg!(windows)) {
        (true, _) => &["memory", "cpu_time", "open_files", "processes"],
        (false, true) => &["open_files"],
        (false, false) => &[],
    }
}

/// Starts a child with a limit, and waits for its end. `None`: the system does not enforce the limit, and said so.
fn end(command: &Command, name: &str, set: impl FnOnce(&mut Limits)) -> Option<ExitStatus> {
    let mut harness = Harness::new();
    let mut limits = Limits::default();
    set(&mut limits);
    let command = command.clone().limits(limits);
    let command = command.stdin(Stdio::Null).stdout(Stdio::Null);
    match harness.port.spawn(&command.stderr(Stdio::Inherit)) {
        Ok(spawned) => {
            assert!(!missing().contains(&name), "{name} is not enforced");
            harness.track_child(spawned.process);
            let exit = harness.submit(spawned.process, Request::Exit);
            let result = harness.last(exit);
            let Ok(Outcome::Exited(status)) = result else {
                panic!("the child should have exited: {result:?}");
            };
            harness.finish();
            Some(status)
        }
        Err(error) => {
            // Wine enforces no limit.
            assert!(cfg!(windows) || missing().contains(&name), "{error}");
            assert_eq!(error.step, SpawnStep::Limits, "{error}");
            assert_eq!(error.source.kind(), io::ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(harness.port.open_handles(), 0, "nothing is left open");
            harness.finish();
            None
        }
    }
}

#[test]
fn a_child_gets_no_more_memory_than_its_limit() {
    let allocate = crate::child(Role::Allocate(200));
    for (limit, expected) in [(150, REFUSED), (1000, ExitStatus::Code(0))] {
        let status = end(&allocate, "memory", |limits| {
            limits.memory = Some(limit * MIB);
        });
        assert!(status.is_none_or(|status| status == expected), "{status:?}");
    }
}

#[test]
fn a_child_ends_when_its_cpu_time_is_used_up() {
    let compute = crate::child(Role::Compute);
    let second = Duration::from_secs(1);
    let status = end(&compute, "cpu_time", |limits| {
        limits.cpu_time = Some(second);
    });
    match status {
        None => {}
        // SIGXCPU
        Some(ExitStatus::Signal { number, .. }) => assert!(cfg!(unix) && number == 24),
        Some(status) => assert!(
            cfg!(windows) && status == ExitStatus::Code(1816),
            "{status}"
        ),
    }
}

#[test]
fn a_child_opens_no_more_files_than_its_limit() {
    let open = crate::child(Role::OpenFiles);
    let status = end(&open, "open_files", |limits| limits.open_files = Some(20));
    let few = |status| matches!(status, ExitStatus::Code(1..=17));
    assert!(status.is_none_or(few), "{status:?}");
    let status = end(&open, "open_files", |limits| limits.open_files = Some(1000));
    assert!(
        status.is_none_or(|status| status == ExitStatus::Code(100)),
        "{status:?}"
    );
}

#[test]
fn a_child_starts_no_more_processes_than_its_limit() {
    let start = starting();
    for (limit, few) in [(1, true), (1000, false)] {
        let status = end(&start, "processes", |limits| limits.processes = Some(limit));
        let expected = |status| (status != ExitStatus::Code(0)) == few;
        assert!(status.is_none_or(expected), "{status:?}");
    }
}

/// A child that starts another one, and exits with 0 if it can.
#[cfg(not(target_os = "linux"))]
fn starting() -> Command {
    crate::child(Role::Start)
}

/// As above. The limit does not apply to root, and the tests' program may be out of reach for other users.
#[cfg(target_os = "linux")]
fn starting() -> Command {
    if crate::SIMULATED || !rustix::process::geteuid().is_root() {
        return crate::child(Role::Start);
    }
    // No other test has this user.
    let user = 71_000 + std::process::id() % 1000;
    Command::new("/bin/sh")
        .args(["-c", "/bin/true; exit $?"])
        .user(user, user, [])
}
