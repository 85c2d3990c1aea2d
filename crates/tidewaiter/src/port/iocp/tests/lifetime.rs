//! Lent memory and its return: cancelling, closing, dropping, waiting.

use std::io::Write;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::{Duration, Instant};

use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent};

use super::{close, connected, listen, port, receive, send, until};
use crate::os::Address;
use crate::port::iocp::queue::Packet;
use crate::port::iocp::wait::Wait;
use crate::port::iocp::{ACCEPTS_PER_LISTENER, DRAIN_LIMIT, Iocp};
use crate::port::named_calls::NamedCalls;
use crate::port::table::Key;
use crate::port::{
    Chunks, CloseMode, Completion, Driver, Failure, Handle, Outcome, Request, RequestKind, Token,
};

/// More bytes than any socket takes at once.
fn flood() -> Chunks {
    Chunks::from(vec![0; 64 * 1024 * 1024])
}

/// Sends until the peer's window is full and the send stays under way.
fn choke(port: &mut Iocp, handle: Handle) {
    let mut rest = Some(flood());
    let mut completions: Vec<Completion> = Vec::new();
    while let Some(chunks) = rest.take() {
        send(port, handle, chunks);
        port.wait(Some(Duration::from_millis(50)), &mut completions)
            .expect("it waits");
        rest = completions.pop().map(|completion| match completion.result {
            Ok(Outcome::Sent { .. }) => completion.unsent,
            other => panic!("{other:?}"),
        });
    }
}

/// Goal: each receive ends exactly once, and no byte is lost or duplicated, however cancellation
/// and arrival interleave.
#[test]
fn cancelling_a_receive_races_with_bytes() {
    let mut port = port();
    let (handle, mut peer) = connected(&mut port);
    let (mut sent, mut received) = (0_usize, 0_usize);
    for round in 0..200 {
        let operation = receive(&mut port, handle);
        peer.write_all(b"x").expect("it is connected");
        sent += 1;
        if round % 2 == 0 {
            let mut completions = Vec::new();
            port.wait(Some(Duration::ZERO), &mut completions)
                .expect("it waits");
            received += completions
                .iter()
                .map(|completion| match &completion.result {
                    Ok(Outcome::Received(buffer)) => buffer.len(),
                    other => panic!("{other:?}"),
                })
                .sum::<usize>();
        }
        assert!(port.cancel(operation));
        until(&mut port, |_, completion| {
            assert_eq!(completion.operation, operation);
            match completion.result {
                Ok(Outcome::Received(buffer)) => received += buffer.len(),
                Err(Failure::Cancelled) => assert!(!completion.more),
                other => panic!("{other:?}"),
            }
            !completion.more
        });
        assert!(!port.cancel(operation), "it is over");
    }
    receive(&mut port, handle);
    drop(peer);
    until(&mut port, |_, completion| {
        if let Ok(Outcome::Received(buffer)) = &completion.result {
            received += buffer.len();
        }
        !completion.more
    });
    assert_eq!(received, sent);
    assert_eq!((port.in_flight(), port.stale()), (0, 0));
}

/// Goal: closing ends every operation, each exactly once, and completes last.
#[test]
fn closing_ends_what_is_under_way() {
    for mode in [CloseMode::Graceful, CloseMode::Reset] {
        let mut port = port();
        let (stream, _peer) = connected(&mut port);
        let (listener, _) = listen(&mut port);
        choke(&mut port, stream);
        receive(&mut port, stream);
        port.submit(listener, Request::Accept, Token(1))
            .expect("it listens");
        assert_eq!(port.in_flight(), 3);
        for (handle, kinds) in [
            (stream, vec![RequestKind::Receive, RequestKind::Send]),
            (listener, vec![RequestKind::Accept]),
        ] {
            port.close(handle, mode, Token(9)).expect("it is open");
            port.close(handle, mode, Token(9))
                .expect_err("it is being closed");
            let mut ended = Vec::new();
            until(&mut port, |_, completion| {
                assert!(!completion.more);
                if completion.kind == RequestKind::Close {
                    assert!(matches!(completion.result, Ok(Outcome::Closed)));
                    return true;
                }
                assert!(
                    matches!(completion.result, Err(Failure::Cancelled)),
                    "{completion:?}"
                );
                ended.push(completion.kind);
                false
            });
            ended.sort_by_key(|kind| kinds.iter().position(|other| other == kind));
            assert_eq!(ended, kinds);
        }
        assert_eq!(
            (port.in_flight(), port.open_handles(), port.stale()),
            (0, 0, 0)
        );
    }
}

#[test]
fn a_connect_ends_early() {
    let mut port = port();
    // Nobody answers at an address reserved for documentation; without a route to it, the connect
    // fails by itself.
    let peer = Address::from(([192, 0, 2, 1], 9));
    let handle = port.open_stream(&peer, None).expect("a socket");
    let operation = port
        .submit(handle, Request::connect(peer), Token(0))
        .expect("a stream");
    port.cancel(operation);
    until(&mut port, |_, completion| {
        assert!(completion.result.is_err(), "{completion:?}");
        true
    });
    close(&mut port, handle);
    assert_eq!((port.in_flight(), port.stale()), (0, 0));
}

/// Goal: a port dropped with hundreds of operations under way gets its memory back at once.
#[test]
fn dropping_the_port_takes_every_record_back() {
    let mut port = port();
    let mut peers = Vec::new();
    for _ in 0..100 {
        let (handle, peer) = connected(&mut port);
        receive(&mut port, handle);
        peers.push(peer);
    }
    for _ in 0..10 {
        let (listener, _) = listen(&mut port);
        port.submit(listener, Request::Accept, Token(1))
            .expect("it listens");
    }
    let (handle, peer) = connected(&mut port);
    choke(&mut port, handle);
    peers.push(peer);
    assert_eq!(port.in_flight(), 111);
    let lent: usize = port
        .handles
        .iter()
        .map(|(_, entry)| entry.lent_records.len())
        .sum();
    assert_eq!(lent, 100 + 10 * ACCEPTS_PER_LISTENER + 1);
    let start = Instant::now();
    drop(port);
    assert!(start.elapsed() < DRAIN_LIMIT, "records were given up");
}

fn event() -> OwnedHandle {
    // SAFETY: the call gets neither attributes nor a name.
    let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
    assert!(!event.is_null());
    // SAFETY: the event was created just now.
    unsafe { OwnedHandle::from_raw_handle(event) }
}

fn set(event: &OwnedHandle) {
    // SAFETY: the event is open.
    let set = unsafe { SetEvent(event.as_raw_handle()) };
    assert_ne!(set, 0);
}

fn operation(index: u32) -> Key {
    Key {
        index,
        generation: 1,
    }
}

/// Collects `count` posted waits.
fn posted(port: &mut Iocp, count: usize) -> Vec<u32> {
    let mut indexes = Vec::new();
    while indexes.len() < count {
        let got = port.batch.fill(&port.queue, 64, 20_000).expect("it waits");
        assert!(got > 0, "only {} of {count} waits ended", indexes.len());
        for index in 0..got {
            match port.batch.packet(index) {
                Packet::Wait { operation } => indexes.push(operation.index),
                other => panic!("{other:?}"),
            }
        }
    }
    indexes.sort_unstable();
    indexes
}

/// Goal: the port waits for more objects at once than one thread can, and each posts once.
#[test]
fn a_hundred_objects_are_waited_for_at_once() {
    let mut port = port();
    let events: Vec<OwnedHandle> = (0..100).map(|_| event()).collect();
    let _waits: Vec<Wait> = (0..)
        .zip(&events)
        .map(|(index, event)| {
            Wait::start(
                port.functions.packets,
                &port.queue,
                event.as_handle(),
                operation(index),
            )
            .expect("an event can be waited for")
        })
        .collect();
    events.iter().rev().for_each(set);
    assert_eq!(posted(&mut port, 100), (0..100).collect::<Vec<u32>>());
}

/// Goal: a wait cancelled in time posts nothing; one cancelled too late posts once.
/// Method: signal from another thread while cancelling, many times; then compare the results of
/// `cancel` with the posted packets.
#[test]
fn cancelling_a_wait_races_with_its_signal() {
    let mut port = port();
    let mut expected = Vec::new();
    for index in 0..100 {
        let event = event();
        let mut wait = Wait::start(
            port.functions.packets,
            &port.queue,
            event.as_handle(),
            operation(index),
        )
        .expect("an event can be waited for");
        std::thread::scope(|scope| {
            scope.spawn(|| set(&event));
            if index % 2 == 0 {
                std::thread::yield_now();
            }
            if !wait.cancel() {
                expected.push(index);
            }
        });
    }
    // One more wait, to see that nothing else was posted.
    let last = event();
    set(&last);
    let _wait = Wait::start(
        port.functions.packets,
        &port.queue,
        last.as_handle(),
        operation(100),
    )
    .expect("an event can be waited for");
    expected.push(100);
    let count = expected.len();
    assert_eq!(posted(&mut port, count), expected);
}
