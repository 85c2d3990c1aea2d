//! Child processes: the port reports their pipes and their end like everything else.

use std::time::Duration;

use bytes::Bytes;
use tidewaiter::port::{CloseMode, Outcome, Request};
use tidewaiter::process::{Command, ExitStatus, Priority, Signal, SignalTarget, SpawnStep, Stdio};

use crate::KILLED;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::Reader;
use crate::support::roles::{READY, Role};

#[test]
fn a_child_echoes_its_input_until_it_ends() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Echo);
    let mut output = child.output(&mut harness);
    for number in 0..20u8 {
        harness.send_all(child.stdin, &[number; 1000]);
        assert_eq!(output.take(&mut harness, 1000), [number; 1000]);
    }
    harness.close_now(child.stdin);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn an_exit_code_is_reported() {
    let mut harness = Harness::new();
    for code in [0, 1, 7, 255] {
        let child = Child::start(&mut harness, Role::Exit(code));
        let status = child.status(&mut harness);
        assert_eq!(status, ExitStatus::Code(code.into()));
        assert_eq!(status.success(), code == 0);
    }
    harness.finish();
}

/// Goal: the CPU time and the memory of a child are known once it has ended.
#[test]
fn a_child_that_has_ended_tells_what_it_used() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Deaf);
    let running = harness.port.usage(child.process).expect("it is a process");
    assert_eq!(running, None, "it still runs");
    let child = Child::start(&mut harness, Role::Work(64));
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    let usage = harness.port.usage(child.process).expect("it is a process");
    assert_eq!(usage.is_none(), crate::SIMULATED);
    if let Some(usage) = usage {
        let time = usage.user_time + usage.system_time;
        assert!(
            !time.is_zero() && time < Duration::from_secs(60),
            "{usage:?}"
        );
        // A parent that had more itself cannot tell.
        let enough = |bytes| bytes >= 64 << 20;
        assert!(usage.peak_memory.is_none_or(enough), "{usage:?}");
    }
    let error = harness.port.usage(child.stdin).expect_err("it is a pipe");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    harness.finish();
}

#[test]
fn a_killed_child_is_distinguished_from_one_that_exits() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Deaf);
    let output = child.output(&mut harness);
    harness
        .port
        .signal(child.process, Signal::Kill, SignalTarget::Process)
        .expect("it runs");
    assert_eq!(child.status(&mut harness), KILLED);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    let error = harness
        .port
        .signal(child.process, Signal::Kill, SignalTarget::Process)
        .expect_err("it no longer exists");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    harness.finish();
}

#[test]
fn a_child_can_close_its_output_and_run_on() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Mute);
    let output = child.output(&mut harness);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert!(harness.is_live(child.exit), "it has not exited");
    harness.close_now(child.stdin);
    assert_eq!(child.status(&mut harness), ExitStatus::Code(3));
    harness.finish();
}

/// Goal: the exit of a child and the end of its pipes are two events.
/// Method: after the exit, the grandchild that inherited the pipes still echoes through them.
#[test]
fn an_exit_is_reported_while_a_grandchild_keeps_the_pipes_open() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::LeaveEcho);
    let mut output = child.output(&mut harness);
    assert_eq!(child.status(&mut harness), ExitStatus::Code(5));
    output.skip_past(&mut harness, READY);
    harness.send_all(child.stdin, b"who is there?");
    assert_eq!(output.take(&mut harness, 13), b"who is there?");
    harness.close_now(child.stdin);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn killing_the_tree_ends_the_grandchildren() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::KeepDeaf);
    let mut output = child.output(&mut harness);
    output.skip_past(&mut harness, READY);
    harness
        .port
        .signal(child.process, Signal::Kill, SignalTarget::Tree)
        .expect("it runs");
    assert_eq!(child.status(&mut harness), KILLED);
    // The grandchild holds the pipe, too, so only its death ends it.
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn a_send_to_a_child_that_never_reads_stays_pending_and_can_be_cancelled() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Deaf);
    let data = Bytes::from(vec![1; 1 << 20]);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &data);
    assert!(harness.port.cancel(stuck));
    harness.assert_cancelled(stuck);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &data);
    let closing = harness.close(child.stdin, CloseMode::Graceful);
    assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
    harness.assert_cancelled(stuck);
    assert!(harness.is_live(child.exit), "it has not exited");
    harness.finish();
}

#[test]
fn a_send_to_a_child_that_dies_fails() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Deaf);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &Bytes::from(vec![1; 1 << 20]));
    harness
        .port
        .signal(child.process, Signal::Kill, SignalTarget::Tree)
        .expect("it runs");
    let error = harness.refusal(stuck);
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    assert_eq!(child.status(&mut harness), KILLED);
    harness.finish();
}

#[test]
fn a_flood_on_one_stream_passes_while_the_other_is_idle() {
    const COUNT: u32 = 1000;
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Flood(COUNT));
    let output = child.output(&mut harness);
    let mut errors = Reader::new(&mut harness, child.stderr);
    let total = 1024 * usize::try_from(COUNT).expect("it fits");
    let flood = errors.take(&mut harness, total);
    assert!(flood.iter().all(|byte| *byte == b'!'));
    assert!(harness.is_live(child.exit) && !output.has_ended());
    harness.close_now(child.stdin);
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    let (rest, end) = errors.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn standard_streams_other_than_pipes_have_no_handles() {
    let mut harness = Harness::new();
    let command = crate::child(Role::Exit(0))
        .stdin(Stdio::Null)
        .stderr(Stdio::Null);
    let spawned = harness.port.spawn(&command).expect("it starts");
    harness.track_child(spawned.process);
    let [None, Some(stdout), None] = [0, 1, 2].map(|number| spawned.pipe(number)) else {
        panic!("standard output alone is a pipe: {:?}", spawned.pipes);
    };
    harness.track(stdout);
    assert_eq!(harness.port.open_handles(), 2);
    let exit = harness.submit(spawned.process, Request::Exit);
    let result = harness.last(exit);
    assert!(
        matches!(result, Ok(Outcome::Exited(ExitStatus::Code(0)))),
        "{result:?}"
    );
    harness.finish();
}

#[test]
fn standard_error_can_lead_into_standard_output() {
    let mut harness = Harness::new();
    let command = crate::child(Role::Flood(1)).stderr(Stdio::SameAs(1));
    let spawned = harness.port.spawn(&command).expect("it starts");
    harness.track_child(spawned.process);
    let [Some(stdin), Some(stdout), None] = [0, 1, 2].map(|number| spawned.pipe(number)) else {
        panic!("there should be two pipes: {:?}", spawned.pipes);
    };
    harness.track(stdin);
    harness.track(stdout);
    let mut output = Reader::new(&mut harness, stdout);
    output.skip_past(&mut harness, READY);
    assert_eq!(output.take(&mut harness, 1024), [b'!'; 1024]);
    harness.finish();
}

#[test]
fn a_program_that_does_not_exist_is_not_found() {
    let mut harness = Harness::new();
    let error = harness
        .port
        .spawn(&Command::new("no-such-program-anywhere"))
        .expect_err("there is no such program");
    assert_eq!(error.step, SpawnStep::Search, "{error}");
    assert_eq!(error.source.kind(), std::io::ErrorKind::NotFound, "{error}");
    assert!(
        error.to_string().contains("no-such-program-anywhere"),
        "{error}"
    );
    assert_eq!(harness.port.open_handles(), 0, "nothing is left open");
    harness.finish();
}

#[test]
fn a_session_a_umask_a_priority_and_cpus_are_given_or_refused() {
    let mut harness = Harness::new();
    let (child, unix) = (crate::child(Role::Exit(7)), cfg!(unix) && !crate::SIMULATED);
    let cases = [
        (child.clone().own_session(true), SpawnStep::Session, unix),
        (child.clone().umask(0o077), SpawnStep::Umask, unix),
        (
            child.clone().cpus(0..64),
            SpawnStep::Cpus,
            !crate::SIMULATED && cfg!(any(target_os = "linux", windows)),
        ),
        (
            child.priority(Priority::IDLE),
            SpawnStep::Priority,
            !crate::SIMULATED,
        ),
    ];
    for (command, step, given) in cases {
        if given {
            let child = Child::run(&mut harness, &command);
            assert_eq!(child.status(&mut harness), ExitStatus::Code(7), "{step}");
            continue;
        }
        let error = harness.port.spawn(&command).expect_err("it has none");
        assert_eq!(error.step, step, "{error}");
        assert_eq!(error.source.kind(), std::io::ErrorKind::Unsupported);
    }
    harness.finish();
}

#[test]
fn raw_arguments_reach_a_program_of_windows_unchanged_and_are_refused_elsewhere() {
    let mut harness = Harness::new();
    let command = Command::new("cmd.exe").raw_arguments(r#"/d /s /c "echo "a  b"& exit 7""#);
    if cfg!(windows) && !crate::SIMULATED {
        let child = Child::run(&mut harness, &command);
        let (text, end) = Reader::new(&mut harness, child.stdout).read_to_end(&mut harness);
        assert!(end.is_ok(), "{end:?}");
        assert_eq!(String::from_utf8_lossy(&text).trim_end(), r#""a  b""#);
        assert_eq!(child.status(&mut harness), ExitStatus::Code(7));
    } else {
        let error = harness
            .port
            .spawn(&command)
            .expect_err("it has no command line");
        assert_eq!(error.step, SpawnStep::Arguments, "{error}");
        assert_eq!(error.source.kind(), std::io::ErrorKind::Unsupported);
    }
    harness.finish();
}

#[test]
fn a_hundred_children_at_once_all_answer_and_end() {
    let mut harness = Harness::new();
    let children: Vec<_> = (0..100)
        .map(|_| Child::start(&mut harness, Role::Echo))
        .collect();
    for child in &children {
        harness.send(child.stdin, child.process_text());
    }
    let mut outputs: Vec<_> = children
        .iter()
        .map(|child| child.output(&mut harness))
        .collect();
    for (child, output) in children.iter().zip(&mut outputs) {
        let text = child.process_text();
        assert_eq!(output.take(&mut harness, text.len()), text);
    }
    for child in &children {
        harness.close(child.stdin, CloseMode::Graceful);
    }
    for (child, output) in children.iter().zip(outputs) {
        let (rest, end) = output.read_to_end(&mut harness);
        assert!(rest.is_empty() && end.is_ok(), "{end:?}");
        assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    }
    harness.finish();
}
