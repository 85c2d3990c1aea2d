//! Races, shortages and large amounts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::super::super::{
    Chunks, CloseMode, Driver, Operation, Outcome, PortOptions, Request, Resource, Token,
};
use super::{Harness, KERNELS, PATIENCE, is_cancelled, pair, pipe};
use crate::port::named_calls::NamedCalls;

/// Returns bytes from a formula whose period is no multiple of any piece size.
fn pattern(len: u32) -> Vec<u8> {
    (0..len)
        .map(|index| (index.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes()[0])
        .collect()
}

fn in_pieces(data: &[u8]) -> Chunks {
    let mut chunks = Chunks::new();
    let (mut rest, mut size) = (data, 1);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(size.min(rest.len()));
        chunks.push(piece.to_vec());
        rest = tail;
        size = size * 3 % 40_009;
    }
    chunks
}

#[test]
fn vectored_sends_keep_64_mib_in_order() {
    let data = pattern(64 << 20);
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    let mut queue = in_pieces(&data);
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        theirs
            .read_to_end(&mut received)
            .expect("we close in the end");
        received
    });
    while !queue.is_empty() {
        let mut part = Chunks::new();
        part.take_from(&mut queue, 100, usize::MAX);
        let send = harness.submit(ours, Request::Send(part));
        let mut sent = harness.next(send);
        assert!(matches!(sent.result, Ok(Outcome::Sent { .. })), "{sent:?}");
        queue.put_back(&mut sent.unsent);
    }
    harness.close(ours, CloseMode::Graceful);
    let received = reading.join().expect("the reader does not panic");
    assert!(received == data, "{} bytes came", received.len());
    harness.finish();
}

/// Goal: a full pipe takes what it can, and a vectored write continues where the last one ended.
#[test]
fn a_pipe_carries_more_than_it_holds() {
    for allowed in KERNELS {
        let data = &pattern(4 << 20)[..];
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (reader, writer) = pipe();
        let reader = harness.adopt(Resource::PipeReader(reader));
        let writer = harness.adopt(Resource::PipeWriter(writer));
        let receive = harness.submit(reader, Request::Receive);
        let (mut queue, mut received) = (in_pieces(data), Vec::new());
        let mut send = None;
        while received.len() < data.len() {
            if send.is_none() && !queue.is_empty() {
                send = Some(harness.submit(writer, Request::Send(std::mem::take(&mut queue))));
            }
            harness.wait();
            for completion in std::mem::take(&mut harness.delivered) {
                match completion.result {
                    Ok(Outcome::Received(bytes)) => received.extend_from_slice(&bytes),
                    Ok(Outcome::Sent { .. }) => {
                        send = None;
                        queue = completion.unsent;
                    }
                    other => panic!("neither sent nor received: {other:?}"),
                }
            }
        }
        assert!(received == data);
        harness.close(writer, CloseMode::Graceful);
        assert!(matches!(
            harness.last(receive).result,
            Ok(Outcome::EndOfFile)
        ));
        harness.close(reader, CloseMode::Graceful);
        harness.finish();
    }
}

/// Goal: a program that holds every buffer still receives; once it drops them, the ring serves
/// again.
#[test]
fn receiving_goes_on_while_the_program_keeps_every_buffer() {
    let options = PortOptions {
        receive_buffers: 2,
        receive_bytes: 4,
        ..PortOptions::default()
    };
    for allowed in KERNELS {
        let mut harness = Harness::with(&options, allowed);
        let (ours, mut theirs) = pair();
        let (pipe_reader, pipe_writer) = pipe();
        let mut pipe_writer = std::fs::File::from(pipe_writer);
        let socket = harness.adopt(ours);
        let pipe = harness.adopt(Resource::PipeReader(pipe_reader));
        let from_socket = harness.submit(socket, Request::Receive);
        let from_pipe = harness.submit(pipe, Request::Receive);
        for _ in 0..2 {
            let mut kept = Vec::new();
            for round in 0..6_u8 {
                theirs.write_all(&[round; 4]).expect("we receive");
                kept.push(harness.receive(from_socket));
                pipe_writer.write_all(&[round + 10; 4]).expect("we read");
                kept.push(harness.receive(from_pipe));
            }
            let values: Vec<u8> = kept.iter().flat_map(|buffer| buffer.to_vec()).collect();
            let sent = (0..6_u8).flat_map(|round| [[round; 4], [round + 10; 4]]);
            assert_eq!(values, sent.flatten().collect::<Vec<u8>>());
            assert!(harness.port.buffers.is_exhausted());
        }
        assert!(
            !harness.port.buffers.is_exhausted(),
            "dropped buffers come back"
        );
        theirs.write_all(b"last").expect("we receive");
        assert_eq!(&*harness.receive(from_socket), b"last");
        drop((theirs, pipe_writer));
        assert!(matches!(
            harness.next(from_socket).result,
            Ok(Outcome::EndOfFile)
        ));
        assert!(matches!(
            harness.next(from_pipe).result,
            Ok(Outcome::EndOfFile)
        ));
        harness.close(socket, CloseMode::Graceful);
        harness.close(pipe, CloseMode::Graceful);
        harness.finish();
    }
}

/// Goal: once a connection has carried much, one wait receives several large pieces of the
/// available data, in order.
/// Method: fill the socket, then receive everything, until a wait has delivered several pieces.
#[test]
fn a_wait_receives_several_pieces_of_what_surges() {
    let options = PortOptions::default();
    for allowed in KERNELS {
        let mut harness = Harness::with(&options, allowed);
        let (ours, mut theirs) = pair();
        theirs.set_nonblocking(true).expect("an option");
        // Left to itself, the kernel may take long to grow the receive buffer.
        let room = SockRef::from(&ours).set_recv_buffer_size(1 << 20);
        room.expect("an option");
        let ours = harness.adopt(ours);
        let receive = harness.submit(ours, Request::Receive);
        let deadline = Instant::now() + PATIENCE;
        let (mut sent, mut received, mut most) = (0, 0, 0);
        let data = pattern(1 << 20);
        while most < 2 {
            assert!(Instant::now() < deadline, "one piece at a time");
            while let Ok(count) = theirs.write(&data[sent % data.len()..]) {
                sent += count;
            }
            while received < sent {
                harness.wait();
                let mut large = 0;
                for completion in std::mem::take(&mut harness.delivered) {
                    let Ok(Outcome::Received(piece)) = completion.result else {
                        panic!("not received: {completion:?}");
                    };
                    for (index, byte) in piece.iter().enumerate() {
                        assert_eq!(*byte, data[(received + index) % data.len()]);
                    }
                    received += piece.len();
                    large += usize::from(piece.len() == options.surge_bytes);
                }
                most = most.max(large);
            }
        }
        assert!(harness.port.cancel(receive));
        assert!(is_cancelled(&harness.last(receive)));
        harness.close(ours, CloseMode::Graceful);
        harness.finish();
    }
}

/// Receives single messages and queues them for sending, in place as often as the port allows.
/// Returns what was received, and the number of messages queued in place.
fn received_to_be_sent(
    harness: &mut Harness,
    receive: Operation,
    theirs: &mut TcpStream,
) -> (Vec<u8>, Chunks, usize) {
    let (mut all, mut queue, mut shared) = (Vec::new(), Chunks::new(), 0);
    let data = pattern(20_000);
    for round in 0..200 {
        let message = &data[round..round + 12_000];
        theirs.write_all(message).expect("we receive");
        let mut came = 0;
        while came < message.len() {
            let buffer = harness.receive(receive);
            assert_eq!(*buffer, message[came..came + buffer.len()]);
            came += buffer.len();
            match buffer.share(&buffer) {
                Some(same) => {
                    shared += 1;
                    queue.push_received(same);
                }
                None => queue.extend_from_slice(&buffer),
            }
        }
        all.extend_from_slice(message);
    }
    (all, queue, shared)
}

/// Goal: received data is sent from the buffer it is in; until then the kernel has enough other
/// buffers to receive into, and it gets all of them back.
#[test]
fn what_was_received_is_sent_from_where_it_is() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, mut theirs) = pair();
        let ours = harness.adopt(ours);
        let receive = harness.submit(ours, Request::Receive);
        let (data, mut queue, shared) = received_to_be_sent(&mut harness, receive, &mut theirs);
        assert_eq!(shared, 256 / 4, "the rest was copied");
        let reading = thread::spawn(move || {
            let mut received = vec![0; data.len()];
            theirs.read_exact(&mut received).expect("all of it comes");
            assert!(received == data);
        });
        while !queue.is_empty() {
            let send = harness.submit(ours, Request::Send(std::mem::take(&mut queue)));
            let mut sent = harness.next(send);
            assert!(matches!(sent.result, Ok(Outcome::Sent { .. })), "{sent:?}");
            queue.put_back(&mut sent.unsent);
        }
        reading.join().expect("what came is what was sent");
        let end = harness.last(receive);
        assert!(matches!(end.result, Ok(Outcome::EndOfFile)), "{end:?}");
        harness.close(ours, CloseMode::Graceful);
        let buffers = format!("{:?}", harness.port.buffers);
        assert!(buffers.contains("(0 of 256 lent"), "{buffers}");
        harness.finish();
    }
}

/// Goal: cancelling a send from received buffers returns these, but only once the kernel is done
/// with them.
/// Method: a peer that reads nothing, so that the send stays under way.
#[test]
fn a_send_that_is_given_up_gives_received_memory_back() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (mut ours, mut theirs) = pair();
        ours.set_nonblocking(true).expect("an option");
        while ours.write(&[0; 1 << 16]).is_ok() {}
        let ours = harness.adopt(ours);
        let receive = harness.submit(ours, Request::Receive);
        let (_, queue, _) = received_to_be_sent(&mut harness, receive, &mut theirs);
        let send = harness.submit(ours, Request::Send(queue));
        theirs.write_all(b"more").expect("we receive");
        assert_eq!(&*harness.receive(receive), b"more");
        harness.close(ours, CloseMode::Reset);
        assert!(is_cancelled(&harness.last(receive)));
        let ended = harness.next(send);
        // The peer's OS may have made some room anyway.
        let some = matches!(ended.result, Ok(Outcome::Sent { .. }));
        assert!(some || is_cancelled(&ended), "{ended:?}");
        drop(ended);
        let buffers = format!("{:?}", harness.port.buffers);
        assert!(buffers.contains("(0 of 256 lent"), "{buffers}");
        harness.finish();
    }
}

#[test]
fn a_buffer_outlives_its_port() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    let receive = harness.submit(ours, Request::Receive);
    theirs.write_all(b"kept").expect("we receive");
    let buffer = harness.receive(receive);
    drop(harness);
    assert_eq!(&*buffer, b"kept");
}

/// Goal: with queues far too small for the load, every operation still completes exactly once.
#[test]
fn tiny_queues_lose_nothing() {
    let options = PortOptions {
        completion_entries: 2,
        submission_entries: 1,
        ..PortOptions::default()
    };
    for allowed in KERNELS {
        let mut harness = Harness::with(&options, allowed);
        let mut peers = Vec::new();
        let mut receiving = Vec::new();
        for _ in 0..100 {
            let (ours, theirs) = pair();
            let handle = harness.adopt(ours);
            receiving.push((handle, harness.submit(handle, Request::Receive)));
            peers.push(theirs);
        }
        for round in 0..5_u8 {
            for peer in &mut peers {
                peer.write_all(&[round]).expect("we receive");
            }
            for (_, operation) in &receiving {
                assert_eq!(&*harness.receive(*operation), &[round]);
            }
        }
        drop(peers);
        for (handle, operation) in receiving {
            assert!(matches!(
                harness.next(operation).result,
                Ok(Outcome::EndOfFile)
            ));
            harness.close(handle, CloseMode::Graceful);
        }
        harness.finish();
    }
}

/// Goal: a cancelled operation completes exactly once, and the bytes that it received are not lost.
/// Method: the peer writes while the receive is cancelled and started anew, hundreds of times.
#[test]
fn cancelling_loses_no_bytes() {
    const ROUNDS: u32 = 500;
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, mut theirs) = pair();
        let ours = harness.adopt(ours);
        let writing = thread::spawn(move || {
            for number in 0..ROUNDS * 4 {
                theirs.write_all(&number.to_le_bytes()).expect("we receive");
            }
        });
        let mut received = Vec::new();
        loop {
            let receive = harness.submit(ours, Request::Receive);
            harness
                .port
                .wait(Some(Duration::ZERO), &mut harness.delivered)
                .expect("a wait");
            // The receive may have ended by itself.
            harness.port.cancel(receive);
            let end = loop {
                let completion = harness.next(receive);
                match completion.result {
                    Ok(Outcome::Received(bytes)) => received.extend_from_slice(&bytes),
                    _ => break completion,
                }
                assert!(completion.more);
            };
            assert!(!end.more);
            if matches!(end.result, Ok(Outcome::EndOfFile)) {
                break;
            }
            assert!(is_cancelled(&end), "{end:?}");
            assert!(!harness.port.cancel(receive), "it is gone");
        }
        writing.join().expect("the writer does not panic");
        let sent: Vec<u8> = (0..ROUNDS * 4).flat_map(u32::to_le_bytes).collect();
        assert!(received == sent, "{} bytes came", received.len());
        harness.close(ours, CloseMode::Graceful);
        harness.finish();
    }
}

#[test]
fn closing_while_receiving_and_sending_completes_all_three_in_order() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, theirs) = pair();
        let ours = harness.adopt(ours);
        let receive = harness.submit(ours, Request::Receive);
        // Send until the sockets' buffers are full, so that the last send stays under way.
        let stuck = loop {
            let send = harness.submit(ours, Request::Send(vec![0; 64 << 20].into()));
            harness
                .port
                .wait(Some(Duration::ZERO), &mut harness.delivered)
                .expect("a wait");
            if harness.delivered.is_empty() {
                break send;
            }
            harness.delivered.clear();
        };
        let close = harness
            .port
            .close(ours, CloseMode::Reset, Token(9))
            .expect("it is open");
        while harness.port.in_flight() > 0 {
            harness.wait();
        }
        let order: Vec<_> = harness.delivered.iter().map(|one| one.operation).collect();
        assert_eq!(order.len(), 3, "{:?}", harness.delivered);
        assert!(order[..2].contains(&receive) && order[..2].contains(&stuck));
        assert_eq!(order[2], close);
        for one in &harness.delivered[..2] {
            // The peer's kernel may just have taken some more.
            let sent = matches!(one.result, Ok(Outcome::Sent { .. }));
            assert!(is_cancelled(one) || sent, "{one:?}");
        }
        harness.delivered.clear();
        harness.finish();
        drop(theirs);
    }
}

#[test]
fn a_waker_ends_the_wait_from_another_thread_each_time() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        for _ in 0..100 {
            let waker = harness.port.waker();
            let waking = thread::spawn(move || waker.wake());
            let started = Instant::now();
            harness
                .port
                .wait(Some(PATIENCE), &mut harness.delivered)
                .expect("a wait");
            assert!(started.elapsed() < PATIENCE, "the waker was not heard");
            waking.join().expect("the waker does not panic");
        }
        // No wake-up is left: the next wait lasts its full time.
        let started = Instant::now();
        let brief = Duration::from_millis(20);
        harness
            .port
            .wait(Some(brief), &mut harness.delivered)
            .expect("a wait");
        assert!(started.elapsed() >= brief);
        harness.finish();
    }
}

#[test]
fn dropping_the_port_awaits_what_is_under_way() {
    let (ours, mut theirs) = pair();
    let mut harness = Harness::new();
    let ours = harness.adopt(ours);
    harness.submit(ours, Request::Receive);
    harness.submit(ours, Request::Send(vec![1; 64 << 20].into()));
    harness
        .port
        .wait(Some(Duration::ZERO), &mut harness.delivered)
        .expect("a wait");
    drop(harness);
    let mut received = Vec::new();
    // The kernel sends the bytes that it took; then the connection ends, because nobody holds it
    // any more.
    let end = theirs.read_to_end(&mut received);
    assert!(end.is_ok(), "{end:?}");
    assert!(received.len() < 64 << 20);
}

#[test]
fn a_completion_for_a_dead_operation_is_counted_and_dropped() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    let receive = harness.submit(ours, Request::Receive);
    assert!(harness.port.cancel(receive));
    assert!(is_cancelled(&harness.last(receive)));
    let late = io_uring::opcode::Nop::new()
        .build()
        .user_data(receive.0.to_u64());
    // SAFETY: a NOP has no addresses.
    unsafe { harness.port.ring_mut().push(late) };
    let again = harness.submit(ours, Request::Receive);
    theirs.write_all(b"alive").expect("we receive");
    assert_eq!(&*harness.receive(again), b"alive");
    assert_eq!(harness.port.stale(), 1);
    assert_eq!(receive.0.index, again.0.index, "the slot is reused");
}
