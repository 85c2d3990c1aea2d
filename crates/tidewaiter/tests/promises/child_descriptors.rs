//! Children with descriptors beside the standard streams.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

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

/// A path for one of the tests' files.
pub(super) fn path(name: &str) -> PathBuf {
    let name = format!("tidewaiter-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
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
    let spawned = harness.spawn(&relay().fd(5, Stdio::SameAs(1)));
    let mut output = Reader::new(&mut harness, spawned.pipe(1).expect("a pipe"));
    output.skip_past(&mut harness, READY);
    harness.send_all(spawned.pipe(9).expect("a pipe"), b"\r\n\n\x1a\0end");
    assert_eq!(output.take(&mut harness, 8), b"\r\n\n\x1a\0end");
    harness.close_now(spawned.pipe(9).expect("a pipe"));
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

/// Whichever is set first, and over any number of steps.
#[test]
fn any_descriptor_can_be_the_same_as_any_other() {
    let mut harness = Harness::new();
    let command = relay()
        .stdout(Stdio::SameAs(5))
        .stderr(Stdio::SameAs(1))
        .fd(5, Stdio::SameAs(7))
        .fd(7, Stdio::PipeFromChild);
    let spawned = harness.spawn(&command);
    let ends: Vec<_> = spawned.pipes.iter().map(|pipe| pipe.child_fd).collect();
    assert_eq!(ends, [0, 7, 9]);
    let mut output = Reader::new(&mut harness, spawned.pipe(7).expect("a pipe"));
    output.skip_past(&mut harness, READY);
    harness.send_all(spawned.pipe(9).expect("a pipe"), b"hello");
    assert_eq!(output.take(&mut harness, 5), b"hello");
    harness.close_now(spawned.pipe(9).expect("a pipe"));
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn a_descriptor_that_is_the_same_as_none_is_refused() {
    let mut harness = Harness::new();
    for (command, refused) in [
        (relay().fd(5, Stdio::SameAs(5)), 5),
        (relay().stdin(Stdio::SameAs(2)).stderr(Stdio::SameAs(0)), 0),
        (relay().fd(5, Stdio::SameAs(4)), 5),
        (
            relay()
                .fd(4, Stdio::SameAs(5))
                .fd(5, Stdio::SameAs(u32::MAX)),
            4,
        ),
    ] {
        let error = harness.port.spawn(&command).expect_err("it leads nowhere");
        assert_eq!(error.step, SpawnStep::Descriptor(refused), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(harness.port.open_handles(), 0);
    }
    harness.finish();
}

#[test]
fn a_descriptor_can_be_a_file() {
    let mut harness = Harness::new();
    let [from, to] = ["from", "to"].map(path);
    fs::write(&from, "one\r\n\x1a").expect("it can be written");
    fs::write(&to, "something longer").expect("it can be written");
    for (stdio, written) in [
        (Stdio::write_file(&to), "one\r\n\x1a"),
        (Stdio::append_file(&to), "one\r\n\x1aone\r\n\x1a"),
    ] {
        let command = relay().fd(9, Stdio::read_file(&from)).fd(5, stdio);
        let spawned = harness.spawn(&command);
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
        assert_eq!(fs::read_to_string(&to).expect("it is there"), written);
    }
    fs::remove_file(&to).expect("it is ours");
    for stdio in [Stdio::append_file(&to), Stdio::write_file(&to)] {
        let command = relay().fd(9, Stdio::read_file(&from)).fd(5, stdio);
        let spawned = harness.spawn(&command);
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
        assert_eq!(fs::read_to_string(&to).expect("it is made"), "one\r\n\x1a");
        fs::remove_file(&to).expect("it is ours");
    }
    fs::remove_file(&from).expect("it is ours");
    harness.finish();
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let mut harness = Harness::new();
    let (missing, folder) = (path("missing"), std::env::temp_dir());
    let inside = missing.join("inside");
    for (stdio, path, kind) in [
        (
            Stdio::read_file(&missing),
            &missing,
            Some(io::ErrorKind::NotFound),
        ),
        (
            Stdio::write_file(&inside),
            &inside,
            Some(io::ErrorKind::NotFound),
        ),
        (
            Stdio::append_file(&inside),
            &inside,
            Some(io::ErrorKind::NotFound),
        ),
        // Windows refuses access to folders.
        (Stdio::read_file(&folder), &folder, None),
        (Stdio::write_file(&folder), &folder, None),
    ] {
        let command = relay().fd(3, Stdio::PipeFromChild).fd(5, stdio);
        let error = harness.port.spawn(&command).expect_err("there is none");
        assert_eq!(error.step, SpawnStep::Descriptor(5), "{error}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("descriptor 5"), "{text}");
        assert_eq!(error.file.as_deref(), Some(path.as_path()), "{text}");
        assert!(error.source.raw_os_error().is_some(), "{error:?}");
        assert!(
            kind.is_none_or(|kind| error.source.kind() == kind),
            "{error:?}"
        );
        assert_eq!(harness.port.open_handles(), 0);
    }
    harness.finish();
}

#[test]
fn a_descriptor_can_be_a_file_of_ours_or_lead_nowhere() {
    let mut harness = Harness::new();
    let path = path("inherited");
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
    let text = fs::read_to_string(&path).expect("it is there");
    assert_eq!(text, "to the file");
    fs::remove_file(&path).expect("it is ours");
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
