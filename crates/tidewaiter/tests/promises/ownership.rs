//! Promise 1: an operation owns everything the OS may touch until its last completion.

use bytes::Bytes;
use tidewaiter::port::{Buffer, CloseMode, Handle, Outcome, Request};

use crate::MANY;
use crate::support::harness::Harness;

/// Receives one buffer of what was sent.
fn receive_buffer(harness: &mut Harness, handle: Handle) -> Buffer {
    let receiving = harness.receive(handle);
    match harness.next(receiving).result {
        Ok(Outcome::Received(buffer)) => buffer,
        other => panic!("bytes should have come: {other:?}"),
    }
}

#[test]
fn a_buffer_outlives_its_port() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.send_all(client, b"kept");
    let buffer = receive_buffer(&mut harness, server);
    harness.drop_port();
    assert_eq!(&*buffer, b"kept");
}

/// Goal: memory that the user still reads is not received into again.
/// Method: hold the buffers of closed and cancelled receives while others receive much more.
#[test]
fn a_buffer_keeps_its_bytes_after_its_operation_and_handle_are_gone() {
    let mut harness = Harness::new();
    let mut kept = Vec::new();
    for (number, (client, server)) in (0u8..).zip(harness.pairs(20)) {
        harness.send_all(client, &[number; 1000]);
        kept.push(receive_buffer(&mut harness, server));
        harness.close_now(server);
    }
    let (client, server) = harness.pair();
    for _ in 0..500 {
        harness.send_all(client, &[0xFF; 1000]);
        let mut got = 0;
        let receiving = harness.receive(server);
        while got < 1000 {
            match harness.next(receiving).result {
                Ok(Outcome::Received(buffer)) => got += buffer.len(),
                other => panic!("bytes should have come: {other:?}"),
            }
        }
        harness.port.cancel(receiving);
        harness.assert_cancelled(receiving);
    }
    for (number, buffer) in (0u8..).zip(&kept) {
        assert!(buffer.iter().all(|byte| *byte == number), "buffer {number}");
    }
    harness.finish();
}

/// Goal: dropping a port with thousands of operations under way leaks none of their memory.
/// Method: every stuck send holds a share of one piece of memory; afterwards we hold the only one.
#[test]
fn dropping_the_port_takes_back_all_memory_from_thousands_of_operations() {
    let mut harness = Harness::new();
    let data = Bytes::from(vec![7; 4 << 20]);
    let (listener, _) = harness.listen();
    harness.submit(listener, Request::Accept);
    let pairs = harness.pairs(MANY / 2);
    for (client, server) in &pairs {
        harness.receive(*client);
        harness.receive(*server);
    }
    for (client, _) in &pairs[..10] {
        harness.send(*client, data.clone());
    }
    assert!(!data.is_unique());
    harness.drop_port();
    assert!(data.is_unique(), "no operation holds memory any more");
}

/// Goal: as above, right after everything was cancelled, and with half of the handles being closed.
#[test]
fn dropping_the_port_right_after_cancelling_and_closing_takes_back_all_memory() {
    let mut harness = Harness::new();
    let data = Bytes::from(vec![7; 4 << 20]);
    let pairs = harness.pairs(MANY / 8);
    let mut operations = Vec::new();
    for (client, server) in &pairs {
        operations.push(harness.receive(*client));
        operations.push(harness.send(*server, data.slice(..100)));
    }
    operations.push(harness.send(pairs[0].0, data.clone()));
    for operation in operations {
        harness.port.cancel(operation);
    }
    for (client, server) in &pairs[MANY / 16..] {
        harness.close(*client, CloseMode::Graceful);
        harness.close(*server, CloseMode::Reset);
    }
    harness.drop_port();
    assert!(data.is_unique(), "no operation holds memory any more");
}

#[test]
fn a_send_gives_its_memory_back_with_its_last_completion() {
    let mut harness = Harness::new();
    let data = Bytes::from(vec![7; 1 << 20]);
    let (client, server) = harness.pair();
    let (stuck, _) = harness.send_until_stuck(client, &data);
    assert!(!data.is_unique(), "the OS may still read it");
    assert!(harness.port.cancel(stuck));
    drop(harness.last(stuck));
    assert!(data.is_unique());
    let (stuck, _) = harness.send_until_stuck(server, &data);
    harness.close(server, CloseMode::Reset);
    drop(harness.last(stuck));
    assert!(data.is_unique());
    harness.finish();
}

/// Goal: outgoing bytes are taken by value: the sender may drop its share at once.
#[test]
fn the_caller_may_drop_what_it_sends() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    for number in 0..100u8 {
        let sending = harness.send(client, vec![number; 3000]);
        drop(vec![!number; 3000]);
        let received = crate::support::reader::receive_exactly(&mut harness, server, 3000);
        assert!(received.iter().all(|byte| *byte == number));
        assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    }
    harness.finish();
}
