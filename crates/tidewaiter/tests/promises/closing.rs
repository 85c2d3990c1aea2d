//! Promise 6: closing a handle cancels its operations, delivers all of its completions, and then completes.
//!
//! The harness checks in every test that no completion of a handle follows its closing.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tidewaiter::port::{CloseMode, Failure, ListenOptions, Outcome, Request};

use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::{Reader, receive_exactly};
use crate::support::roles::Role;

#[test]
fn closing_ends_the_operations_before_it_completes() {
    for mode in [CloseMode::Graceful, CloseMode::Reset] {
        let mut harness = Harness::new();
        let (client, server) = harness.pair();
        let receiving = harness.receive(client);
        let data = Bytes::from(vec![1; 1 << 20]);
        let (sending, _) = harness.send_until_stuck(client, &data);
        let closing = harness.close(client, mode);
        assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
        assert!(!harness.is_live(receiving) && !harness.is_live(sending));
        harness.assert_cancelled(receiving);
        harness.close_now(server);
        harness.finish();
    }
}

#[test]
fn a_listener_can_be_closed_while_it_accepts() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen_apart();
    let accepts: Vec<_> = (0..3)
        .map(|_| harness.submit(listener, Request::Accept))
        .collect();
    harness.close_now(listener);
    for accepting in accepts {
        harness.assert_cancelled(accepting);
    }
    let error = harness.soon(|harness| {
        let (_, connecting) = harness.connect(address);
        match harness.last(connecting) {
            Err(Failure::Os { source, .. }) => Ok(source),
            other => Err(io::Error::other(format!("somebody listens: {other:?}"))),
        }
    });
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    harness.finish();
}

#[test]
fn a_socket_can_be_closed_while_it_connects() {
    let mut harness = Harness::new();
    let (_, address) = harness.listen();
    for mode in [CloseMode::Graceful, CloseMode::Reset] {
        for _ in 0..20 {
            let (client, connecting) = harness.connect(address);
            let closing = harness.close(client, mode);
            assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
            let result = harness.last(connecting);
            assert!(
                matches!(result, Ok(Outcome::Connected) | Err(Failure::Cancelled)),
                "{result:?}"
            );
        }
    }
    harness.finish();
}

#[test]
fn an_unused_handle_can_be_closed() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let client = harness.open_stream(address);
    harness.close_now(client);
    harness.close_now(listener);
    harness.finish();
}

#[test]
fn a_graceful_close_delivers_all_bytes_that_the_os_took_and_then_the_end() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let data: Vec<u8> = (0..30_000u32).flat_map(u32::to_le_bytes).collect();
    let mut left = data.as_slice();
    let mut reader = Reader::new(&mut harness, server);
    while !left.is_empty() {
        let sending = harness.send(client, left);
        let Ok(Outcome::Sent { bytes, .. }) = harness.last(sending) else {
            panic!("it cannot be sent");
        };
        left = &left[bytes..];
        reader.absorb(&mut harness);
    }
    harness.close(client, CloseMode::Graceful);
    let (received, end) = reader.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(received.len(), data.len());
    assert!(received == data, "the bytes are the same");
    harness.finish();
}

#[test]
fn a_reset_is_a_reset_for_the_peer() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let reader = Reader::new(&mut harness, server);
    harness.close(client, CloseMode::Reset);
    let (_, end) = reader.read_to_end(&mut harness);
    let Err(Failure::Os { source, .. }) = end else {
        panic!("a reset is no orderly end: {end:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset, "{source}");
    harness.finish();
}

/// Goal: the address is free as soon as closing has completed, whether or not the listener had connections.
#[test]
fn an_address_can_be_listened_on_again_once_closed() {
    let mut harness = Harness::new();
    let (mut listener, address) = harness.listen_apart();
    for _ in 0..5 {
        let accepting = harness.submit(listener, Request::Accept);
        let (client, connecting) = harness.connect(address);
        harness.last(connecting).expect("the server listens");
        let (socket, _) = harness.accepted(accepting);
        let server = harness.adopt(socket);
        // The end that closes first lingers; here this is the one with the listener's address.
        harness.close_now(server);
        let mut reader = Reader::new(&mut harness, client);
        harness.until("the end", |harness| {
            reader.absorb(harness);
            reader.has_ended()
        });
        harness.close_now(client);
        harness.close_now(listener);
        listener = harness.soon(|harness| harness.port.listen(&ListenOptions::new(address)));
        harness.track(listener);
    }
    harness.finish();
}

#[test]
fn connections_that_nobody_accepted_end_with_their_listener() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let (client, connecting) = harness.connect(address);
    harness.last(connecting).expect("the backlog has room");
    let reader = Reader::new(&mut harness, client);
    harness.close_now(listener);
    let (bytes, _end) = reader.read_to_end(&mut harness);
    assert!(bytes.is_empty());
    harness.finish();
}

#[test]
fn an_accepted_socket_that_is_dropped_is_closed() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let (client, connecting) = harness.connect(address);
    harness.last(connecting).expect("the server listens");
    let (socket, peer): (_, SocketAddr) = harness.accepted(accepting);
    assert_eq!(harness.port.local_addr(client).ok(), Some(peer.into()));
    let reader = Reader::new(&mut harness, client);
    drop(socket);
    let (bytes, _end) = reader.read_to_end(&mut harness);
    assert!(bytes.is_empty());
    harness.finish();
}

#[test]
fn closing_a_process_handle_leaves_the_process_alone() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Echo);
    let mut output = child.output(&mut harness);
    harness.close_now(child.process);
    harness.assert_cancelled(child.exit);
    harness.send_all(child.stdin, b"still here");
    assert_eq!(output.take(&mut harness, 10), b"still here");
    harness.close_now(child.stdin);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn closing_one_handle_leaves_the_others_alone() {
    let mut harness = Harness::new();
    let pairs = harness.pairs(20);
    for (client, _) in pairs.iter().step_by(2) {
        harness.close(*client, CloseMode::Reset);
    }
    for (client, server) in pairs.iter().skip(1).step_by(2) {
        harness.send_all(*client, b"hello");
        assert_eq!(receive_exactly(&mut harness, *server, 5), b"hello");
    }
    harness.finish();
}
