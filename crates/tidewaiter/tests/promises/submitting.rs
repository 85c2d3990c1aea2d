//! Promise 3: submitting never calls back; an operation that finishes at once is still reported through `wait`.

use std::io;
use std::time::Duration;

use tidewaiter::port::{CloseMode, Outcome};

use crate::support::harness::Harness;
use crate::support::reader::{Reader, receive_exactly};

#[test]
fn a_refused_connect_is_accepted_by_submit_and_refused_through_wait() {
    let mut harness = Harness::new();
    let address = Harness::deserted_address();
    let (_, connecting) = harness.connect(address);
    assert!(harness.is_live(connecting));
    assert!(harness.port.in_flight() > 0);
    let error = harness.refusal(connecting);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    harness.finish();
}

#[test]
fn a_send_on_a_reset_connection_fails_through_wait() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let reader = Reader::new(&mut harness, client);
    let closing = harness.close(server, CloseMode::Reset);
    assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
    let (_, end) = reader.read_to_end(&mut harness);
    assert!(end.is_err(), "the connection is reset");
    let sending = harness.send(client, b"too late".as_slice());
    harness.refusal(sending);
    harness.finish();
}

#[test]
fn an_operation_done_at_once_is_under_way_until_a_wait() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.send_all(client, b"there already");
    let before = harness.port.in_flight();
    let receiving = harness.receive(server);
    let sending = harness.send(client, b"room enough".as_slice());
    assert_eq!(harness.port.in_flight(), before + 2);
    assert!(harness.port.cancel(sending), "it is under way");
    assert!(matches!(
        harness.next(receiving).result,
        Ok(Outcome::Received(_))
    ));
    harness.finish();
}

#[test]
fn a_wait_does_not_block_while_something_is_complete() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    for _ in 0..100 {
        let start = harness.port.now();
        let sending = harness.send(client, b"x".as_slice());
        harness.until("the send", |harness| !harness.is_live(sending));
        assert_eq!(receive_exactly(&mut harness, server, 1), b"x");
        assert!(harness.port.now() - start < Duration::from_secs(30));
    }
    harness.finish();
}

/// Goal: operations that always finish at once cannot keep a wait from returning.
/// Method: sends and receives feed each other; each wait returns a bounded number of completions.
#[test]
fn one_wait_returns_a_bounded_batch() {
    let mut harness = Harness::new();
    let pairs = harness.pairs(100);
    let mut operations = Vec::new();
    for (client, server) in &pairs {
        operations.push(harness.send(*client, b"ping".as_slice()));
        operations.push(harness.send(*server, b"pong".as_slice()));
        operations.push(harness.receive(*client));
        operations.push(harness.receive(*server));
    }
    let mut most = 0;
    while harness.live_count() > 200 {
        most = most.max(harness.turn(Some(Duration::from_secs(10))));
    }
    assert!((1..1000).contains(&most), "{most} completions in one wait");
    harness.finish();
}
