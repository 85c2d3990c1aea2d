//! A port belongs to the thread that first waits on it, and to one process.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::port::{Outcome, Request, Token};

use crate::support::across_threads::on_another_thread;
use crate::support::harness::Harness;
use crate::support::reader::{Reader, receive_exactly};

#[test]
fn operations_submitted_on_one_thread_complete_on_the_thread_that_waits() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let (client, connecting) = harness.connect(address);
    let (idle, _) = harness.listen();
    let refused = harness.submit(idle, Request::Accept);
    assert!(harness.port.cancel(refused), "it is under way");
    on_another_thread(harness, |mut harness| {
        harness.assert_cancelled(refused);
        let connected = harness.last(connecting);
        assert!(matches!(connected, Ok(Outcome::Connected)), "{connected:?}");
        let (socket, _) = harness.accepted(accepting);
        let server = harness.adopt(socket);
        harness.send_all(client, b"across");
        assert_eq!(receive_exactly(&mut harness, server, 6), b"across");
        harness.finish();
    });
}

#[test]
fn a_handle_that_was_closed_before_the_first_wait_is_closed() {
    let mut harness = Harness::new();
    let (listener, _) = harness.listen();
    harness.submit(listener, Request::Accept);
    on_another_thread(harness, Harness::finish);
}

/// Goal: operations do not keep their memory for ever when the only thread that may await them has ended.
#[test]
fn a_port_that_is_dropped_after_its_thread_has_ended_takes_back_all_memory() {
    let data = Bytes::from(vec![7; 4 << 20]);
    let harness = on_another_thread(Harness::new(), |mut harness| {
        let (_client, server) = harness.pair();
        harness.receive(server);
        harness.send_until_stuck(server, &data);
        harness
    });
    assert!(!data.is_unique());
    harness.drop_port();
    assert!(data.is_unique(), "no operation holds memory any more");
}

#[test]
fn a_wait_on_a_second_thread_is_refused_and_says_why() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let mut reader = Reader::new(&mut harness, server);
    harness.turn(Some(Duration::ZERO));
    let mut harness = on_another_thread(harness, |mut harness| {
        let waited = harness.port.wait(None, &mut Vec::new());
        let error = waited.expect_err("it belongs to another thread");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("belongs to thread"), "{error}");
        harness
    });
    harness.send_all(client, b"still ours");
    assert_eq!(reader.take(&mut harness, 10), b"still ours");
    harness.finish();
}

#[test]
fn dropping_on_another_thread_neither_hangs_nor_panics() {
    for waits in [false, true] {
        let mut harness = Harness::new();
        let (listener, _) = harness.listen();
        harness.submit(listener, Request::Accept);
        if waits {
            let (client, _server) = harness.pair();
            harness.receive(client);
            harness.send_until_stuck(client, &Bytes::from(vec![1; 1 << 20]));
        }
        on_another_thread(harness, Harness::drop_port);
    }
}

/// Suspends the port as before a fork, and resumes it.
fn pause(harness: &mut Harness) {
    harness.port.before_fork().expect("it can be suspended");
    harness.port.before_fork().expect("it is suspended already");
    let waited = harness.port.wait(Some(Duration::ZERO), &mut Vec::new());
    let error = waited.expect_err("a suspended port cannot wait");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    harness.port.after_fork().expect("the port resumes");
}

#[test]
fn after_fork_without_before_fork_is_refused() {
    let mut harness = Harness::new();
    let error = harness.port.after_fork().expect_err("nothing was paused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    harness.finish();
}

/// Goal: suspending a port loses, duplicates and reorders nothing that is under way.
/// Method: suspend before each wait, through connecting, accepting, sending more than fits, and the end.
#[test]
fn suspending_a_port_loses_nothing() {
    const TOTAL: usize = 4 << 20;
    let data: Vec<u8> = (0..TOTAL)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let (client, connecting) = harness.connect(address);
    while harness.is_live(connecting) {
        pause(&mut harness);
        harness.turn(None);
    }
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    pause(&mut harness);
    let (socket, _) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let mut reader = Reader::new(&mut harness, server);
    let mut sending = harness.send(client, data.clone());
    loop {
        pause(&mut harness);
        harness.turn(None);
        if harness.is_live(sending) {
            continue;
        }
        let (_, unsent) = harness.sent(sending);
        if unsent.is_empty() {
            break;
        }
        sending = harness.send(client, unsent);
    }
    harness.close_now(client);
    pause(&mut harness);
    assert_eq!(reader.take(&mut harness, TOTAL), data);
    pause(&mut harness);
    harness.finish();
}

#[test]
fn a_cancel_or_wake_up_while_suspended_takes_effect() {
    let mut harness = Harness::new();
    let (_, server) = harness.pair();
    let receiving = harness.receive(server);
    harness.turn(Some(Duration::ZERO));
    harness.port.before_fork().expect("it can be suspended");
    assert!(harness.port.cancel(receiving));
    harness.port.waker().wake();
    let again = harness
        .port
        .submit(server, Request::Receive, Token(1))
        .expect_err("the cancelled one is under way until it was delivered");
    assert_eq!(again.kind(), io::ErrorKind::InvalidInput);
    harness.port.after_fork().expect("the port resumes");
    // Each wait must end by its own event: nothing else would end it.
    harness.turn(None);
    harness.assert_cancelled(receiving);
    harness.port.waker().wake();
    harness.turn(None);
    harness.finish();
}
