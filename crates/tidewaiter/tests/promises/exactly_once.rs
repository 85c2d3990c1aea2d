//! Promise 2: every submitted operation completes exactly once; a multishot one has exactly one last
//! completion.
//!
//! The harness checks this in every test. These tests go through the ways in which an operation can end.

use bytes::Bytes;
use tidewaiter::port::{CloseMode, Failure, Handle, Operation, Outcome, Request};

use crate::MANY;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::random::Random;
use crate::support::reader::{Reader, receive_exactly};
use crate::support::roles::Role;

/// Submits an operation of each kind that stays under way until it is cancelled or its handle closed. Returns
/// it with its handle.
fn one_of_each(harness: &mut Harness) -> Vec<(Handle, Operation)> {
    let (listener, _) = harness.listen();
    // The peers receive nothing, so sends to them get stuck.
    let (sender, _peer) = harness.pair();
    let (receiver, _peer) = harness.pair();
    let child = Child::start(harness, Role::Deaf);
    // It ends with its input, even after its process is closed.
    let other = Child::start(harness, Role::Echo);
    let data = Bytes::from(vec![1; 1 << 20]);
    vec![
        (listener, harness.submit(listener, Request::Accept)),
        (receiver, harness.receive(receiver)),
        (sender, harness.send_until_stuck(sender, &data).0),
        (child.stderr, harness.receive(child.stderr)),
        (child.stdin, harness.send_until_stuck(child.stdin, &data).0),
        (other.process, other.exit),
    ]
}

#[test]
fn each_kind_completes_once_when_cancelled() {
    let mut harness = Harness::new();
    for (_, operation) in one_of_each(&mut harness) {
        assert!(harness.port.cancel(operation), "it was under way");
        harness.assert_cancelled(operation);
        assert!(!harness.port.cancel(operation), "it has ended");
    }
    harness.finish();
}

#[test]
fn each_kind_completes_once_when_cancelled_twice_before_a_wait() {
    let mut harness = Harness::new();
    let operations = one_of_each(&mut harness);
    for (_, operation) in &operations {
        harness.port.cancel(*operation);
        harness.port.cancel(*operation);
    }
    for (_, operation) in operations {
        harness.assert_cancelled(operation);
    }
    harness.finish();
}

/// Goal: cancelling works the same for an operation that was not yet handed to the OS.
#[test]
fn an_operation_cancelled_right_after_its_submission_completes_once() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let (client, server) = harness.pair();
    let (connecting, connect) = harness.connect(address);
    let operations = [
        harness.submit(listener, Request::Accept),
        harness.receive(server),
        harness.send(client, vec![1; 100]),
        connect,
    ];
    for operation in operations {
        assert!(harness.port.cancel(operation));
    }
    harness.until("every operation to end", |harness| {
        harness.live_count() == 0
    });
    let accepted = harness.last(operations[0]);
    assert!(matches!(accepted, Err(Failure::Cancelled)), "{accepted:?}");
    harness.close_now(connecting);
    harness.finish();
}

#[test]
fn each_kind_completes_once_when_its_handle_is_closed() {
    for mode in [CloseMode::Graceful, CloseMode::Reset] {
        let mut harness = Harness::new();
        // The peers stay open: only the closing ends the operations.
        for (handle, operation) in one_of_each(&mut harness) {
            harness.close(handle, mode);
            harness.assert_cancelled(operation);
        }
        harness.finish();
    }
}

#[test]
fn cancelling_a_completed_operation_does_nothing() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let sending = harness.send(client, b"done".as_slice());
    assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    assert!(!harness.port.cancel(sending));
    assert_eq!(receive_exactly(&mut harness, server, 4), b"done");
    assert!(!harness.port.cancel(sending));
    harness.finish();
}

#[test]
fn a_multishot_accept_delivers_every_connection_and_then_its_end() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    for _ in 0..50 {
        let (client, connecting) = harness.connect(address);
        let completion = harness.next(accepting);
        assert!(completion.more);
        let Ok(Outcome::Accepted { peer, .. }) = completion.result else {
            panic!("a connection should have arrived: {completion:?}");
        };
        assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
        assert_eq!(harness.port.local_addr(client).ok(), Some(peer));
    }
    harness.port.cancel(accepting);
    harness.assert_cancelled(accepting);
    harness.finish();
}

/// Goal: one accept takes one connection, and the others wait for the next one.
#[test]
fn an_accept_of_one_ends_with_the_first_connection() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let idle = harness.submit(listener, Request::AcceptOne);
    harness.port.cancel(idle);
    harness.assert_cancelled(idle);
    let clients: Vec<_> = (0..5).map(|_| harness.connect(address).0).collect();
    for client in clients {
        let accepting = harness.submit(listener, Request::AcceptOne);
        let completion = harness.next(accepting);
        assert!(!completion.more, "{completion:?}");
        let Ok(Outcome::Accepted { peer, .. }) = completion.result else {
            panic!("a connection should have arrived: {completion:?}");
        };
        assert_eq!(harness.port.local_addr(client).ok(), Some(peer));
        assert!(!harness.is_live(accepting));
    }
    harness.finish();
}

#[test]
fn several_accepts_on_one_listener_share_its_connections() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepts: Vec<_> = (0..4)
        .map(|_| harness.submit(listener, Request::Accept))
        .collect();
    for _ in 0..40 {
        harness.connect(address);
    }
    let mut accepted = 0;
    harness.until("forty connections", |harness| {
        for accepting in &accepts {
            while let Some(completion) = harness.arrived(*accepting) {
                assert!(completion.more, "{completion:?}");
                accepted += 1;
            }
        }
        accepted == 40
    });
    harness.finish();
}

#[test]
fn a_multishot_receive_delivers_all_bytes_and_then_its_end() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let mut reader = Reader::new(&mut harness, server);
    for number in 0..50u8 {
        harness.send_all(client, &[number; 100]);
        assert_eq!(reader.take(&mut harness, 100), [number; 100]);
    }
    harness
        .port
        .shutdown_write(client)
        .expect("it is connected");
    let (rest, end) = reader.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

/// Goal: after the end of file, each further receive reports it again, once.
#[test]
fn each_receive_after_the_end_of_file_reports_it_once() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness
        .port
        .shutdown_write(client)
        .expect("it is connected");
    for _ in 0..3 {
        let receiving = harness.receive(server);
        let result = harness.last(receiving);
        assert!(matches!(result, Ok(Outcome::EndOfFile)), "{result:?}");
    }
    harness.finish();
}

/// Goal: a cancel that races with the completion neither duplicates nor loses anything.
/// Method: cancel receives at a random moment around the arrival of their bytes; the next receive must return
/// the bytes that the first did not.
#[test]
fn a_cancel_that_races_with_the_completion_loses_nothing() {
    let mut harness = Harness::new();
    let mut random = Random::new(2);
    let pairs = harness.pairs(MANY / 20);
    for round in 0..10u8 {
        let mut readers = Vec::new();
        for (client, server) in &pairs {
            let receiving = harness.receive(*server);
            let sending = harness.send(*client, vec![round; 10]);
            if random.below(2) == 0 {
                harness.turn(Some(std::time::Duration::ZERO));
            }
            harness.port.cancel(receiving);
            readers.push((receiving, sending, *server));
        }
        for (receiving, sending, server) in readers {
            assert!(matches!(
                harness.last(sending),
                Ok(Outcome::Sent { bytes: 10, .. })
            ));
            let mut got = Vec::new();
            let end = loop {
                let completion = harness.next(receiving);
                match completion.result {
                    Ok(Outcome::Received(buffer)) => got.extend_from_slice(&buffer),
                    other => break other,
                }
            };
            assert!(matches!(end, Err(Failure::Cancelled)), "{end:?}");
            got.extend(receive_exactly(&mut harness, server, 10 - got.len()));
            assert_eq!(got, [round; 10]);
        }
    }
    harness.finish();
}

#[test]
fn an_exit_completes_for_a_child_that_ended_long_before() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Exit(9));
    assert_eq!(child.status(&mut harness).code(), Some(9));
    let again = harness.submit(child.process, Request::Exit);
    let result = harness.last(again);
    let Ok(Outcome::Exited(status)) = result else {
        panic!("its status is known: {result:?}");
    };
    assert_eq!(status.code(), Some(9));
    harness.finish();
}

#[test]
fn thousands_of_operations_complete_once_each_when_all_is_closed() {
    let mut harness = Harness::new();
    for (client, server) in harness.pairs(MANY / 2) {
        harness.receive(client);
        harness.receive(server);
        harness.send(client, vec![1; 10]);
    }
    harness.close_all(CloseMode::Reset);
    harness.finish();
}
