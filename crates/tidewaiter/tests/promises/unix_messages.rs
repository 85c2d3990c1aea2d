//! UNIX sockets: packets, and descriptors that go with bytes.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use tidewaiter::port::{Chunks, Handle, Outcome, PassedDescriptors, PortOptions, Request};

use crate::support::harness::Harness;
use crate::support::unix_pair::unix_pair;

/// One message after another.
fn messages(all: Vec<(&[u8], Vec<OwnedFd>)>) -> Chunks {
    let mut chunks = Chunks::new();
    for (data, descriptors) in all {
        chunks.begin_message(descriptors);
        chunks.extend_from_slice(data);
    }
    chunks
}

fn send_all(harness: &mut Harness, handle: Handle, mut left: Chunks) {
    while !left.is_empty() {
        let sending = harness.send(handle, left);
        left = harness.sent(sending).1;
    }
}

/// The contents of the next completion of a receive.
#[track_caller]
fn received(
    harness: &mut Harness,
    receiving: tidewaiter::port::Operation,
) -> (Vec<u8>, Option<PassedDescriptors>) {
    match harness.next(receiving).result {
        Ok(Outcome::Received(data)) => (data.to_vec(), None),
        Ok(Outcome::ReceivedWithDescriptors(received)) => {
            (received.data.to_vec(), Some(received.passed))
        }
        other => panic!("something should have arrived: {other:?}"),
    }
}

/// A pipe with a byte in it.
fn pipe_with(byte: u8) -> OwnedFd {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(&[byte]).expect("there is room");
    reader.into()
}

fn byte_in(pipe: &OwnedFd) -> u8 {
    let mut byte = [0];
    let mut pipe = std::fs::File::from(pipe.try_clone().expect("a duplicate"));
    pipe.read_exact(&mut byte).expect("there is a byte");
    byte[0]
}

#[test]
fn each_send_is_a_packet_and_each_packet_a_receive() {
    let mut harness = Harness::new();
    let (one, other) = unix_pair(&mut harness, true);
    let receiving = harness.receive(other);
    for data in [&b"a"[..], b"bc", &[7; 60_000]] {
        harness.send_all(one, data);
    }
    let sending = messages(vec![(&b"first"[..], vec![]), (b"second", vec![])]);
    send_all(&mut harness, one, sending);
    for data in [&b"a"[..], b"bc", &[7; 60_000], b"first", b"second"] {
        assert_eq!(received(&mut harness, receiving).0, data);
    }
    harness.close_now(one);
    assert!(matches!(harness.last(receiving), Ok(Outcome::EndOfFile)));
    harness.finish();
}

/// Goal: a packet of many pieces of memory, more than one call takes, is still one packet.
#[test]
fn a_packet_of_many_pieces_is_one_packet() {
    let mut harness = Harness::new();
    let (one, other) = unix_pair(&mut harness, true);
    let receiving = harness.receive(other);
    let mut chunks = Chunks::new();
    for piece in 0..200_u8 {
        chunks.push(vec![piece; 100]);
    }
    send_all(&mut harness, one, chunks);
    let expected: Vec<u8> = (0..200_u8).flat_map(|piece| [piece; 100]).collect();
    assert_eq!(received(&mut harness, receiving).0, expected);
    harness.finish();
}

#[test]
fn a_packet_that_is_too_long_fails_and_is_not_cut() {
    let mut options = PortOptions::default();
    options.receive_bytes = 1000;
    options.surge_bytes = 1000;
    let mut harness = Harness::with(&options);
    let (one, other) = unix_pair(&mut harness, true);
    let receiving = harness.receive(other);
    harness.send_all(one, &[1; 1000]);
    assert_eq!(received(&mut harness, receiving).0, [1; 1000]);
    harness.send_all(one, &[1; 1001]);
    let error = harness.refusal(receiving);
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("(1000)"), "{error}");

    let sending = harness.send(one, vec![0; 64 << 20]);
    let error = harness.refusal(sending);
    assert!(
        error.raw_os_error().is_some() || crate::SIMULATED,
        "the OS's own: {error}"
    );
    harness.finish();
}

#[test]
fn a_full_peer_takes_further_packets_later() {
    let mut harness = Harness::new();
    let (one, other) = unix_pair(&mut harness, true);
    let packet = [5; 5000];
    let (mut sent, mut sending) = (0, harness.send(one, &packet[..]));
    while harness.turn(Some(std::time::Duration::from_millis(100))) > 0 {
        assert_eq!(harness.sent(sending).0, packet.len());
        (sent, sending) = (sent + 1, harness.send(one, &packet[..]));
    }
    assert!(sent > 0 && harness.is_live(sending));
    let receiving = harness.receive(other);
    for _ in 0..=sent {
        assert_eq!(received(&mut harness, receiving).0, packet);
    }
    assert_eq!(harness.sent(sending).0, packet.len());
    harness.finish();
}

#[test]
fn descriptors_arrive_with_their_bytes_and_are_closed_on_exec() {
    for packets in [false, true] {
        let mut harness = Harness::new();
        let (one, other) = unix_pair(&mut harness, packets);
        let receiving = harness.submit(other, Request::ReceiveWithDescriptors);
        let sending = messages(vec![
            (&b"plain "[..], vec![]),
            (b"one", vec![pipe_with(1)]),
            (b"two", vec![pipe_with(2), pipe_with(3)]),
        ]);
        send_all(&mut harness, one, sending);
        let mut first = &b"plain one"[..];
        if packets {
            assert_eq!(received(&mut harness, receiving).0, b"plain ");
            first = b"one";
        }
        for (data, bytes) in [(first, vec![1]), (b"two", vec![2, 3])] {
            let (arrived, passed) = received(&mut harness, receiving);
            assert_eq!(arrived, data);
            let passed = passed.expect("they come with the bytes");
            assert!(!passed.some_lost);
            let there: Vec<u8> = passed.descriptors.iter().map(byte_in).collect();
            assert_eq!(there, bytes);
            for descriptor in &passed.descriptors {
                let flags = rustix::io::fcntl_getfd(descriptor).expect("it is open");
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
        }
        harness.finish();
    }
}

/// Waits until nobody can write to the pipe any more: all copies of its other end are closed.
#[track_caller]
fn assert_closes(harness: &mut Harness, mut reader: io::PipeReader) {
    rustix::io::ioctl_fionbio(&reader, true).expect("it is open");
    harness.soon(|_| match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        other => Err(io::Error::other(format!("it is still open: {other:?}"))),
    });
}

/// Goal: no descriptor stays open, whatever becomes of it.
#[test]
fn no_passed_descriptor_leaks() {
    for packets in [false, true] {
        for (takes, closes) in [(false, false), (true, false), (true, true)] {
            let mut harness = Harness::new();
            let (one, other) = unix_pair(&mut harness, packets);
            let (reader, writer) = io::pipe().expect("a pipe");
            send_all(
                &mut harness,
                one,
                messages(vec![(b"a", vec![writer.into()])]),
            );
            match (takes, closes) {
                // The port does not ask for them.
                (false, _) => drop(harness.receive(other)),
                // They are in the socket when it is closed.
                (true, true) => harness.close_now(other),
                // The program drops the completion.
                (true, false) => {
                    let receiving = harness.submit(other, Request::ReceiveWithDescriptors);
                    assert!(received(&mut harness, receiving).1.is_some());
                }
            }
            harness.turn(Some(std::time::Duration::ZERO));
            assert_closes(&mut harness, reader);
            harness.finish();
        }
    }
}

/// Goal: what was never sent is closed with the operation.
#[test]
fn descriptors_of_a_send_that_is_cancelled_are_closed() {
    let mut harness = Harness::new();
    let (one, _other) = unix_pair(&mut harness, false);
    let filler = bytes::Bytes::from(vec![0; 1 << 20]);
    let (stuck, _) = harness.send_until_stuck(one, &filler);
    harness.port.cancel(stuck);
    harness.assert_cancelled(stuck);
    let (reader, writer) = io::pipe().expect("a pipe");
    let sending = harness.send(one, messages(vec![(b"a", vec![writer.into()])]));
    harness.port.cancel(sending);
    let completion = harness.next(sending);
    assert!(completion.result.is_err());
    assert_eq!(completion.unsent.len(), 1);
    drop(completion);
    assert_closes(&mut harness, reader);
    harness.finish();
}

#[test]
fn only_unix_sockets_pass_descriptors() {
    let mut harness = Harness::new();
    let (one, other) = harness.pair();
    // TCP takes the request, and brings nothing.
    let receiving = harness.submit(other, Request::ReceiveWithDescriptors);
    harness.send_all(one, b"plain");
    assert_eq!(received(&mut harness, receiving).0, b"plain");
    if crate::SIMULATED {
        // Pipes of the OS cannot be adopted.
        return harness.finish();
    }
    let (reader, writer) = io::pipe().expect("a pipe");
    let reader = harness.adopt(tidewaiter::port::Resource::PipeReader(reader.into()));
    let refused = harness.port.submit(
        reader,
        Request::ReceiveWithDescriptors,
        tidewaiter::port::Token(0),
    );
    let error = refused.expect_err("a pipe passes nothing");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    drop(writer);
    harness.finish();
}
