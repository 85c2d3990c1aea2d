//! Sockets and terminals as the streams of children, which Unix alone has.

use tidewaiter::process::{Command, ExitStatus, Stdio, TerminalSize};

use super::child_descriptors::status;
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

/// Goal: when no process has the terminal open any more, this is an end of file, not an error.
#[test]
fn a_terminal_ends_as_a_pipe_does() {
    let mut harness = Harness::new();
    let command = shell("stty raw -echo; read line; echo heard $line; exit 3")
        .terminal(TerminalSize::default());
    let spawned = harness.spawn(&command);
    assert!(spawned.pipe(2).is_none(), "it is the terminal, too");
    let mut output = Reader::new(&mut harness, spawned.pipe(1).expect("a terminal"));
    harness.send_all(spawned.pipe(0).expect("a terminal"), b"word\n");
    output.skip_past(&mut harness, b"heard word");
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(3));
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.ends_with(b"\n") && end.is_ok(), "{end:?}");
    harness.finish();
}
