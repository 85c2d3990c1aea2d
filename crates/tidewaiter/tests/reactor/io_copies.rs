//! Streams that are joined: what arrives at each is written to the other.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::bytes::Bytes;
use tidewaiter::io::{Child, CopyError, ReadHalf, Stream, WriteHalf, copy_bidirectional};
use tidewaiter::process::Stdio;
use tidewaiter::{JoinHandle, Reactor};

use super::io_support::{breathe, check, pair, poll_times};
use super::support::{pattern, reactor};
use crate::support::roles::{READY, Role};

/// Many times what streams hold.
const MUCH: usize = 4 << 20;

/// A stream queues 256 KiB, and the piece with which it exceeds them.
const QUEUED_MAX: usize = 256 * 1024 + 256 * 1024;

/// A future is polled up to so many times before it is dropped.
const POLLS_MAX: usize = 4;

type Copied = Result<(u64, u64), CopyError>;

/// Two outer ends, and a task that joins the inner ones and returns them.
async fn joined(reactor: &Reactor) -> (Stream, Stream, JoinHandle<(Copied, Stream, Stream)>) {
    let (client, mut front) = pair(reactor).await;
    let (mut back, server) = pair(reactor).await;
    let copying = reactor.spawn(async move {
        let copied = copy_bidirectional(&mut front, &mut back).await;
        (copied, front, back)
    });
    (client, server, copying)
}

/// Writes all of it, and ends the sending side.
async fn write_to_end(mut writer: WriteHalf, bytes: Vec<u8>) {
    writer.write_all_buf(&mut Bytes::from(bytes)).await.unwrap();
    writer.shutdown().await.unwrap();
}

async fn read_to_end(mut reader: ReadHalf) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    all
}

/// Writes `there` to one end and `back` to the other, both at once, and checks that they arrive at the other end.
async fn exchange(reactor: &Reactor, one: Stream, other: Stream, there: Vec<u8>, back: Vec<u8>) {
    let ((one_reads, one_writes), (other_reads, other_writes)) = (one.split(), other.split());
    let writing = [
        reactor.spawn(write_to_end(one_writes, there.clone())),
        reactor.spawn(write_to_end(other_writes, back.clone())),
    ];
    let reading = reactor.spawn(read_to_end(one_reads));
    assert!(read_to_end(other_reads).await == there);
    assert!(reading.await.unwrap() == back);
    for written in writing {
        written.await.unwrap();
    }
}

#[test]
fn joined_streams_pass_on_everything_both_ways_and_tell_how_much() {
    let reactor = reactor();
    check(&reactor, async {
        for (there, back) in [(0, 0), (1, 0), (3, 100_000), (MUCH, 1 << 20)] {
            let (client, server, copying) = joined(&reactor).await;
            let (out, home) = (pattern(there), pattern(back + 1).split_off(1));
            exchange(&reactor, client, server, out, home).await;
            let (copied, _front, _back) = copying.await.unwrap();
            assert_eq!(copied.unwrap(), (there as u64, back as u64));
        }
    });
}

#[test]
fn the_end_of_each_side_is_passed_on_while_the_other_direction_goes_on() {
    let reactor = reactor();
    check(&reactor, async {
        for client_ends_first in [true, false] {
            let (client, server, copying) = joined(&reactor).await;
            let (mut first, mut last) = match client_ends_first {
                true => (client, server),
                false => (server, client),
            };
            first.write_all(b"question").await.unwrap();
            first.shutdown().await.unwrap();
            let mut question = Vec::new();
            last.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question");
            for _ in 0..3 {
                last.write_all(b"answer").await.unwrap();
                let mut answer = [0; 6];
                first.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"answer");
            }
            assert!(!copying.is_finished());
            drop(last);
            assert!(first.read_chunk().await.unwrap().is_empty(), "the end");
            let (copied, _front, _back) = copying.await.unwrap();
            let expected = if client_ends_first { (8, 18) } else { (18, 8) };
            assert_eq!(copied.unwrap(), expected);
        }
    });
}

#[test]
fn a_reset_of_either_side_tells_how_much_went_each_way() {
    let reactor = reactor();
    check(&reactor, async {
        for client_resets in [true, false] {
            let (mut client, mut server, copying) = joined(&reactor).await;
            client.write_all(b"there").await.unwrap();
            server.read_exact(&mut [0; 5]).await.unwrap();
            server.write_all(b"and back").await.unwrap();
            client.read_exact(&mut [0; 8]).await.unwrap();
            let (resets, mut stays) = match client_resets {
                true => (client, server),
                false => (server, client),
            };
            resets.transport().abort_connection();
            let (copied, front, back) = copying.await.unwrap();
            let error = copied.unwrap_err();
            assert_eq!(error.copied, (5, 8));
            assert_eq!(error.source.kind(), ErrorKind::ConnectionReset);
            assert!(error.to_string().ends_with("(after 5 and 8 bytes)"));
            let error = std::io::Error::from(error);
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            // The other connection is as it was.
            let mut left = if client_resets { back } else { front };
            left.write_all(b"sorry").await.unwrap();
            let mut word = [0; 5];
            stays.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"sorry");
        }
    });
}

#[test]
fn a_slow_reader_slows_the_other_side_down_and_takes_little_memory() {
    let reactor = reactor();
    check(&reactor, async {
        let (client, mut front) = pair(&reactor).await;
        let (mut back, server) = pair(&reactor).await;
        let queue = back.transport().clone();
        let copying = reactor.spawn(async move {
            let mut copying = copy_bidirectional(&mut front, &mut back);
            (&mut copying).await.unwrap();
            copying.copied()
        });
        let (_client_reads, client_writes) = client.split();
        let writing = reactor.spawn(write_to_end(client_writes, vec![7; crate::MUCH]));
        // Nobody reads, until nothing moves any more.
        let (mut before, mut most) = (u64::MAX, 0);
        loop {
            for _ in 0..20 {
                breathe(&reactor).await;
                most = most.max(queue.queued());
            }
            let received = reactor.metrics().bytes_received;
            if received == before && received > 0 {
                break;
            }
            before = received;
        }
        assert!(!writing.is_finished() && !copying.is_finished());
        let (mut reads, writes) = server.split();
        drop(writes);
        let mut read = 0;
        loop {
            let chunk = reads.read_chunk().await.unwrap();
            most = most.max(queue.queued());
            read += chunk.len();
            if chunk.is_empty() {
                break;
            }
        }
        assert_eq!(read, crate::MUCH);
        assert!(most > 0 && most <= QUEUED_MAX, "{most} bytes were queued");
        writing.await.unwrap();
        assert_eq!(copying.await.unwrap(), (crate::MUCH as u64, 0));
    });
}

#[test]
fn a_copy_that_is_dropped_at_any_await_loses_nothing_and_says_how_much_it_moved() {
    const BYTES: usize = 2 << 20;
    for polls in 1..=POLLS_MAX {
        let reactor = reactor();
        check(&reactor, async {
            let (client, mut front) = pair(&reactor).await;
            let (mut back, server) = pair(&reactor).await;
            let copying = reactor.spawn({
                let reactor = reactor.clone();
                async move {
                    let (mut there, mut home, mut dropped) = (0, 0, 0);
                    loop {
                        let mut copying = copy_bidirectional(&mut front, &mut back);
                        let ended = poll_times(polls, &mut copying).await;
                        let copied = copying.copied();
                        there += copied.0;
                        home += copied.1;
                        if let Some(ended) = ended {
                            assert_eq!(ended.unwrap(), copied);
                            return (there, home, dropped);
                        }
                        dropped += 1;
                        breathe(&reactor).await;
                    }
                }
            });
            let (out, home) = (pattern(BYTES), pattern(BYTES + 7).split_off(7));
            exchange(&reactor, client, server, out, home).await;
            let (there, home, dropped) = copying.await.unwrap();
            assert_eq!((there, home), (BYTES as u64, BYTES as u64));
            assert!(dropped > 0);
        });
    }
}

#[test]
fn a_connection_is_joined_to_a_childs_input_and_output() {
    const BYTES: usize = 300_000;
    let reactor = reactor();
    check(&reactor, async {
        let command = crate::child(Role::Echo).stderr(Stdio::Null);
        let mut child = Child::spawn(&reactor, &command).unwrap();
        let (output, input) = (child.stdout.take(), child.stdin.take());
        let mut stdio = (output.unwrap(), input.unwrap());
        let mut seen = Vec::new();
        while !seen.ends_with(READY) {
            let mut byte = [0];
            stdio.0.read_exact(&mut byte).await.unwrap();
            seen.push(byte[0]);
        }
        let (client, mut served) = pair(&reactor).await;
        let copying = reactor.spawn(async move {
            let copied = copy_bidirectional(&mut served, &mut stdio).await;
            (copied, served)
        });
        let (reads, writes) = client.split();
        let writing = reactor.spawn(write_to_end(writes, pattern(BYTES)));
        assert!(read_to_end(reads).await == pattern(BYTES));
        writing.await.unwrap();
        let (copied, _served) = copying.await.unwrap();
        assert_eq!(copied.unwrap(), (BYTES as u64, BYTES as u64));
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn a_copy_ends_with_its_reactor() {
    let reactor = reactor();
    let told = Rc::new(Cell::new(None));
    let copying = reactor.spawn({
        let (reactor, told) = (reactor.clone(), Rc::clone(&told));
        async move {
            let (mut client, mut front) = pair(&reactor).await;
            let (mut back, _server) = pair(&reactor).await;
            client.write_all(b"abc").await.unwrap();
            reactor.call_later(Duration::from_millis(10), Reactor::stop);
            let error = copy_bidirectional(&mut front, &mut back).await.unwrap_err();
            told.set(Some((error.copied, error.source.kind())));
        }
    });
    super::support::run(&reactor);
    assert!(copying.is_finished());
    assert_eq!(told.get(), Some(((3, 0), ErrorKind::ConnectionAborted)));
}
