//! What Unix alone gives to children: sockets and terminals.

use tidewaiter::port::{Outcome, Request, Spawned};
use tidewaiter::process::{Command, ExitStatus, Stdio};

use crate::support::harness::Harness;
use crate::support::reader::Reader;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[track_caller]
fn start(harness: &mut Harness, command: &Command) -> Spawned {
    let spawned = harness.port.spawn(command).expect("there is a shell");
    harness.track_child(spawned.process);
    for pipe in &spawned.pipes {
        harness.track(pipe.handle);
    }
    spawned
}

#[track_caller]
fn status(harness: &mut Harness, spawned: &Spawned) -> ExitStatus {
    let exit = harness.submit(spawned.process, Request::Exit);
    match harness.last(exit) {
        Ok(Outcome::Exited(status)) => status,
        other => panic!("the child should have exited: {other:?}"),
    }
}

#[test]
fn a_standard_stream_can_be_a_socket() {
    let mut harness = Harness::new();
    let command = shell("test -S /dev/stdin && test -S /dev/stdout && test -p /dev/stderr")
        .stdin(Stdio::Socket)
        .stdout(Stdio::Socket);
    let spawned = start(&mut harness, &command);
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

/// Goal: when no process has the terminal open any more, this is an end of file, not an error.
#[test]
fn a_terminal_ends_as_a_pipe_does() {
    let mut harness = Harness::new();
    let command = shell("stty raw -echo; read line; echo heard $line; exit 3").pty();
    let spawned = start(&mut harness, &command);
    assert!(spawned.pipe(2).is_none(), "it is the terminal, too");
    let mut output = Reader::new(&mut harness, spawned.pipe(1).expect("a terminal"));
    harness.send_all(spawned.pipe(0).expect("a terminal"), b"word\n");
    output.skip_past(&mut harness, b"heard word");
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(3));
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.ends_with(b"\n") && end.is_ok(), "{end:?}");
    harness.finish();
}
