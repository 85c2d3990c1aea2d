//! Promise 7: an idle connection holds no receive buffer.

use std::time::Duration;

use tidewaiter::port::{Buffer, Handle, Outcome, PortOptions};

use crate::MANY;
use crate::support::harness::Harness;
use crate::support::reader::Reader;

fn few_buffers() -> PortOptions {
    let mut options = PortOptions::default();
    options.receive_buffers = 8;
    options.receive_bytes = 1024;
    options
}

/// Sends `size` bytes to every server. Returns the bytes to expect, server by server.
fn burst(harness: &mut Harness, pairs: &[(Handle, Handle)], size: usize) -> Vec<Vec<u8>> {
    let mut expected = Vec::new();
    let mut sends = Vec::new();
    for (number, (client, _)) in (0u32..).zip(pairs) {
        let data: Vec<u8> = number
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(size)
            .collect();
        sends.push(harness.send(*client, data.clone()));
        expected.push(data);
    }
    for (sending, data) in sends.into_iter().zip(&expected) {
        match harness.last(sending) {
            Ok(Outcome::Sent { bytes, .. }) => assert_eq!(bytes, data.len()),
            other => panic!("there is room for it: {other:?}"),
        }
    }
    expected
}

#[test]
fn idle_connections_receive_nothing() {
    let mut harness = Harness::with(&few_buffers());
    for (client, server) in harness.pairs(MANY / 2) {
        harness.receive(client);
        harness.receive(server);
    }
    for _ in 0..3 {
        assert_eq!(harness.turn(Some(Duration::from_millis(10))), 0);
    }
    harness.finish();
}

/// Goal: a connection needs no buffer of its own to wait for bytes, and none starves.
#[test]
fn a_few_buffers_serve_a_burst_on_many_idle_connections() {
    let mut harness = Harness::with(&few_buffers());
    let pairs = harness.pairs(MANY);
    let mut readers: Vec<_> = pairs
        .iter()
        .map(|(_, server)| Reader::new(&mut harness, *server))
        .collect();
    for _ in 0..2 {
        let expected = burst(&mut harness, &pairs, 3000);
        for (reader, data) in readers.iter_mut().zip(expected) {
            assert_eq!(reader.take(&mut harness, data.len()), data);
        }
    }
    harness.finish();
}

/// Goal: a user that keeps every buffer makes the port allocate more, not stall.
#[test]
fn holding_every_buffer_stalls_nothing() {
    let mut harness = Harness::with(&few_buffers());
    let pairs = harness.pairs(50);
    let receives: Vec<_> = pairs
        .iter()
        .map(|(_, server)| harness.receive(*server))
        .collect();
    let expected = burst(&mut harness, &pairs, 2500);
    let mut held: Vec<Vec<Buffer>> = pairs.iter().map(|_| Vec::new()).collect();
    harness.until("all bytes, in buffers that are kept", |harness| {
        for (receiving, buffers) in receives.iter().zip(&mut held) {
            while let Some(completion) = harness.arrived(*receiving) {
                match completion.result {
                    Ok(Outcome::Received(buffer)) => buffers.push(buffer),
                    other => panic!("bytes should have arrived: {other:?}"),
                }
            }
        }
        let held = held.iter().flatten().map(|buffer| buffer.len());
        held.sum::<usize>() == 50 * 2500
    });
    for (buffers, data) in held.iter().zip(&expected) {
        let got: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.to_vec()).collect();
        assert_eq!(&got, data);
    }
    drop(held);
    let expected = burst(&mut harness, &pairs[..1], 5000);
    let mut got = Vec::new();
    while got.len() < 5000 {
        match harness.next(receives[0]).result {
            Ok(Outcome::Received(buffer)) => got.extend_from_slice(&buffer),
            other => panic!("bytes should have arrived: {other:?}"),
        }
    }
    assert_eq!(got, expected[0]);
    harness.finish();
}
