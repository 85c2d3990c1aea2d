//! Pipes between two children.

use std::io;

use tidewaiter::port::{Handle, Request, Spawned};
use tidewaiter::process::{Command, ExitStatus, SharedPipe, SpawnStep, Stdio};

use crate::support::harness::Harness;
use crate::support::reader::Reader;
use crate::support::roles::{READY, Role};

#[track_caller]
fn status(harness: &mut Harness, spawned: &Spawned) -> ExitStatus {
    let exit = harness.submit(spawned.process, Request::Exit);
    harness.exit_status(exit)
}

#[track_caller]
fn pipe(spawned: &Spawned, child_fd: u32) -> Handle {
    spawned.pipe(child_fd).expect("it is a pipe to us")
}

/// A child that copies its input to its output, with only what is given as its standard streams.
fn echo() -> Command {
    crate::child(Role::Echo).stderr(Stdio::Inherit)
}

/// Goal: bytes and the end pass through any number of children, in whichever order these are started, and although
/// the commands are kept.
#[test]
fn bytes_and_the_end_pass_through_a_pipeline() {
    let mut harness = Harness::new();
    for order in [&[0, 1][..], &[1, 0], &[0, 1, 2], &[2, 0, 1], &[2, 1, 0]] {
        let mut commands: Vec<_> = order.iter().map(|_| echo()).collect();
        for at in 1..commands.len() {
            let pipe = SharedPipe::new();
            commands[at - 1] = commands[at - 1].clone().stdout(pipe.writer());
            commands[at] = commands[at].clone().stdin(pipe.reader());
        }
        let mut children: Vec<_> = order
            .iter()
            .map(|&at| (at, harness.spawn(&commands[at])))
            .collect();
        children.sort_by_key(|(at, _)| *at);
        let children: Vec<_> = children.into_iter().map(|(_, child)| child).collect();
        let ours = |child: &Spawned| child.pipes.iter().map(|pipe| pipe.child_fd).collect();
        let ours: Vec<Vec<u32>> = children.iter().map(ours).collect();
        let last = children.len() - 1;
        assert_eq!((&ours[0][..], &ours[last][..]), (&[0][..], &[1][..]));
        assert!(ours[1..last].iter().all(Vec::is_empty), "{ours:?}");
        let (input, output) = (pipe(&children[0], 0), pipe(&children[last], 1));
        let mut output = Reader::new(&mut harness, output);
        for _ in &children {
            output.skip_past(&mut harness, READY);
        }
        let data: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        for piece in data.chunks(30_000) {
            harness.send_all(input, piece);
            assert_eq!(output.take(&mut harness, piece.len()), piece);
        }
        harness.close_now(input);
        let (rest, end) = output.read_to_end(&mut harness);
        assert!(rest.is_empty() && end.is_ok(), "{end:?}");
        for child in &children {
            assert_eq!(status(&mut harness, child), ExitStatus::Code(0));
        }
    }
    harness.finish();
}

/// The writer writes for as long as it can: it ends only because the reader has.
#[test]
fn a_reader_that_ends_first_ends_its_writer() {
    let mut harness = Harness::new();
    let shared = SharedPipe::new();
    let writes = crate::child(Role::Flood(u32::MAX)).stderr(shared.writer());
    let reads = crate::child(Role::Exit(7)).stdin(shared.reader());
    let writer = harness.spawn(&writes);
    let reader = harness.spawn(&reads);
    assert_eq!(status(&mut harness, &reader), ExitStatus::Code(7));
    assert_ne!(status(&mut harness, &writer), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn a_writer_that_ends_first_leaves_what_it_wrote() {
    let mut harness = Harness::new();
    let shared = SharedPipe::new();
    let writes = crate::child(Role::LeaveEcho).stdin(Stdio::Null);
    let writer = harness.spawn(&writes.stdout(shared.writer()));
    assert_eq!(status(&mut harness, &writer), ExitStatus::Code(5));
    let reader = harness.spawn(&echo().stdin(shared.reader()));
    let output = Reader::new(&mut harness, pipe(&reader, 1));
    let (text, end) = output.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    let found = text.windows(READY.len()).filter(|part| *part == READY);
    assert_eq!(found.count(), 3, "its own, the writer's, and its child's");
    assert_eq!(status(&mut harness, &reader), ExitStatus::Code(0));
    harness.finish();
}

/// Goal: what no child can have any more is closed, whether the pipe is already open or not.
#[test]
fn an_end_that_no_child_can_have_is_closed() {
    let mut harness = Harness::new();
    for dropped_first in [true, false] {
        let shared = SharedPipe::new();
        let mut unused = Some(echo().stdout(shared.writer()));
        let reads = echo().stdin(shared.reader());
        drop(shared);
        if dropped_first {
            unused = None;
        }
        let reader = harness.spawn(&reads);
        drop(unused);
        assert_eq!(status(&mut harness, &reader), ExitStatus::Code(0));

        let shared = SharedPipe::new();
        let mut unused = Some(echo().stdin(shared.reader()));
        let writes = crate::child(Role::Flood(u32::MAX)).stderr(shared.writer());
        drop(shared);
        if dropped_first {
            unused = None;
        }
        let writer = harness.spawn(&writes);
        drop(unused);
        assert_ne!(status(&mut harness, &writer), ExitStatus::Code(0));
    }
    drop(SharedPipe::new());
    harness.finish();
}

#[test]
fn an_end_is_for_one_child_alone() {
    let mut harness = Harness::new();
    let shared = SharedPipe::new();
    let writes = echo().stdout(shared.writer());
    let writer = harness.spawn(&writes);
    let twice = SharedPipe::new();
    for (command, refused) in [
        (writes, 1),
        (echo().stderr(shared.writer()), 2),
        (echo().stdout(twice.writer()).stderr(twice.writer()), 2),
    ] {
        let error = harness.port.spawn(&command).expect_err("a child has it");
        assert_eq!(error.step, SpawnStep::Descriptor(refused), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    // The first child still has it.
    let reader = harness.spawn(&echo().stdin(shared.reader()));
    let mut output = Reader::new(&mut harness, pipe(&reader, 1));
    harness.send_all(pipe(&writer, 0), b"hello");
    harness.close_now(pipe(&writer, 0));
    output.skip_past(&mut harness, b"hello");
    for child in [writer, reader] {
        assert_eq!(status(&mut harness, &child), ExitStatus::Code(0));
    }
    harness.finish();
}

#[test]
fn a_child_that_cannot_be_started_leaves_its_end_to_another() {
    let mut harness = Harness::new();
    let shared = SharedPipe::new();
    for end in [shared.writer(), shared.writer()] {
        let missing = Command::new("no-such-program-anywhere").stdout(end);
        harness.port.spawn(&missing).expect_err("there is none");
    }
    let reader = harness.spawn(&echo().stdin(shared.reader()));
    let missing = Command::new("no-such-program-anywhere").stdin(shared.reader());
    harness.port.spawn(&missing).expect_err("there is none");
    let writer = harness.spawn(&echo().stdout(shared.writer()));
    let mut output = Reader::new(&mut harness, pipe(&reader, 1));
    harness.send_all(pipe(&writer, 0), b"hello");
    output.skip_past(&mut harness, b"hello");
    harness.close_now(pipe(&writer, 0));
    for child in [writer, reader] {
        assert_eq!(status(&mut harness, &child), ExitStatus::Code(0));
    }
    harness.finish();
}
