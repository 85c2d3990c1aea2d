//! A port, and processes that fork.

#![cfg(target_os = "linux")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::port::{Outcome, Request, Token};

use crate::support::alone::alone;
use crate::support::harness::{Harness, PATIENCE};
use crate::support::reader::Reader;
use crate::support::system::{fork, join};

/// Bytes of a formula with a period that no size divides.
fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes()[0])
        .collect()
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

#[test]
fn a_port_that_never_waited_lives_on_in_the_child() {
    alone(
        module_path!(),
        "a_port_that_never_waited_lives_on_in_the_child",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let waker = harness.port.waker();
            let listener = harness.adopt(std_listener);
            let accepting = harness.submit(listener, Request::Accept);
            harness.port.before_fork().expect("it can be suspended");
            let mut harness = Some(harness);
            let child = fork(|| {
                let mut harness = harness.take().expect("it is there");
                harness.port.after_fork().expect("it can go on");
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
            harness.expect("the child had a copy").drop_port();
            client.write_all(b"hello").expect("it is connected");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an orderly end");
            assert_eq!(answer, "hello");
            join(child);
        },
    );
}

/// Goal: a connection with much under way in both directions goes on in the child without a gap, though
/// the parent is gone.
#[test]
fn what_is_under_way_goes_on_in_the_child() {
    alone(
        module_path!(),
        "what_is_under_way_goes_on_in_the_child",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut later = connect(&std_listener);
            let data = pattern(3 << 20);
            let input = pattern(100_000);
            // The first child has the port; the second takes it over while the first ends.
            let first = fork(|| {
                let mut harness = Harness::new();
                let listener = harness.adopt(std_listener.try_clone().expect("a copy"));
                let accepting = harness.submit(listener, Request::Accept);
                let (socket, _) = harness.accepted(accepting);
                let server = harness.adopt(socket);
                let mut reader = Reader::new(&mut harness, server);
                // What has come is kept in the port's own memory, which goes along.
                harness.until("the first bytes", |harness| reader.absorb(harness));
                let (sending, sent) = harness.send_until_stuck(server, &Bytes::from(data.clone()));
                harness.port.before_fork().expect("it can be suspended");
                let mut harness = Some(harness);
                fork(|| {
                    let mut harness = harness.take().expect("it is there");
                    harness.port.after_fork().expect("it can go on");
                    let received = reader.take(&mut harness, input.len());
                    assert!(received == input, "the same bytes");
                    match harness.last(sending) {
                        Ok(Outcome::Sent { bytes, .. }) => {
                            harness.send_all(server, &(sent + bytes).to_le_bytes());
                        }
                        other => panic!("it should be sent: {other:?}"),
                    }
                    harness.close_now(server);
                    let (socket, _) = harness.accepted(accepting);
                    let other = harness.adopt(socket);
                    harness.send_all(other, b"done");
                    harness.close_now(other);
                    harness.finish();
                });
                harness.expect("the child had a copy").drop_port();
            });
            drop(std_listener);
            client.write_all(&input).expect("it is connected");
            join(first);
            let mut received = Vec::new();
            client.read_to_end(&mut received).expect("an orderly end");
            let (body, count) = received.split_at(received.len() - 8);
            let expected: Vec<u8> = data.iter().copied().cycle().take(body.len()).collect();
            assert!(body == expected, "neither lost nor doubled");
            assert_eq!(
                count,
                body.len().to_le_bytes(),
                "as many as were said to be sent"
            );
            let mut answer = String::new();
            later.read_to_string(&mut answer).expect("an orderly end");
            assert_eq!(answer, "done");
        },
    );
}

/// Goal: a child that knows nothing of the port can use and drop its copy, and the parent does not notice.
#[test]
fn a_copy_is_of_no_use_and_does_no_harm() {
    alone(
        module_path!(),
        "a_copy_is_of_no_use_and_does_no_harm",
        || {
            let std_listener = listener();
            let mut client = connect(&std_listener);
            let mut harness = Harness::new();
            let listener = harness.adopt(std_listener.try_clone().expect("a copy"));
            let accepting = harness.submit(listener, Request::Accept);
            let (socket, _) = harness.accepted(accepting);
            let server = harness.adopt(socket);
            let mut reader = Reader::new(&mut harness, server);
            client.write_all(b"early").expect("it is connected");
            let early = reader.take(&mut harness, 5);
            assert_eq!(early, b"early");
            let mut harness = Some(harness);
            for uses in [true, false] {
                join(fork(|| {
                    let mut harness = harness.take().expect("it is there");
                    if uses {
                        let port = &mut harness.port;
                        let submitted = port.submit(listener, Request::Accept, Token(1));
                        let waited = port.wait(None, &mut Vec::new());
                        let closed =
                            port.close(server, tidewaiter::port::CloseMode::Reset, Token(2));
                        for error in [submitted.err(), waited.err(), closed.err()] {
                            let kind = error.expect("it is another process's").kind();
                            assert_eq!(kind, io::ErrorKind::ResourceBusy);
                        }
                        assert!(!port.cancel(accepting));
                    }
                    harness.drop_port();
                }));
            }
            let mut harness = harness.expect("the child had a copy");
            client.write_all(b"after").expect("it is connected");
            assert_eq!(reader.take(&mut harness, 5), b"after");
            let _later = connect(&std_listener);
            harness.accepted(accepting);
            assert_eq!(harness.turn(Some(Duration::ZERO)), 0);
            harness.finish();
        },
    );
}
