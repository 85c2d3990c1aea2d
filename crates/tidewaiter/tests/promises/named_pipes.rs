//! Named pipes: the requests that they take, connections on their way between ports, and what cancelling leaves.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::PipeName;
use tidewaiter::port::{
    Chunks, CloseMode, Handle, ListenOptions, Operation, Outcome, PipeConnectOptions, PipeMode,
    PortOptions, Request, Socket, Token,
};

use crate::support::harness::Harness;

/// A name that no other test has.
pub(super) fn name() -> PipeName {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    PipeName::local(format!("promises-{}-{number}", std::process::id())).expect("a good name")
}

pub(super) fn listen(harness: &mut Harness, options: impl Into<ListenOptions>) -> Handle {
    let listener = harness.port.listen(&options.into()).expect("a free name");
    harness.track(listener);
    listener
}

fn open(harness: &mut Harness, name: &PipeName, mode: PipeMode) -> Handle {
    let mut options = PipeConnectOptions::default();
    options.mode = mode;
    let client = (harness.port.open_pipe(name, &options)).expect("it is not opened yet");
    harness.track(client);
    client
}

fn connect(harness: &mut Harness, name: &PipeName, mode: PipeMode) -> (Handle, Operation) {
    let client = open(harness, name, mode);
    let request = Request::connect(name.clone());
    (client, harness.submit(client, request))
}

fn accept(harness: &mut Harness, listener: Handle) -> Socket {
    let accepting = harness.submit(listener, Request::AcceptOne);
    match harness.last(accepting) {
        Ok(Outcome::Accepted { socket, .. }) => socket,
        other => panic!("a client should have come: {other:?}"),
    }
}

/// A connection: the client's end and the server's.
fn pair(harness: &mut Harness, mode: PipeMode) -> (Handle, Handle) {
    if mode.has_messages() {
        harness.receive_bytes = 0..=usize::MAX;
    }
    let name = name();
    let mut options = ListenOptions::new(name.clone());
    options.pipe.mode = mode;
    let listener = listen(harness, options);
    let (client, connecting) = connect(harness, &name, mode);
    let socket = accept(harness, listener);
    let server = harness.adopt(socket);
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    (client, server)
}

#[track_caller]
pub(super) fn received(harness: &mut Harness, receiving: Operation) -> Vec<u8> {
    match harness.next(receiving).result {
        Ok(Outcome::Received(bytes)) => bytes.to_vec(),
        other => panic!("something should have arrived: {other:?}"),
    }
}

#[test]
fn a_pipe_that_is_not_open_takes_a_connect_alone() {
    let mut harness = Harness::new();
    let client = open(&mut harness, &name(), PipeMode::Bytes);
    for request in [
        Request::Receive,
        Request::Send(Chunks::from(&b"no"[..])),
        Request::HangUp,
        Request::Accept,
    ] {
        let kind = request.kind();
        let refused = harness.port.submit(client, request, Token(0));
        let error = refused.expect_err("it is not open");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = format!("a named pipe that is not open yet takes no {kind:?}");
        assert_eq!(error.to_string(), message);
    }
    harness.finish();
}

#[test]
fn a_handle_connects_to_addresses_of_its_kind() {
    let mut harness = Harness::new();
    let name = name();
    let pipe = open(&mut harness, &name, PipeMode::Bytes);
    let connecting = harness.submit(pipe, Request::connect(Harness::deserted_address()));
    assert_eq!(harness.refusal(connecting).kind(), ErrorKind::InvalidInput);
    let socket = harness.open_stream(Harness::deserted_address());
    let connecting = harness.submit(socket, Request::connect(name));
    assert_eq!(harness.refusal(connecting).kind(), ErrorKind::InvalidInput);
    harness.finish();
}

#[test]
fn both_ends_know_the_name_and_neither_half_closes() {
    let mut harness = Harness::new();
    for mode in [PipeMode::Bytes, PipeMode::MESSAGES] {
        let (client, server) = pair(&mut harness, mode);
        let address = harness.port.local_addr(server).expect("it is connected");
        for handle in [client, server] {
            assert_eq!(
                harness.port.local_addr(handle).ok().as_ref(),
                Some(&address)
            );
            assert_eq!(harness.port.peer_addr(handle).ok().as_ref(), Some(&address));
            let refused = harness.port.shutdown_write(handle);
            assert!(refused.is_err(), "pipes have no half-close");
        }
    }
    harness.finish();
}

/// Goal: of several pieces, one is sent, as a message of its own; the others come back.
#[test]
fn each_piece_of_a_send_is_a_message() {
    let mut harness = Harness::new();
    let (client, server) = pair(&mut harness, PipeMode::MESSAGES);
    let mut pieces = Chunks::new();
    let large = vec![7; 300_000];
    for piece in [&b"one"[..], b"two", &large] {
        pieces.push(Bytes::copy_from_slice(piece));
    }
    let receiving = harness.receive(server);
    while !pieces.is_empty() {
        let expected = pieces.slices().next().expect("it is not empty").to_vec();
        let sending = harness.send(client, pieces);
        let message = received(&mut harness, receiving);
        assert!(message == expected, "{} bytes", message.len());
        let sent = harness.next(sending);
        assert!(matches!(sent.result, Ok(Outcome::Sent { bytes }) if bytes == expected.len()));
        pieces = sent.unsent;
    }
    harness.finish();
}

/// Goal: a connection that no port has adopted moves to a port of another thread.
#[test]
fn a_connection_goes_to_a_port_of_another_thread() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let (client, connecting) = connect(&mut harness, &name, PipeMode::Bytes);
    let socket = accept(&mut harness, listener);
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    if crate::SIMULATED {
        // Only ports of the same world adopt it, and each harness has one of its own.
        let mut other = Harness::new();
        let refused = other.port.adopt(socket).expect_err("of another world");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        other.finish();
        return harness.finish();
    }
    assert_eq!(socket.local_addr().expect("it has a name"), name.into());
    let other = thread::spawn(move || {
        let mut harness = Harness::with(&PortOptions::default());
        let server = harness.adopt(socket);
        let receiving = harness.receive(server);
        let question = received(&mut harness, receiving);
        let sending = harness.send(server, question);
        assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
        harness.finish();
    });
    let sending = harness.send(client, &b"hello"[..]);
    assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    let receiving = harness.receive(client);
    assert_eq!(received(&mut harness, receiving), b"hello");
    other.join().expect("the other port is content");
    harness.finish();
}

#[test]
fn a_connection_that_nobody_adopts_ends() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let (client, connecting) = connect(&mut harness, &name, PipeMode::Bytes);
    drop(accept(&mut harness, listener));
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    let receiving = harness.receive(client);
    assert!(matches!(harness.last(receiving), Ok(Outcome::EndOfFile)));
    let sending = harness.send(client, &b"hello"[..]);
    assert_eq!(harness.refusal(sending).kind(), ErrorKind::BrokenPipe);
    harness.finish();
}

/// Goal: cancelling an accept loses no client: the next one gets it.
#[test]
fn a_client_of_a_cancelled_accept_is_accepted_later() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let accepting = harness.submit(listener, Request::Accept);
        clients.push(connect(&mut harness, &name, PipeMode::Bytes));
        harness.port.cancel(accepting);
        while harness.is_live(accepting) {
            harness.turn(Some(Duration::from_secs(1)));
        }
        let early = std::iter::from_fn(|| harness.arrived(accepting))
            .filter(|completion| completion.more)
            .count();
        if early > 0 {
            clients.pop();
        }
    }
    for (_, connecting) in clients {
        drop(accept(&mut harness, listener));
        assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    }
    harness.finish();
}

/// Goal: a receive that is cancelled in the middle of a message leaves the rest of it for the next one.
#[test]
fn a_cancelled_receive_cuts_no_message() {
    let mut harness = Harness::new();
    let (client, server) = pair(&mut harness, PipeMode::MESSAGES);
    let message: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    for _ in 0..5 {
        let sending = harness.send(client, message.clone());
        let mut first = harness.receive(server);
        for _ in 0..3 {
            harness.port.cancel(first);
            while harness.is_live(first) {
                harness.turn(Some(Duration::from_secs(1)));
            }
            if let Some(completion) = harness.arrived(first)
                && completion.result.is_ok()
            {
                break;
            }
            first = harness.receive(server);
        }
        if harness.is_live(first) {
            assert!(received(&mut harness, first) == message);
            harness.port.cancel(first);
            let _ = harness.last(first);
        }
        assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    }
    harness.finish();
}

/// Goal: a port that is dropped with everything under way gives all back, and the name is free.
#[test]
fn a_dropped_port_leaves_nothing_behind() {
    let mut harness = Harness::new();
    let name = name();
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(1);
    let listener = listen(&mut harness, options.clone());
    harness.submit(listener, Request::Accept);
    for _ in 0..3 {
        connect(&mut harness, &name, PipeMode::Bytes);
    }
    harness.turn(Some(Duration::from_millis(20)));
    harness.drop_port();
    let mut next = Harness::new();
    listen(&mut next, options);
    next.finish();
}

#[test]
fn closing_with_everything_under_way_delivers_every_completion() {
    let mut harness = Harness::new();
    let name = name();
    let mut options = ListenOptions::new(name.clone());
    options.pipe.connections_max = Some(1);
    let listener = listen(&mut harness, options);
    let accepting = harness.submit(listener, Request::Accept);
    let connecting: Vec<(Handle, Operation)> = (0..3)
        .map(|_| connect(&mut harness, &name, PipeMode::Bytes))
        .collect();
    harness.turn(Some(Duration::from_millis(20)));
    for (client, _) in connecting {
        harness.close(client, CloseMode::Reset);
    }
    harness.close_now(listener);
    assert!(!harness.is_live(accepting));
    harness.finish();
}
