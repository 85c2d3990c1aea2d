//! Pipes to children that go both ways.

use std::io;

use bytes::Bytes;
use tidewaiter::port::{Handle, PortKind, Request, SocketOption, Spawned};
use tidewaiter::process::{ExitStatus, PipeDirection, Signal, SignalTarget, Stdio};

use crate::KILLED;
use crate::support::harness::Harness;
use crate::support::reader::Reader;
use crate::support::roles::{READY, Role};

/// Starts a child whose standard streams are all one pipe.
#[track_caller]
fn start(harness: &mut Harness, role: Role) -> (Spawned, Handle) {
    let command = crate::child(role)
        .stdin(Stdio::Duplex)
        .stdout(Stdio::SameAs(0))
        .stderr(Stdio::SameAs(1));
    let spawned = harness.spawn(&command);
    let [pipe] = spawned.pipes[..] else {
        panic!("there should be one pipe: {:?}", spawned.pipes);
    };
    assert_eq!((pipe.child_fd, pipe.direction), (0, PipeDirection::Both));
    let half_closes = harness.port.info().kind != PortKind::Iocp;
    assert_eq!(pipe.half_closes, half_closes);
    (spawned, pipe.handle)
}

#[track_caller]
fn status(harness: &mut Harness, spawned: &Spawned) -> ExitStatus {
    let exit = harness.submit(spawned.process, Request::Exit);
    harness.exit_status(exit)
}

#[test]
fn a_child_echoes_over_one_pipe() {
    let mut harness = Harness::new();
    let (spawned, pipe) = start(&mut harness, Role::Echo);
    let mut output = Reader::new(&mut harness, pipe);
    output.skip_past(&mut harness, READY);
    let data: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    for piece in data.chunks(20_000) {
        harness.send_all(pipe, piece);
        assert_eq!(output.take(&mut harness, piece.len()), piece);
    }
    harness.close_now(pipe);
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    harness.finish();
}

/// Goal: after our end of file, the child's answer still arrives, and then its end of file.
#[test]
fn our_side_can_be_ended_alone_where_the_system_can() {
    let mut harness = Harness::new();
    let (spawned, pipe) = start(&mut harness, Role::Echo);
    let mut output = Reader::new(&mut harness, pipe);
    output.skip_past(&mut harness, READY);
    harness.send_all(pipe, b"last words");
    let ended = harness.port.shutdown_write(pipe);
    if spawned.pipes[0].half_closes {
        ended.expect("it is a pair of sockets");
        let (text, end) = output.read_to_end(&mut harness);
        assert_eq!(text, b"last words");
        end.expect("it ends in order");
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    } else {
        let error = ended.expect_err("only a close ends it");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(output.take(&mut harness, 10), b"last words");
        harness.close_now(pipe);
        assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(0));
    }
    harness.finish();
}

#[test]
fn what_a_child_wrote_before_its_exit_arrives() {
    let mut harness = Harness::new();
    let (spawned, pipe) = start(&mut harness, Role::LeaveEcho);
    assert_eq!(status(&mut harness, &spawned), ExitStatus::Code(5));
    // The child's own child has the pipe, too.
    harness.send_all(pipe, b"hello");
    let mut output = Reader::new(&mut harness, pipe);
    output.skip_past(&mut harness, b"hello");
    harness.finish();
}

#[test]
fn both_directions_end_with_the_child() {
    let mut harness = Harness::new();
    let (spawned, pipe) = start(&mut harness, Role::Deaf);
    let mut output = Reader::new(&mut harness, pipe);
    output.skip_past(&mut harness, READY);
    let data = Bytes::from(vec![1; 1 << 20]);
    let (stuck, _) = harness.send_until_stuck(pipe, &data);
    harness
        .port
        .signal(spawned.process, Signal::Kill, SignalTarget::Tree)
        .expect("it runs");
    let error = harness.refusal(stuck);
    let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    assert!(gone.contains(&error.kind()), "{error}");
    // Whether the end is an error depends on what the child left unread.
    let (rest, _) = output.read_to_end(&mut harness);
    assert!(rest.is_empty());
    assert_eq!(status(&mut harness, &spawned), KILLED);
    harness.finish();
}

#[test]
fn a_duplex_pipe_is_no_network_socket() {
    let mut harness = Harness::new();
    let (_, pipe) = start(&mut harness, Role::Deaf);
    let set = harness.port.set_option(pipe, SocketOption::NoDelay(true));
    set.expect_err("no pipe has that option");
    harness.finish();
}
