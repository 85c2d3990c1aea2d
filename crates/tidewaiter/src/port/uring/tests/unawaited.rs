//! Sends for whose completions nobody waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::super::driver::ForkStep;
use super::super::super::{
    Chunks, CloseMode, Driver, Handle, Operation, Outcome, PortOptions, Request, RequestKind,
};
use super::{Harness, KERNELS, PATIENCE, is_cancelled, os_error, pair};

/// A signal that another test sends to the process may end a wait early, so that several rounds may be needed.
const ROUNDS: usize = 100;

/// More than the buffers of two sockets take.
const MUCH: usize = 64 << 20;

impl Harness {
    fn send_unawaited(&mut self, handle: Handle, data: impl Into<Chunks>) -> Operation {
        let mut data = data.into();
        data.mark_unawaited();
        self.submit(handle, Request::Send(data))
    }
}

fn echo(mut socket: TcpStream) {
    let mut byte = [0];
    while socket.read(&mut byte).expect("the other end is there") > 0 {
        socket.write_all(&byte).expect("it still receives");
    }
}

#[test]
fn an_unawaited_send_comes_with_the_answer_that_ends_the_wait() {
    let mut harness = Harness::new();
    assert!(
        harness.port.setup.abilities.immediate_sends,
        "a kernel with deferred task work can do it"
    );
    let (ours, theirs) = pair();
    let answering = thread::spawn(move || echo(theirs));
    let ours = harness.adopt(ours);
    let receive = harness.submit(ours, Request::Receive);
    let together = (0..ROUNDS).any(|_| {
        let sending = harness.send_unawaited(ours, &b"?"[..]);
        harness.wait();
        let kinds: Vec<_> = harness.delivered.iter().map(|one| one.kind).collect();
        harness.next(sending);
        harness.receive(receive);
        kinds == [RequestKind::Send, RequestKind::Receive]
    });
    assert!(together, "each send ended a wait by itself");
    assert!(harness.port.cancel(receive));
    assert!(is_cancelled(&harness.last(receive)));
    harness.close(ours, CloseMode::Graceful);
    answering.join().expect("no panic");
    harness.finish();
}

#[test]
fn an_unawaited_send_comes_with_the_end_of_the_time() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, mut theirs) = pair();
        let ours = harness.adopt(ours);
        let sending = harness.send_unawaited(ours, &b"sent"[..]);
        harness
            .port
            .wait(Some(Duration::from_millis(1)), &mut harness.delivered)
            .expect("the port can wait");
        let sent = harness.next(sending);
        assert!(
            matches!(sent.result, Ok(Outcome::Sent { bytes: 4 })),
            "{sent:?}"
        );
        let mut got = [0; 4];
        theirs.read_exact(&mut got).expect("they were sent");
        assert_eq!(&got, b"sent");
        harness.close(ours, CloseMode::Graceful);
        harness.finish();
    }
}

#[test]
fn an_unawaited_send_that_sends_a_part_ends_the_wait() {
    let mut harness = Harness::new();
    let (ours, _theirs) = pair();
    let ours = harness.adopt(ours);
    let began = Instant::now();
    let sending = harness.send_unawaited(ours, vec![7; MUCH]);
    let sent = harness.next(sending);
    assert!(began.elapsed() < PATIENCE, "the time ended the wait");
    let bytes = match sent.result {
        Ok(Outcome::Sent { bytes }) => bytes,
        other => panic!("nothing was sent: {other:?}"),
    };
    assert!(bytes > 0 && bytes + sent.unsent.len() == MUCH);
    harness.close(ours, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn an_unawaited_send_that_fails_ends_the_wait() {
    let mut harness = Harness::new();
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    drop(theirs);
    let ours = harness.adopt(ours);
    let began = Instant::now();
    let sending = harness.send_unawaited(ours, &b"lost"[..]);
    let failed = harness.next(sending);
    assert!(began.elapsed() < PATIENCE, "the time ended the wait");
    assert_eq!(os_error(&failed), Some(libc::EPIPE), "{failed:?}");
    harness.close(ours, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn an_unawaited_send_that_finds_no_room_waits_for_it() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    let mut left = Chunks::from(vec![7; MUCH]);
    let (full, is_full) = mpsc::channel();
    let reading = thread::spawn(move || {
        is_full.recv().expect("the socket becomes full");
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).expect("it was sent");
        received
    });
    while !left.is_empty() {
        let sending = harness.send_unawaited(ours, left);
        harness
            .port
            .wait(Some(Duration::from_millis(1)), &mut harness.delivered)
            .expect("the port can wait");
        if harness.delivered.is_empty() {
            // A second message may find nobody any more.
            let _ = full.send(());
        }
        let sent = harness.next(sending);
        assert!(matches!(sent.result, Ok(Outcome::Sent { .. })), "{sent:?}");
        left = sent.unsent;
        left.release_sent();
    }
    harness.close(ours, CloseMode::Graceful);
    let received = reading.join().expect("no panic");
    assert!(received.len() == MUCH && received.iter().all(|byte| *byte == 7));
    harness.finish();
}

#[test]
fn a_cancelled_unawaited_send_is_not_waited_for() {
    let mut harness = Harness::new();
    let (ours, _theirs) = pair();
    let ours = harness.adopt(ours);
    let began = Instant::now();
    let sending = harness.send_unawaited(ours, &b"sent"[..]);
    assert!(harness.port.cancel(sending));
    harness.last(sending);
    assert!(began.elapsed() < PATIENCE);
    harness.close(ours, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn neither_a_fork_nor_the_drop_of_a_port_waits_for_an_unawaited_send() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    let began = Instant::now();
    let sending = harness.send_unawaited(ours, &b"before"[..]);
    harness.port.fork(ForkStep::Before).expect("it can fork");
    harness.port.fork(ForkStep::After).expect("it goes on");
    let successor = harness.port.begin_waiting().expect("it can wait");
    assert!(successor.is_none(), "it waits itself");
    harness.next(sending);
    harness.send_unawaited(ours, &b", after"[..]);
    drop(harness);
    assert!(began.elapsed() < PATIENCE / 4);
    let mut received = String::new();
    theirs.read_to_string(&mut received).expect("it was sent");
    assert_eq!(received, "before, after");
}
