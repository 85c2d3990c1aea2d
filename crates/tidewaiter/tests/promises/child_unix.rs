//! Sockets and FIFOs as the streams of children, which Unix alone has.

use std::fs::File;
use std::io::Write;

use tidewaiter::process::{Command, ExitStatus, SharedPipe, SpawnStep, Stdio};

use super::child_descriptors::{path, status};
use crate::support::alone::alone;
use crate::support::harness::Harness;
use crate::support::reader::Reader;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[test]
fn a_standard_stream_can_be_a_socket() {
    let mut harness = Harness::new();
    let command = shell("test -S /dev/stdin && test -S /dev/stdout && test -p /dev/stderr")
        .stdin(Stdio::Socket)
        .stdout(Stdio::Socket);
    let spawned = harness.spawn(&command);
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

/// Goal: opening a FIFO waits for nobody, but the child's reads do.
/// Method: alone, because the child of another test may have a copy of an end, until its program starts.
#[test]
fn a_fifo_holds_nobody_up() {
    alone(module_path!(), "a_fifo_holds_nobody_up", || {
        let mut harness = Harness::new();
        let fifo = path("fifo");
        let mkfifo = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(mkfifo.expect("it can be run").success());
        // Nobody writes: it is empty.
        let command = shell("cat; exit 4").stdin(Stdio::read_file(&fifo));
        let spawned = harness.spawn(&command);
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(4));
        // Nobody reads.
        let command = shell("").stdout(Stdio::write_file(&fifo));
        let error = harness.port.spawn(&command).expect_err("nobody reads");
        assert_eq!(error.step, SpawnStep::Descriptor(1), "{error}");
        // We do both. The child waits until we write.
        let mut both = File::options()
            .read(true)
            .write(true)
            .open(&fifo)
            .expect("it is there");
        let command = shell("echo ready; read line; exit $line").stdin(Stdio::read_file(&fifo));
        let spawned = harness.spawn(&command);
        let mut output = Reader::new(&mut harness, spawned.pipe(1).expect("a pipe"));
        output.skip_past(&mut harness, b"ready\n");
        both.write_all(b"5\n").expect("there is room");
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(5));
        std::fs::remove_file(&fifo).expect("it is ours");
        harness.finish();
    });
}

#[test]
fn a_signal_ends_a_writer_whose_reader_ended() {
    let mut harness = Harness::new();
    let pipe = SharedPipe::new();
    let writer = harness.spawn(&Command::new("yes").stdout(pipe.writer()));
    let reader = Command::new("head").args(["-n", "2"]).stdin(pipe.reader());
    let reader = harness.spawn(&reader);
    let output = Reader::new(&mut harness, reader.pipe(1).expect("a pipe"));
    let (text, _) = output.read_to_end(&mut harness);
    assert_eq!(text, b"y\ny\n");
    assert_eq!(status(&mut harness, &reader), ExitStatus::Code(0));
    let broken_pipe = ExitStatus::Signal {
        number: libc::SIGPIPE,
        core_dumped: false,
    };
    assert_eq!(status(&mut harness, &writer), broken_pipe);
    harness.finish();
}
