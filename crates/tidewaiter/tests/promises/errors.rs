//! Promise 8: an error of the OS keeps its error code.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tidewaiter::port::{
    Chunks, CloseMode, Failure, Handle, ListenOptions, Outcome, Request, Token,
};

use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::{Reader, receive_exactly};
use crate::support::roles::Role;

/// An address reserved for documentation: no machine has it.
const NOT_OURS: &str = "192.0.2.1:0";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn a_reset_while_receiving_is_not_an_end_of_file() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let receiving = harness.receive(client);
    harness.close(server, CloseMode::Reset);
    let error = harness.refusal(receiving);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    assert!(
        error.raw_os_error().is_some() || crate::SIMULATED,
        "the OS's own code is kept"
    );
    harness.finish();
}

#[test]
fn an_end_of_file_is_not_an_error() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let reader = Reader::new(&mut harness, client);
    harness.close(server, CloseMode::Graceful);
    let (bytes, end) = reader.read_to_end(&mut harness);
    assert!(bytes.is_empty() && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn a_reset_while_sending_is_a_reset() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let (stuck, _) = harness.send_until_stuck(client, &Bytes::from(vec![1; 1 << 20]));
    harness.close(server, CloseMode::Reset);
    let error = harness.refusal(stuck);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    harness.finish();
}

#[test]
fn a_refused_connect_is_refused() {
    let mut harness = Harness::new();
    let deserted = Harness::deserted_address();
    for _ in 0..5 {
        let (client, connecting) = harness.connect(deserted);
        let error = harness.refusal(connecting);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        harness.close_now(client);
    }
    harness.finish();
}

#[test]
fn listening_on_an_address_in_use_is_refused() {
    let mut harness = Harness::new();
    let (_, taken) = harness.listen();
    let error = harness
        .port
        .listen(&ListenOptions::new(taken))
        .expect_err("the address is in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    harness.finish();
}

#[test]
fn an_address_that_is_not_ours_is_not_available() {
    let mut harness = Harness::new();
    let error = harness
        .port
        .listen(&ListenOptions::new(address(NOT_OURS)))
        .expect_err("no machine has the address");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{error}");
    let (_, peer) = harness.listen();
    let error = harness
        .port
        .open_stream(&peer.into(), Some(&address(NOT_OURS).into()))
        .expect_err("no machine has the address");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{error}");
    harness.finish();
}

#[test]
fn sending_works_after_the_end_of_file() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.send_all(client, b"a question");
    harness
        .port
        .shutdown_write(client)
        .expect("it is connected");
    let reader = Reader::new(&mut harness, server);
    let (question, end) = reader.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(question, b"a question");
    harness.send_all(server, b"an answer");
    harness
        .port
        .shutdown_write(server)
        .expect("it is connected");
    let reader = Reader::new(&mut harness, client);
    let (answer, end) = reader.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(answer, b"an answer");
    harness.finish();
}

#[test]
fn sending_after_shutting_down_the_sending_side_fails() {
    let mut harness = Harness::new();
    let (client, _server) = harness.pair();
    harness
        .port
        .shutdown_write(client)
        .expect("it is connected");
    let sending = harness.send(client, b"more".as_slice());
    harness.refusal(sending);
    harness.finish();
}

#[test]
fn bytes_before_the_end_of_file_come_first() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.send_all(client, &[5; 20_000]);
    harness.close_now(client);
    let reader = Reader::new(&mut harness, server);
    let (bytes, end) = reader.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(bytes, [5; 20_000]);
    harness.finish();
}

#[test]
fn writing_to_a_pipe_without_a_reader_is_a_broken_pipe() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Exit(0));
    child.status(&mut harness);
    // The child of another test may have a copy of the reader, until its program starts.
    let error = harness.soon(|harness| {
        let sending = harness.send(child.stdin, b"anybody?".as_slice());
        match harness.last(sending) {
            Err(Failure::Os { source, .. }) => Ok(source),
            other => Err(io::Error::other(format!("somebody reads: {other:?}"))),
        }
    });
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
    harness.finish();
}

#[test]
fn a_socket_that_is_not_connected_says_so() {
    let mut harness = Harness::new();
    let (_, peer) = harness.listen();
    let client = harness.open_stream(peer);
    let error = harness
        .port
        .shutdown_write(client)
        .expect_err("it is not connected");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
    let error = harness.port.peer_addr(client).expect_err("it has no peer");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
    let receiving = harness.receive(client);
    harness.refusal(receiving);
    let sending = harness.send(client, b"x".as_slice());
    harness.refusal(sending);
    harness.finish();
}

#[track_caller]
fn assert_invalid(harness: &mut Harness, handle: Handle, request: Request) {
    let kind = request.kind();
    let under_way = harness.port.in_flight();
    let error = harness
        .port
        .submit(handle, request, Token(0))
        .expect_err("it makes no sense");
    assert_eq!(
        error.kind(),
        io::ErrorKind::InvalidInput,
        "{kind:?}: {error}"
    );
    assert_eq!(harness.port.in_flight(), under_way, "nothing was started");
}

#[test]
fn sending_nothing_is_refused() {
    let mut harness = Harness::new();
    let (client, _server) = harness.pair();
    assert_invalid(&mut harness, client, Request::Send(Chunks::new()));
    harness.finish();
}

#[test]
fn a_second_receive_or_send_is_refused_and_disturbs_nothing() {
    let mut harness = Harness::new();
    let (_peer, server) = harness.pair();
    let receiving = harness.receive(server);
    assert_invalid(&mut harness, server, Request::Receive);
    let (client, _silent) = harness.pair();
    let (stuck, _) = harness.send_until_stuck(client, &Bytes::from(vec![1; 1 << 20]));
    assert_invalid(&mut harness, client, Request::Send(b"x".as_slice().into()));
    assert!(harness.is_live(stuck));
    harness.port.cancel(receiving);
    harness.assert_cancelled(receiving);
    let receiving = harness.receive(server);
    harness.port.cancel(receiving);
    assert_invalid(&mut harness, server, Request::Receive);
    harness.finish();
}

#[test]
fn requests_that_a_kind_of_handle_does_not_take_are_refused() {
    let mut harness = Harness::new();
    let (listener, peer) = harness.listen();
    let (client, _server) = harness.pair();
    let child = Child::start(&mut harness, Role::Exit(0));
    let data = || Chunks::from(b"x".as_slice());
    for request in [
        Request::Receive,
        Request::Send(data()),
        Request::connect(peer),
        Request::Exit,
    ] {
        assert_invalid(&mut harness, listener, request);
    }
    for request in [Request::Accept, Request::Exit] {
        assert_invalid(&mut harness, client, request);
    }
    for request in [
        Request::Accept,
        Request::Receive,
        Request::connect(peer),
        Request::Exit,
    ] {
        assert_invalid(&mut harness, child.stdin, request);
    }
    for request in [
        Request::Accept,
        Request::Send(data()),
        Request::connect(peer),
        Request::Exit,
    ] {
        assert_invalid(&mut harness, child.stdout, request);
    }
    for request in [Request::Accept, Request::Receive, Request::Send(data())] {
        assert_invalid(&mut harness, child.process, request);
    }
    for handle in [child.process, child.stdin] {
        let error = harness
            .port
            .local_addr(handle)
            .expect_err("it is no socket");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    harness.finish();
}

#[test]
fn a_failed_connect_leaves_a_handle_that_can_be_closed() {
    let mut harness = Harness::new();
    let deserted = Harness::deserted_address();
    let (client, connecting) = harness.connect(deserted);
    harness.refusal(connecting);
    assert_eq!(harness.port.open_handles(), 1);
    harness.close_now(client);
    assert_eq!(harness.port.open_handles(), 0);
    harness.finish();
}

#[test]
fn an_error_of_one_connection_does_not_affect_another() {
    let mut harness = Harness::new();
    let pairs = harness.pairs(10);
    let (broken, whole) = pairs.split_at(5);
    let readers: Vec<_> = pairs
        .iter()
        .map(|(_, server)| Reader::new(&mut harness, *server))
        .collect();
    for (client, _) in broken {
        harness.close(*client, CloseMode::Reset);
    }
    for (client, _) in whole {
        harness.send_all(*client, b"fine");
        harness.close(*client, CloseMode::Graceful);
    }
    for (number, reader) in readers.into_iter().enumerate() {
        let (bytes, end) = reader.read_to_end(&mut harness);
        if number < 5 {
            assert!(matches!(end, Err(Failure::Os { .. })), "{end:?}");
        } else {
            assert!(end.is_ok() && bytes == b"fine", "{end:?}");
        }
    }
    harness.finish();
}

#[test]
fn a_connection_works_after_an_operation_of_it_was_cancelled() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let receiving = harness.receive(server);
    harness.port.cancel(receiving);
    harness.assert_cancelled(receiving);
    let sending = harness.send(client, b"on we go".as_slice());
    assert!(matches!(
        harness.last(sending),
        Ok(Outcome::Sent { bytes: 8, .. })
    ));
    assert_eq!(receive_exactly(&mut harness, server, 8), b"on we go");
    harness.finish();
}
