//! Promise 1: an operation owns all memory that the OS may access until its last completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tidewaiter::port::{Buffer, Chunks, CloseMode, Handle, Operation, Outcome, Request};

use crate::MANY;
use crate::support::harness::Harness;
use crate::support::reader::receive_exactly;

/// Receives one buffer of bytes.
fn receive_buffer(harness: &mut Harness, handle: Handle) -> Buffer {
    let receiving = harness.receive(handle);
    match harness.next(receiving).result {
        Ok(Outcome::Received(buffer)) => buffer,
        other => panic!("bytes should have arrived: {other:?}"),
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

/// Goal: the port does not receive into memory that the user still reads.
/// Method: hold the buffers of closed and cancelled receives while other receives get much more.
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
                other => panic!("bytes should have arrived: {other:?}"),
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
/// Method: every stuck send holds a reference to one buffer; afterwards ours must be the only one.
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
fn a_send_returns_its_memory_with_its_last_completion() {
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

/// Memory of the program that counts how many of its bytes were dropped.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(self.0.len(), Ordering::Relaxed);
    }
}

/// `size` bytes in pieces of 1000, and a counter of the bytes dropped so far.
fn counted(size: usize) -> (Chunks, Arc<AtomicUsize>) {
    let (mut chunks, dropped) = (Chunks::new(), Arc::new(AtomicUsize::new(0)));
    while chunks.len() < size {
        let piece = Counted(vec![7; 1000.min(size - chunks.len())], Arc::clone(&dropped));
        chunks.push(Bytes::from_owner(piece));
    }
    (chunks, dropped)
}

/// Goal: the port never drops sent bytes, because their drop runs the program's code; the receiver of the
/// completion drops them.
#[test]
fn sent_bytes_are_dropped_by_the_receiver_of_the_completion() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let (chunks, dropped) = counted(2500);
    let sending = harness.send(client, chunks);
    receive_exactly(&mut harness, server, 2500);
    harness.until("the send's end", |harness| !harness.is_live(sending));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    let mut completion = harness.next(sending);
    assert!(completion.unsent.is_empty());
    completion.unsent.release_sent();
    assert_eq!(dropped.load(Ordering::Relaxed), 2500);
    harness.finish();
}

/// Goal: however a send ends, its last completion returns all unsent bytes; the harness checks how many.
#[test]
fn a_failed_send_returns_the_unsent_bytes() {
    /// More than any OS takes at once.
    const MUCH: usize = 4 << 20;
    let ends: [fn(&mut Harness, Handle, Handle, Operation); 3] = [
        |harness, _, _, sending| assert!(harness.port.cancel(sending)),
        |harness, client, _, _| _ = harness.close(client, CloseMode::Graceful),
        |harness, _, server, _| _ = harness.close(server, CloseMode::Reset),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        for stuck in [false, true] {
            let mut harness = Harness::new();
            let (client, server) = harness.pair();
            let dropped = Arc::new(AtomicUsize::new(0));
            let data = Bytes::from_owner(Counted(vec![7; MUCH], Arc::clone(&dropped)));
            let sending = match stuck {
                true => harness.send_until_stuck(client, &data).0,
                false => harness.send(client, data.clone()),
            };
            drop(data);
            end(&mut harness, client, server, sending);
            harness.until("the send's end", |harness| !harness.is_live(sending));
            assert_eq!(dropped.load(Ordering::Relaxed), 0, "end {number}");
            let completion = harness.next(sending);
            assert!(!stuck || completion.result.is_err(), "end {number}");
            let unsent = completion.unsent.slices().flatten();
            assert!(unsent.copied().all(|byte| byte == 7), "end {number}");
            drop(completion);
            assert_eq!(dropped.load(Ordering::Relaxed), MUCH, "end {number}");
            harness.finish();
        }
    }
}

/// Goal: a panic in the drop of the program's bytes goes no further, and the other pieces are dropped.
#[test]
fn a_panic_in_the_drop_of_sent_bytes_is_contained() {
    struct Bomb;
    impl AsRef<[u8]> for Bomb {
        fn as_ref(&self) -> &[u8] {
            b"bomb"
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb was dropped");
        }
    }
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let (mut chunks, dropped) = counted(1000);
    for _ in 0..2 {
        chunks.push(Bytes::from_owner(Bomb));
    }
    let size = chunks.len();
    let sending = harness.send(client, chunks);
    receive_exactly(&mut harness, server, size);
    drop(harness.sent(sending));
    assert_eq!(dropped.load(Ordering::Relaxed), 1000);
    let (mut chunks, dropped) = counted(1000);
    chunks.push(Bytes::from_owner(Bomb));
    harness.send(client, chunks);
    harness.drop_port();
    assert_eq!(dropped.load(Ordering::Relaxed), 1000);
}

/// Goal: the port takes outgoing bytes by value, so the caller may drop its own reference at once.
#[test]
fn the_caller_may_drop_its_reference_to_sent_bytes() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    for number in 0..100u8 {
        let sending = harness.send(client, vec![number; 3000]);
        drop(vec![!number; 3000]);
        let received = receive_exactly(&mut harness, server, 3000);
        assert!(received.iter().all(|byte| *byte == number));
        assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    }
    harness.finish();
}
