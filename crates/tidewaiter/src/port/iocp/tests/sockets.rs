//! Connections: data, ends, errors, and series of accepts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;

use super::{close, connected, listen, only, port, receive, send, until};
use crate::port::iocp::Iocp;
use crate::port::iocp::traffic::IDLE_TURNS;
use crate::port::named_calls::NamedCalls;
use crate::port::{
    Chunks, CloseMode, Driver, Failure, Operation, Outcome, PortOptions, Request, RequestKind,
    Token,
};

#[test]
fn bytes_go_both_ways_and_an_end_is_an_end() {
    let mut port = port();
    let (handle, mut peer) = connected(&mut port);
    let operation = receive(&mut port, handle);
    peer.write_all(b"there").expect("connected");
    let mut received = Vec::new();
    until(&mut port, |_, completion| {
        let Ok(Outcome::Received(buffer)) = completion.result else {
            panic!("{completion:?}");
        };
        assert!(completion.more);
        received.extend_from_slice(&buffer);
        received.len() == 5
    });
    assert_eq!(received, b"there");
    let sending = send(&mut port, handle, b"back".as_slice().into());
    let sent = only(&mut port, sending);
    assert!(matches!(sent, Ok(Outcome::Sent { bytes: 4 })), "{sent:?}");
    let mut back = [0; 4];
    peer.read_exact(&mut back).expect("connected");
    assert_eq!(&back, b"back");
    drop(peer);
    assert!(matches!(only(&mut port, operation), Ok(Outcome::EndOfFile)));
    close(&mut port, handle);
    assert_eq!(
        (port.in_flight(), port.open_handles(), port.stale()),
        (0, 0, 0)
    );
}

/// Goal: operations that succeed at once post no packet, on accepted and on adopted connections.
#[test]
fn accepted_and_adopted_sockets_skip_the_queue_when_they_succeed_at_once() {
    let mut port = port();
    let (accepted, peer) = connected(&mut port);
    let adopted = port.adopt(peer.into()).expect("a fresh socket");
    for handle in [accepted, adopted] {
        assert_eq!(
            port.handles.get(handle.0).map(|entry| entry.skip),
            Some(port.functions.sockets.plain_handles)
        );
        let sending = send(&mut port, handle, b"at once".as_slice().into());
        assert_eq!(
            port.ready.len(),
            usize::from(port.functions.sockets.plain_handles)
        );
        assert!(matches!(
            only(&mut port, sending),
            Ok(Outcome::Sent { bytes: 7, .. })
        ));
    }
    assert_eq!(port.stale(), 0);
}

/// Goal: a busy receive gets memory in advance although there are few buffers, and loses nothing
/// when more bytes arrive than fit.
#[test]
fn a_busy_receive_has_memory_in_advance() {
    let options = PortOptions {
        receive_buffers: 1,
        ..PortOptions::default()
    };
    let mut port = Iocp::open(&options, "a test".to_owned()).expect("Windows has them");
    let (idle, _idle_peer) = connected(&mut port);
    let (busy, mut peer) = connected(&mut port);
    let idle = receive(&mut port, idle);
    let busy = receive(&mut port, busy);
    assert!(port.receive_memory.is_eager(idle.0) && !port.receive_memory.is_eager(busy.0));
    let exchanges = exchange_until(&mut port, busy, &mut peer, |port| {
        port.receive_memory.is_eager(busy.0)
    });
    assert!(exchanges > 1, "it has to be busy first");
    assert!(
        port.receive_memory.is_eager(idle.0),
        "there is room for both"
    );
    let whole: Vec<u8> = (0..100_000).map(byte_at).collect();
    peer.write_all(&whole).expect("the system has room for it");
    let mut received = Vec::new();
    until(&mut port, |_, completion| {
        let Ok(Outcome::Received(buffer)) = completion.result else {
            panic!("{completion:?}");
        };
        received.extend_from_slice(&buffer);
        received.len() == whole.len()
    });
    assert_eq!(received, whole);
}

/// Goal: an idle receive gives its memory to a busy one if there is no other, and still gets its
/// bytes.
#[test]
fn an_idle_receive_gives_its_memory_to_a_busy_one_and_misses_nothing() {
    let options = PortOptions {
        receive_buffers: 1,
        ..PortOptions::default()
    };
    let mut port = Iocp::open(&options, "a test".to_owned()).expect("Windows has them");
    port.receive_memory.eager_bytes_max = 1;
    let (idle, mut idle_peer) = connected(&mut port);
    let (busy, mut busy_peer) = connected(&mut port);
    let idle_receive = receive(&mut port, idle);
    let busy_receive = receive(&mut port, busy);
    for _ in 0..=IDLE_TURNS {
        let mut completions = Vec::new();
        port.wait(Some(Duration::ZERO), &mut completions)
            .expect("it waits");
        assert!(completions.is_empty(), "{completions:?}");
    }
    exchange_until(&mut port, busy_receive, &mut busy_peer, |port| {
        !port.receive_memory.is_eager(idle_receive.0)
    });
    exchange_until(&mut port, busy_receive, &mut busy_peer, |port| {
        port.receive_memory.is_eager(busy_receive.0)
    });
    idle_peer.write_all(b"idle").expect("connected");
    received_from(&mut port, idle_receive);
    busy_peer.write_all(b"busy").expect("connected");
    received_from(&mut port, busy_receive);
    for handle in [idle, busy] {
        let mut closed = false;
        port.close(handle, CloseMode::Graceful, Token(9))
            .expect("it is open");
        until(&mut port, |_, completion| {
            closed |= completion.kind == RequestKind::Close;
            closed
        });
    }
    assert_eq!((port.in_flight(), port.stale()), (0, 0));
}

/// Lets `peer` send and `operation` receive until `done`; returns the number of exchanges.
fn exchange_until(
    port: &mut Iocp,
    operation: Operation,
    peer: &mut TcpStream,
    mut done: impl FnMut(&Iocp) -> bool,
) -> u32 {
    let mut times = 0;
    while !done(port) {
        assert!(times < 20, "that is busy");
        times += 1;
        peer.write_all(b"busy").expect("connected");
        received_from(port, operation);
        // The receive continues in the next turn.
        let mut completions = Vec::new();
        port.wait(Some(Duration::ZERO), &mut completions)
            .expect("it waits");
        assert!(completions.is_empty(), "{completions:?}");
    }
    times
}

/// Waits for four bytes received by `operation`.
fn received_from(port: &mut Iocp, operation: Operation) {
    until(port, |_, completion| {
        assert_eq!(completion.operation, operation);
        assert!(matches!(&completion.result, Ok(Outcome::Received(bytes)) if bytes.len() == 4));
        true
    });
}

#[test]
fn a_reset_is_not_an_end() {
    let mut port = port();
    let (handle, peer) = connected(&mut port);
    let operation = receive(&mut port, handle);
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(peer);
    let Err(Failure::Os { source, .. }) = only(&mut port, operation) else {
        panic!("a reset is an error");
    };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(source.raw_os_error(), Some(10054));
}

#[test]
fn connecting_works_or_says_why_not() {
    let mut port = port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let handle = port.open_stream(&address.into(), None).expect("a socket");
    let operation = port
        .submit(handle, Request::connect(address), Token(0))
        .expect("a stream");
    let (mut peer, _) = listener.accept().expect("it connects");
    assert!(matches!(only(&mut port, operation), Ok(Outcome::Connected)));
    assert_eq!(
        port.peer_addr(handle).expect("it is connected"),
        address.into()
    );
    port.shutdown_write(handle).expect("it is connected");
    assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    drop(listener);
    let handle = port.open_stream(&address.into(), None).expect("a socket");
    let operation = port
        .submit(handle, Request::connect(address), Token(0))
        .expect("a stream");
    let Err(Failure::Os { call, source }) = only(&mut port, operation) else {
        panic!("nobody listens");
    };
    assert_eq!(
        (call, source.kind()),
        ("ConnectEx", io::ErrorKind::ConnectionRefused)
    );
}

/// A byte that depends on its position, so that a lost or moved piece shows.
fn byte_at(place: usize) -> u8 {
    u8::try_from(place % 251).expect("less than 251")
}

/// Goal: 64 MiB in pieces of all sizes arrive once and in order, however much Windows takes at a
/// time.
#[test]
fn large_vectored_sends_arrive_whole() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let mut port = port();
    let (handle, mut peer) = connected(&mut port);
    let reader = std::thread::spawn(move || {
        let (mut place, mut memory) = (0, vec![0; 256 * 1024]);
        loop {
            let count = peer.read(&mut memory).expect("an orderly end");
            if count == 0 {
                return place;
            }
            let right = memory[..count]
                .iter()
                .zip(place..)
                .all(|(&byte, at)| byte == byte_at(at));
            assert!(right, "wrong bytes after {place}");
            place += count;
        }
    });
    let whole = Bytes::from((0..TOTAL).map(byte_at).collect::<Vec<u8>>());
    let mut chunks = Chunks::new();
    let (mut at, mut size) = (0, 1);
    while at < TOTAL {
        let end = TOTAL.min(at + size);
        chunks.push(whole.slice(at..end));
        (at, size) = (end, size * 3 % 1_000_003);
    }
    send(&mut port, handle, chunks);
    until(&mut port, |port, completion| {
        let Ok(Outcome::Sent { bytes }) = completion.result else {
            panic!("{completion:?}");
        };
        assert!(bytes > 0 && !completion.more);
        if completion.unsent.is_empty() {
            return true;
        }
        send(port, handle, completion.unsent);
        false
    });
    port.shutdown_write(handle).expect("it is connected");
    assert_eq!(reader.join().expect("it saw the right bytes"), TOTAL);
}

#[test]
fn more_bytes_than_a_buffer_holds_arrive_in_order() {
    const TOTAL: usize = 1024 * 1024;
    let mut port = port();
    let (handle, mut peer) = connected(&mut port);
    receive(&mut port, handle);
    let writer = std::thread::spawn(move || {
        let whole: Vec<u8> = (0..TOTAL).map(byte_at).collect();
        peer.write_all(&whole).expect("somebody reads");
    });
    let mut place = 0;
    until(&mut port, |_, completion| match completion.result {
        Ok(Outcome::Received(buffer)) => {
            assert!(
                buffer
                    .iter()
                    .zip(place..)
                    .all(|(&byte, at)| byte == byte_at(at))
            );
            place += buffer.len();
            false
        }
        Ok(Outcome::EndOfFile) => true,
        other => panic!("{other:?}"),
    });
    assert_eq!(place, TOTAL);
    writer.join().expect("it wrote everything");
}

/// Goal: peers that reset before they are accepted, many more than there are posted accepts, do not
/// use the accepts up.
#[test]
fn accepting_outlives_peers_that_reset_at_once() {
    let mut port = port();
    let (listener, address) = listen(&mut port);
    let operation = port
        .submit(listener, Request::Accept, Token(7))
        .expect("it listens");
    let mut resets = Vec::new();
    for _ in 0..100 {
        let peer = socket2::Socket::from(TcpStream::connect(address).expect("it listens"));
        resets.push(
            peer.local_addr()
                .expect("bound")
                .as_socket()
                .expect("an address"),
        );
        peer.set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(peer);
    }
    let good = TcpStream::connect(address).expect("it listens");
    let good = good.local_addr().expect("it is bound");
    until(&mut port, |_, completion| {
        assert!(completion.more, "{completion:?}");
        assert_eq!(completion.operation, operation);
        let Ok(Outcome::Accepted { peer, .. }) = completion.result else {
            panic!("{completion:?}");
        };
        let peer = peer.socket_addr().expect("an IP address");
        assert!(peer == good || resets.contains(&peer));
        peer == good
    });
}

#[test]
fn a_listener_takes_its_address_alone() {
    let mut port = port();
    let (_, address) = listen(&mut port);
    let options = crate::port::ListenOptions::new(address);
    let error = port.listen(&options).expect_err("the port is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let mut options = crate::port::ListenOptions::new((Ipv4Addr::LOCALHOST, 0));
    options.reuse_port = true;
    let error = port
        .listen(&options)
        .expect_err("Windows cannot share ports");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(port.open_handles(), 1);
}

#[test]
fn requests_that_make_no_sense_are_refused_at_once() {
    let mut port = port();
    let (handle, _peer) = connected(&mut port);
    receive(&mut port, handle);
    for request in [
        Request::Receive,
        Request::Accept,
        Request::Exit,
        Request::Send(Chunks::new()),
    ] {
        let error = port.submit(handle, request, Token(0)).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let before = port.in_flight();
    close(&mut port, handle);
    assert_eq!((before, port.in_flight()), (1, 0));
    let error = port
        .submit(handle, Request::Receive, Token(0))
        .expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
