//! A port in a process that forks.

#![cfg(target_os = "linux")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tidewaiter::port::{
    Change, CloseMode, Completion, DatagramBatch, DatagramOptions, DirectoryOptions, Failure,
    Handle, Interest, Operation, Outcome, Port, PortKind, PortOptions, Request, Token,
};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget};

use super::every_call::{Caller, Objects, call_all};
use crate::support::alone::alone;
use crate::support::harness::{Harness, PATIENCE};
use crate::support::piped_child::Child;
use crate::support::reader::Reader;
use crate::support::roles::Role;
use crate::support::system::{fork, join};

/// Bytes of a formula whose period divides no buffer size.
fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes()[0])
        .collect()
}

/// Checks that `data` arrived over and over without a gap, followed by the number of bytes that the sender
/// reported.
fn assert_whole(received: &[u8], data: &[u8]) {
    let (body, count) = received.split_at(received.len() - 8);
    let expected: Vec<u8> = data.iter().copied().cycle().take(body.len()).collect();
    assert!(body == expected, "neither lost nor doubled");
    assert_eq!(
        count,
        body.len().to_le_bytes(),
        "as many as were said to be sent"
    );
}

fn connect(listener: &TcpListener) -> TcpStream {
    let address = listener.local_addr().expect("it is bound");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// A connection that a port has accepted, with the accept that goes on.
struct Accepted {
    listener: Handle,
    accepting: Operation,
    server: Handle,
    reader: Reader,
}

/// Listens on a copy of `listener`, and accepts the first connection.
fn accept(harness: &mut Harness, listener: &TcpListener) -> Accepted {
    let listener = harness.adopt(listener.try_clone().expect("a copy"));
    let accepting = harness.submit(listener, Request::Accept);
    let (socket, _) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let reader = Reader::new(harness, server);
    Accepted {
        listener,
        accepting,
        server,
        reader,
    }
}

/// Forks a port that goes on in the copy of this process. Returns the copy, and the original port.
fn go_on_in_a_copy(mut harness: Harness, work: impl FnOnce(Harness)) -> (Pid, Harness) {
    harness.port.before_fork().expect("it can be suspended");
    let mut harness = Some(harness);
    let copy = fork(|| {
        let mut harness = harness.take().expect("it exists");
        harness.port.after_fork().expect("the port resumes");
        work(harness);
    });
    (copy, harness.expect("the child had a copy"))
}

/// Awaits a send, and then sends how many bytes it and the ones before it took.
fn report_sent(harness: &mut Harness, server: Handle, sending: Operation, before: usize) {
    match harness.last(sending) {
        Ok(Outcome::Sent { bytes, .. }) => {
            harness.send_all(server, &(before + bytes).to_le_bytes());
        }
        other => panic!("it should be sent: {other:?}"),
    }
}

#[test]
fn a_port_that_never_waited_works_in_the_child() {
    alone(
        module_path!(),
        "a_port_that_never_waited_works_in_the_child",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let waker = harness.port.waker();
            let listener = harness.adopt(std_listener);
            let accepting = harness.submit(listener, Request::Accept);
            let (copy, original) = go_on_in_a_copy(harness, |mut harness| {
                waker.wake();
                harness.turn(None);
                let (socket, _) = harness.accepted(accepting);
                let server = harness.adopt(socket);
                let mut reader = Reader::new(&mut harness, server);
                let question = reader.take(&mut harness, 5);
                harness.send_all(server, &question);
                harness.close_now(server);
                harness.finish();
            });
            original.drop_port();
            client.write_all(b"hello").expect("it is connected");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an orderly end");
            assert_eq!(answer, "hello");
            join(copy);
        },
    );
}

/// Goal: a connection with much under way in both directions goes on in the child without a gap, although the
/// parent has ended.
#[test]
fn operations_under_way_go_on_in_the_child() {
    alone(
        module_path!(),
        "operations_under_way_go_on_in_the_child",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut later = connect(&std_listener);
            let data = pattern(3 << 20);
            let input = pattern(100_000);
            // The first child owns the port; the second takes it over while the first ends.
            let first = fork(|| {
                let mut harness = Harness::new();
                let Accepted {
                    accepting,
                    server,
                    mut reader,
                    ..
                } = accept(&mut harness, &std_listener);
                // The port holds the bytes that arrived in memory of its own, which the child inherits.
                harness.until("the first bytes", |harness| reader.absorb(harness));
                let (sending, sent) = harness.send_until_stuck(server, &Bytes::from(data.clone()));
                let (_, original) = go_on_in_a_copy(harness, |mut harness| {
                    let received = reader.take(&mut harness, input.len());
                    assert!(received == input, "the same bytes");
                    report_sent(&mut harness, server, sending, sent);
                    harness.close_now(server);
                    let (socket, _) = harness.accepted(accepting);
                    let other = harness.adopt(socket);
                    harness.send_all(other, b"done");
                    harness.close_now(other);
                    harness.finish();
                });
                original.drop_port();
            });
            drop(std_listener);
            client.write_all(&input).expect("it is connected");
            join(first);
            let mut received = Vec::new();
            client.read_to_end(&mut received).expect("an orderly end");
            assert_whole(&received, &data);
            let mut answer = String::new();
            later.read_to_string(&mut answer).expect("an orderly end");
            assert_eq!(answer, "done");
        },
    );
}

/// Goal: a datagram socket with a receive under way goes on in the child, although the parent has ended.
#[test]
fn datagrams_go_on_in_the_child() {
    alone(module_path!(), "datagrams_go_on_in_the_child", || {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut harness = Harness::new();
        let local = DatagramOptions::bound(([127, 0, 0, 1], 0));
        let handle = harness.open_datagrams(&local).expect("it opens");
        let address = harness.local_ip(handle);
        let receive = harness.submit(handle, Request::ReceiveDatagrams);
        client.send_to(b"one", address).expect("it is there");
        let Ok(Outcome::Datagrams(_)) = harness.next(receive).result else {
            panic!("a datagram was sent");
        };
        let (copy, original) = go_on_in_a_copy(harness, |mut harness| {
            let Ok(Outcome::Datagrams(received)) = harness.next(receive).result else {
                panic!("a datagram was sent");
            };
            let mut answers = DatagramBatch::new();
            for datagram in received.iter() {
                answers.push(&datagram, datagram.sender());
            }
            let sending = harness.submit(handle, Request::SendDatagrams(answers));
            harness.last(sending).expect("it is sent");
            harness.port.cancel(receive);
            harness.assert_cancelled(receive);
            harness.close_now(handle);
            harness.finish();
        });
        original.drop_port();
        client.send_to(b"two", address).expect("it is there");
        let mut answer = [0; 8];
        // The kernel's work for a ring that ends may interrupt a call with a time limit.
        let len = loop {
            match client.recv(&mut answer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.expect("an answer"),
            }
        };
        assert_eq!(&answer[..len], b"two");
        join(copy);
    });
}

/// Goal: every call on a copy is refused, and dropping it does nothing: connections, children, watches and
/// waits of the original go on.
#[test]
fn every_call_on_a_copy_is_refused_and_harmless() {
    alone(
        module_path!(),
        "every_call_on_a_copy_is_refused_and_harmless",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let Accepted {
                listener,
                accepting,
                server,
                mut reader,
            } = accept(&mut harness, &std_listener);
            client.write_all(b"early").expect("it is connected");
            assert_eq!(reader.take(&mut harness, 5), b"early");
            let child = Child::start(&mut harness, Role::Echo);
            let mut output = child.output(&mut harness);
            let (watched, mut other) = UnixStream::pair().expect("descriptors are free");
            let mut watcher = crate::open(&PortOptions::default());
            let watch = watcher
                .watch(watched.as_raw_fd(), Interest::READABLE, Token(7))
                .expect("a socket can be watched");
            let objects = Objects {
                listener,
                server,
                child: child.process,
                accepting,
            };
            let mut both = Some((harness, watcher));
            for uses in [true, false] {
                join(fork(|| {
                    let (mut harness, mut watcher) = both.take().expect("they are there");
                    if uses {
                        call_all(&mut harness.port, &objects, Caller::Copy);
                        stop_watching(&mut watcher, watch);
                    }
                    harness.drop_port();
                }));
            }
            let (mut harness, mut watcher) = both.expect("the child had copies");
            // Nothing has arrived, not even a wake-up.
            let (begun, still) = (Instant::now(), Duration::from_millis(20));
            assert_eq!(harness.turn(Some(still)), 0);
            assert!(begun.elapsed() >= still);
            client.write_all(b"after").expect("it is connected");
            assert_eq!(reader.take(&mut harness, 5), b"after");
            harness.send_all(server, b"and back");
            let mut answer = [0; 8];
            client.read_exact(&mut answer).expect("it still sends");
            harness.send_all(child.stdin, b"child");
            assert_eq!(output.take(&mut harness, 5), b"child");
            other.write_all(b"ready").expect("it is connected");
            let mut completions = Vec::new();
            watcher.wait(None, &mut completions).expect("it waits");
            assert!(matches!(
                completions[..],
                [Completion {
                    token: Token(7),
                    result: Ok(Outcome::Ready(_)),
                    ..
                }]
            ));
            let _later = connect(&std_listener);
            harness.accepted(accepting);
            harness.finish();
        },
    );
}

/// Makes the calls about a watch.
fn stop_watching(port: &mut Port, watch: Operation) {
    let changed = port.set_interest(watch, Interest::NONE);
    let error = changed.expect_err("it is the original's");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(!port.cancel(watch));
}

/// Goal: the copy that takes over the port does not report a running child of the parent as ended. It reports
/// the end when the child does end, although it cannot learn the exit status.
#[test]
fn a_running_child_is_not_reported_ended_in_a_copy() {
    alone(
        module_path!(),
        "a_running_child_is_not_reported_ended_in_a_copy",
        || {
            for own_group in [false, true] {
                let mut harness = Harness::new();
                let command = crate::child(Role::Echo).own_group(own_group);
                let child = Child::run(&mut harness, &command);
                let mut output = child.output(&mut harness);
                let (copy, original) = go_on_in_a_copy(harness, |mut harness| {
                    harness.send_all(child.stdin, b"still here");
                    assert_eq!(output.take(&mut harness, 10), b"still here");
                    assert!(harness.is_live(child.exit));
                    let (kill, target) = (Signal::Kill, SignalTarget::Process);
                    let killed = harness.port.signal(child.process, kill, target);
                    killed.expect("it runs");
                    assert_eq!(child.status(&mut harness), ExitStatus::Unknown);
                    harness.finish();
                });
                join(copy);
                original.drop_port();
            }
        },
    );
}

/// Goal: a process that forks and itself goes on with the port needs no new resources from the OS, which may
/// have none to give. Nothing is lost.
#[test]
fn the_original_goes_on_without_new_resources() {
    alone(
        module_path!(),
        "the_original_goes_on_without_new_resources",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let waker = harness.port.waker();
            let server = harness.adopt(std_listener.accept().expect("it is connected").0);
            let mut reader = Reader::new(&mut harness, server);
            let child = Child::run(&mut harness, &crate::child(Role::Echo).own_group(false));
            let mut output = child.output(&mut harness);
            for _ in 0..3 {
                harness.port.before_fork().expect("it can be suspended");
                let mut taken = Some(harness);
                join(fork(|| taken.take().expect("it exists").drop_port()));
                harness = taken.expect("the child had a copy");
                let limit = leave_no_descriptors();
                harness.port.after_fork().expect("the port resumes");
                waker.wake();
                harness.turn(None);
                client.write_all(b"hello").expect("it is connected");
                assert_eq!(reader.take(&mut harness, 5), b"hello");
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
                harness.send_all(child.stdin, b"child");
                assert_eq!(output.take(&mut harness, 5), b"child");
            }
            assert!(harness.is_live(child.exit));
            harness.finish();
        },
    );
}

/// Lowers the limit of descriptors so that none is free. Returns the limit until now.
fn leave_no_descriptors() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let lowest_free = rustix::io::dup(io::stdin()).expect("a descriptor is free");
    let none = Rlimit {
        current: u64::try_from(lowest_free.as_raw_fd()).ok(),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, none).expect("a limit may be lowered");
    limit
}

/// Makes the kernel refuse memory for a ring to this process.
fn leave_no_lockable_memory() {
    let sets = capabilities(None).expect("they can be asked for");
    let fewer = CapabilitySets {
        effective: sets.effective.difference(CapabilitySet::IPC_LOCK),
        ..sets
    };
    set_capabilities(None, fewer).expect("they can be lowered");
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Memlock, none).expect("a limit may be lowered");
}

/// Goal: a copy that gets no ring, because the original still holds the memory for it, goes on all the same,
/// with everything under way.
#[test]
fn a_copy_goes_on_without_memory_for_a_ring() {
    alone(
        module_path!(),
        "a_copy_goes_on_without_memory_for_a_ring",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let waker = harness.port.waker();
            let server = harness.adopt(std_listener.accept().expect("it is connected").0);
            let mut reader = Reader::new(&mut harness, server);
            client.write_all(b"early").expect("it is connected");
            harness.until("the first bytes", |harness| reader.absorb(harness));
            let data = pattern(3 << 20);
            let (sending, sent) = harness.send_until_stuck(server, &Bytes::from(data.clone()));
            let listener = harness.adopt(std_listener.try_clone().expect("a copy"));
            let accepting = harness.submit(listener, Request::Accept);
            let doomed = harness.adopt(connect(&std_listener));
            let (socket, _) = harness.accepted(accepting);
            drop(socket);
            let spare = harness.adopt(connect(&std_listener));
            let hanging_up = harness.submit(spare, Request::HangUp);
            harness.accepted(accepting);
            let child = Child::run(&mut harness, &crate::child(Role::Echo).own_group(false));
            let mut output = child.output(&mut harness);
            harness.port.before_fork().expect("it can be suspended");
            // Neither of these has begun, and one never will.
            let cancelled = harness.submit(doomed, Request::HangUp);
            harness.port.cancel(cancelled);
            let closing = harness.close(doomed, CloseMode::Reset);
            let mut harness = Some(harness);
            let copy = fork(|| {
                let mut harness = harness.take().expect("it exists");
                leave_no_lockable_memory();
                harness.port.after_fork().expect("the port resumes");
                waker.wake();
                harness.turn(None);
                assert_eq!(harness.port.info().kind, PortKind::Poll);
                assert_eq!(reader.take(&mut harness, 9), b"earlylate");
                harness.assert_cancelled(cancelled);
                assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
                assert!(harness.is_live(hanging_up) && harness.is_live(child.exit));
                report_sent(&mut harness, server, sending, sent);
                // The original has the connection open, too, so closing our copy alone would not end it.
                harness
                    .port
                    .shutdown_write(server)
                    .expect("it is connected");
                harness.close_now(server);
                harness.accepted(accepting);
                harness.send_all(child.stdin, b"child");
                assert_eq!(output.take(&mut harness, 5), b"child");
                harness.finish();
            });
            client.write_all(b"late").expect("it is connected");
            let mut received = Vec::new();
            client.read_to_end(&mut received).expect("an orderly end");
            assert_whole(&received, &data);
            let _later = connect(&std_listener);
            join(copy);
            harness.expect("the child had a copy").drop_port();
        },
    );
}

#[test]
fn a_watch_goes_on_without_memory_for_a_ring() {
    alone(
        module_path!(),
        "a_watch_goes_on_without_memory_for_a_ring",
        || {
            let (watched, mut other) = UnixStream::pair().expect("descriptors are free");
            let mut port = crate::open(&PortOptions::default());
            let watch = port
                .watch(watched.as_raw_fd(), Interest::READABLE, Token(7))
                .expect("a socket can be watched");
            port.wait(Some(Duration::ZERO), &mut Vec::new())
                .expect("it waits");
            port.before_fork().expect("it can be suspended");
            join(fork(|| {
                leave_no_lockable_memory();
                port.after_fork().expect("the port resumes");
                other.write_all(b"ready").expect("it is connected");
                let mut completions = Vec::new();
                while completions.is_empty() {
                    port.wait(None, &mut completions).expect("it waits");
                }
                assert_eq!(port.info().kind, PortKind::Poll);
                assert_eq!(completions[0].token, Token(7), "{completions:?}");
                let none = port.set_interest(watch, Interest::NONE);
                none.expect("it is watched");
                assert!(port.cancel(watch));
                completions.clear();
                port.wait(None, &mut completions).expect("it waits");
                assert!(matches!(completions[0].result, Err(Failure::Cancelled)));
                assert_eq!(port.in_flight(), 0);
            }));
        },
    );
}

/// Waits for the creation of `last` in a watched directory, and returns all changes up to then.
fn changes_until(port: &mut Port, last: &str) -> Vec<Change> {
    let (mut changes, mut completions) = (Vec::new(), Vec::new());
    let is_last =
        |change: &Change| matches!(change, Change::Created(path) if path == Path::new(last));
    while !changes.iter().any(is_last) {
        port.wait(None, &mut completions).expect("it waits");
        for completion in completions.drain(..) {
            match completion.result {
                Ok(Outcome::Changed(more)) => changes.extend(more),
                other => panic!("{other:?}"),
            }
        }
    }
    changes
}

/// Goal: a copy that drops its port takes no change away from the original; one that takes its port over watches for
/// itself, and is told that it may have missed changes.
#[test]
fn changes_in_a_directory_are_told_in_both_processes() {
    alone(
        module_path!(),
        "changes_in_a_directory_are_told_in_both_processes",
        || {
            let name = format!("tidewaiter-forked-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            std::fs::create_dir(&directory).expect("a new name");
            let create = |name| std::fs::create_dir(directory.join(name)).expect("a new name");
            let mut port = crate::open(&PortOptions::default());
            let watch = port.watch_directory(&DirectoryOptions::new(&directory), Token(7));
            watch.expect("it is a directory");
            port.wait(Some(Duration::ZERO), &mut Vec::new())
                .expect("it waits");
            create("before");
            let mut port = Some(port);
            join(fork(|| drop(port.take())));
            let mut port = port.expect("the child had a copy");
            port.before_fork().expect("it can be suspended");
            join(fork(|| {
                port.after_fork().expect("the port resumes");
                create("copy");
                let changes = changes_until(&mut port, "copy");
                assert!(matches!(changes[0], Change::Overflowed), "{changes:?}");
            }));
            port.after_fork().expect("the port resumes");
            create("after");
            let changes = changes_until(&mut port, "after");
            let names = changes.iter().map(|change| match change {
                Change::Created(path) => path.to_str().expect("it is text"),
                other => panic!("{other:?}"),
            });
            assert!(names.eq(["before", "copy", "after"]), "{changes:?}");
            std::fs::remove_dir_all(&directory).expect("it is ours");
        },
    );
}
