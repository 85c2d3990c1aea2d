//! The ends of children's pipes: their reasons, and what a writer learns of bytes that were lost.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_io::AsyncWrite;
use tidewaiter::frames::{ChildFrameProtocol, ChildFrames, Line, Lines};
use tidewaiter::io::{Child, WriteHalf};
use tidewaiter::process::{ExitStatus, Stdio};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor, Reason, Transport};

use super::io_support::{breathe, check};
use super::support::{Countdown, Log, pattern, reactor, run, run_clean};
use crate::support::reasons::kind_of;
use crate::support::roles::Role;

/// More than a pipe holds.
const MUCH: usize = 300_000;

/// Notes the reason for which each pipe ended.
struct Reasons {
    log: Log,
    countdown: Countdown,
    made: fn(&Process),
    stdin: Rc<RefCell<Option<Transport>>>,
}

impl Reasons {
    fn new(log: &Log, countdown: &Countdown, made: fn(&Process)) -> Reasons {
        Reasons {
            log: log.clone(),
            countdown: countdown.clone(),
            made,
            stdin: Rc::default(),
        }
    }

    fn note(&self, child_fd: ChildFd, reason: &Reason) {
        let unsent = match &*self.stdin.borrow() {
            Some(stdin) if child_fd == 0 && stdin.unsent() > 0 => " with bytes unsent",
            _ => "",
        };
        self.log
            .add(format!("{child_fd}: {}{unsent}", kind_of(reason)));
        if let Reason::Reset(source) = reason {
            assert_eq!(source.kind(), ErrorKind::BrokenPipe, "{source}");
        }
    }
}

impl ProcessProtocol for Reasons {
    fn connection_made(&mut self, process: &Process) {
        self.stdin.replace(process.pipe(0));
        (self.made)(process);
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, reason: Reason) {
        self.note(child_fd, &reason);
    }

    fn process_ended(&mut self, process: &Process, _: ExitStatus) {
        self.countdown.hit(process.reactor());
    }
}

impl ChildFrameProtocol for Reasons {
    type Codec = Lines;

    fn connection_made(&mut self, process: &Process) {
        ProcessProtocol::connection_made(self, process);
    }

    fn frame_received(&mut self, _: &Process, _: ChildFd, _: Line) {}

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, reason: Reason) {
        self.note(child_fd, &reason);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        ProcessProtocol::process_ended(self, process, status);
    }
}

/// The reasons for which the pipes of a child ended, sorted.
fn reasons(role: Role, frames: bool, made: fn(&Process)) -> Vec<String> {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = crate::child(role).stderr(Stdio::Null);
    let protocol = Reasons::new(&log, &countdown, made);
    let spawned = match frames {
        true => reactor.spawn_process(&command, ChildFrames::new(Lines::new(), protocol)),
        false => reactor.spawn_process(&command, protocol),
    };
    spawned.expect("the child starts");
    run_clean(&reactor);
    let mut reasons = log.take();
    reasons.sort();
    reasons
}

fn write_much_and_kill(process: &Process) {
    process.write(&pattern(MUCH));
    process.kill().expect("it lives");
}

#[test]
fn each_pipe_tells_the_reason_of_its_end() {
    for frames in [false, true] {
        let in_order = reasons(Role::Echo, frames, |process| {
            process.write(b"to be sent\n");
            process.close_stdin();
        });
        assert_eq!(in_order, ["0: done", "1: done"]);
        let by_us = reasons(Role::Echo, frames, |process| {
            process.close_fd(1);
            process.close_stdin();
        });
        assert_eq!(by_us, ["0: done", "1: done"]);
        let broken = reasons(Role::Deaf, frames, write_much_and_kill);
        assert_eq!(broken, ["0: reset with bytes unsent", "1: done"]);
    }
}

#[test]
fn the_pipes_of_a_child_that_is_left_running_end_with_the_reactor() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = crate::child(Role::Echo).stderr(Stdio::Null);
    let protocol = Reasons::new(&log, &countdown, |process| {
        process.detach();
        process.reactor().stop();
    });
    reactor
        .spawn_process(&command, protocol)
        .expect("the child starts");
    run(&reactor);
    let mut reasons = log.take();
    reasons.sort();
    assert_eq!(reasons, ["0: stopped", "1: stopped"]);
}

async fn poll_flush(writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    poll_fn(|context| Pin::new(&mut *writer).poll_flush(context)).await
}

/// A child that reads nothing, and the pipe to it, which holds more than it takes.
async fn deaf_child(reactor: &Reactor) -> (Child, WriteHalf) {
    let command = crate::child(Role::Deaf).stderr(Stdio::Null);
    let mut child = Child::spawn(reactor, &command).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&pattern(MUCH)).await.unwrap();
    (child, stdin)
}

#[test]
fn a_writer_to_a_child_learns_that_its_bytes_were_lost() {
    let reactor = reactor();
    check(&reactor, async {
        let (child, mut stdin) = deaf_child(&reactor).await;
        poll_flush(&mut stdin).await.expect("it does not wait");
        let flushing = reactor.spawn(async move {
            let flushed = stdin.flush().await;
            (stdin, flushed)
        });
        breathe(&reactor).await;
        child.kill().unwrap();
        let (mut stdin, flushed) = flushing.await.unwrap();
        let errors = [
            flushed.expect_err("a flush"),
            stdin.flush().await.expect_err("another one"),
            poll_flush(&mut stdin).await.expect_err("that of the trait"),
            stdin.shutdown().await.expect_err("an end in order"),
            stdin.write_all(b"more").await.expect_err("a write"),
        ];
        let kinds = errors.each_ref().map(io::Error::kind);
        assert_eq!(kinds, [ErrorKind::BrokenPipe; 5], "{errors:?}");
        assert!(stdin.transport().unsent() > 0);
    });
}

#[test]
fn a_flush_of_what_was_sent_stays_good_after_the_end() {
    let reactor = reactor();
    check(&reactor, async {
        let command = crate::child(Role::Echo).stderr(Stdio::Null);
        let mut child = Child::spawn(&reactor, &command).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"heard").await.unwrap();
        stdin.flush().await.unwrap();
        child.kill().unwrap();
        child.wait().await.unwrap();
        stdin.flush().await.unwrap();
        poll_flush(&mut stdin).await.unwrap();
    });
}

/// Goal: a flush that begins after the end of writing was asked for waits for it, and does not spin.
#[test]
fn a_flush_waits_for_an_end_that_was_asked_for() {
    let reactor = reactor();
    check(&reactor, async {
        let (child, mut stdin) = deaf_child(&reactor).await;
        stdin.transport().lose_connection();
        let polls = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&polls);
        let flushing = reactor.spawn(async move {
            let mut flush = pin!(stdin.flush());
            poll_fn(|context| {
                *counted.borrow_mut() += 1;
                flush.as_mut().poll(context)
            })
            .await
        });
        reactor.sleep(Duration::from_millis(20)).await;
        assert!(
            *polls.borrow() <= 2,
            "it was polled {} times",
            polls.borrow()
        );
        child.kill().unwrap();
        let lost = flushing.await.unwrap().unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_flush_after_a_drop_of_the_reactor_fails() {
    let reactor = reactor();
    let handle = reactor.clone();
    let (mut stdin, child) = reactor
        .block_on(async {
            let command = crate::child(Role::Deaf).stderr(Stdio::Null);
            let mut child = Child::spawn(&handle, &command).unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(&pattern(MUCH)).await.unwrap();
            (stdin, child)
        })
        .unwrap();
    drop((reactor, handle));
    let mut flush = pin!(stdin.flush());
    let Poll::Ready(flushed) = flush.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing would end this wait");
    };
    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(child);
}
