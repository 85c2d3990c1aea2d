//! Children with descriptors beside the standard streams.

use std::fs::File;

use tidewaiter::port::{Request, Spawned};
use tidewaiter::process::{Command, ExitStatus, PipeDirection, SpawnStep, Stdio};

use crate::support::harness::Harness;
use crate::support::number::number_of_file;
use crate::support::reader::Reader;
use crate::support::roles::{READY, Role};

/// A child that copies its descriptor 9 to its descriptor 5, of which only the pipe to the former is given.
fn relay() -> Command {
    crate::child(Role::Relay).fd(9, Stdio::PipeToChild)
}

#[track_caller]
pub(super) fn status(harness: &mut Harness, spawned: &Spawned) -> ExitStatus {
    let exit = harness.submit(spawned.process, Request::Exit);
    harness.exit_status(exit)
}

#[test]
fn pipes_work_at_any_descriptor() {
    let mut harness = Harness::new();
    let command = relay().stdout(Stdio::Closed).fd(5, Stdio::PipeFromChild);
    let spawned = harness.spawn(&command);
    let ends = spawned.pipes.iter();
    let ends: Vec<_> = ends.map(|pipe| (pipe.child_fd, pipe.direction)).collect();
    assert_eq!(
        ends,
        [
            (0, PipeDirection::ToChild),
            (2, PipeDirection::FromChild),
            (5, PipeDirection::FromChild),
            (9, PipeDirection::ToChild),
        ]
    );
    let input = spawned.pipe(9).expect("a pipe");
    let mut output = Reader::new(&mut harness, spawned.pipe(5).expect("a pipe"));
    harness.send_all(input, &[b'x'; 200_000]);
    assert_eq!(output.take(&mut harness, 200_000), [b'x'; 200_000]);
    harness.close_now(input);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

/// A descriptor is binary: no runtime changes what goes through.
#[test]
fn a_descriptor_can_be_the_childs_standard_output() {
    let mut harness = Harness::new();
    let spawned = harness.spawn(&relay().fd(5, Stdio::Stdout));
    let mut output = Reader::new(&mut harness, spawned.pipe(1).expect("a pipe"));
    output.skip_past(&mut harness, READY);
    harness.send_all(spawned.pipe(9).expect("a pipe"), b"\r\n\n\x1a\0end");
    assert_eq!(output.take(&mut harness, 8), b"\r\n\n\x1a\0end");
    harness.close_now(spawned.pipe(9).expect("a pipe"));
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn a_descriptor_can_be_a_file_of_ours_or_lead_nowhere() {
    let mut harness = Harness::new();
    let path = format!("tidewaiter-{}-inherited", std::process::id());
    let path = std::env::temp_dir().join(path);
    let file = File::create(&path).expect("it can be written");
    for (stdio, written) in [
        (Stdio::Descriptor(number_of_file(&file)), "to the file"),
        (Stdio::Null, "to nowhere"),
    ] {
        let spawned = harness.spawn(&relay().fd(5, stdio));
        let input = spawned.pipe(9).expect("a pipe");
        harness.send_all(input, written.as_bytes());
        harness.close_now(input);
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    }
    // Ours is still open.
    assert_eq!(file.metadata().expect("it is open").len(), 11);
    let text = std::fs::read_to_string(&path).expect("it is there");
    assert_eq!(text, "to the file");
    std::fs::remove_file(&path).expect("it is ours");
    harness.finish();
}

/// The child sees that the descriptor that it would write to is not open.
#[test]
fn a_descriptor_that_is_not_given_is_closed() {
    let mut harness = Harness::new();
    let spawned = harness.spawn(&relay().fd(5, Stdio::Closed));
    harness.send_all(spawned.pipe(9).expect("a pipe"), b"nobody gets it");
    assert_ne!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn a_descriptor_that_a_child_cannot_have_leaves_nothing_open() {
    let mut harness = Harness::new();
    let command = relay()
        .fd(3, Stdio::PipeFromChild)
        .fd(4, Stdio::Descriptor(9_999_999));
    let error = harness.port.spawn(&command).expect_err("ours is not open");
    assert_eq!(error.step, SpawnStep::Descriptor(4), "{error}");
    assert!(error.to_string().contains("descriptor 4"), "{error}");
    assert_eq!(harness.port.open_handles(), 0);
    harness.finish();
}
