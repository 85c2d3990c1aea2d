//! Promise 4: a handle or operation is never valid twice.

use std::collections::HashSet;
use std::io;

use tidewaiter::port::{CloseMode, Handle, ListenOptions, Port, Request, SocketOption, Token};
use tidewaiter::process::{Signal, SignalTarget};

use crate::MANY;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::receive_exactly;
use crate::support::roles::Role;

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(what: &str, result: io::Result<T>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{what}: {error}");
}

/// Checks that every call on a closed handle is refused.
fn assert_dead(port: &mut Port, handle: Handle) {
    let address = ([127, 0, 0, 1], 9);
    let requests = [
        Request::Accept,
        Request::connect(address),
        Request::Receive,
        Request::Send(b"x".as_slice().into()),
        Request::Exit,
    ];
    for request in requests {
        let kind = format!("{:?}", request.kind());
        assert_not_found(&kind, port.submit(handle, request, Token(1)));
    }
    assert_not_found("close", port.close(handle, CloseMode::Graceful, Token(1)));
    assert_not_found("local_addr", port.local_addr(handle));
    assert_not_found("peer_addr", port.peer_addr(handle));
    let option = SocketOption::NoDelay(true);
    assert_not_found("set_option", port.set_option(handle, option));
    assert_not_found("shutdown_write", port.shutdown_write(handle));
    let signalled = port.signal(handle, Signal::Kill, SignalTarget::Process);
    assert_not_found("signal", signalled);
}

#[test]
fn a_closed_handle_is_not_found_by_any_method() {
    let mut harness = Harness::new();
    let (listener, _) = harness.listen();
    let (client, server) = harness.pair();
    let child = Child::start(&mut harness, Role::Exit(0));
    child.status(&mut harness);
    let handles = [
        listener,
        client,
        server,
        child.process,
        child.stdin,
        child.stdout,
    ];
    for handle in handles {
        harness.close_now(handle);
    }
    for handle in handles {
        assert_dead(&mut harness.port, handle);
    }
    harness.finish();
}

#[test]
fn a_handle_being_closed_is_not_found_either() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.receive(client);
    harness.close(client, CloseMode::Graceful);
    assert_dead(&mut harness.port, client);
    harness.close(server, CloseMode::Reset);
    assert_dead(&mut harness.port, server);
    harness.finish();
}

#[test]
fn handles_are_never_given_out_twice() {
    let mut harness = Harness::new();
    let address = ([127, 0, 0, 1], 0);
    let mut seen = HashSet::new();
    for _ in 0..5000 {
        let listener = harness
            .port
            .listen(&ListenOptions::new(address))
            .expect("the port listens");
        assert!(seen.insert(listener), "{listener:?} was given out before");
        harness.track(listener);
        harness.close_now(listener);
    }
    harness.finish();
}

/// Goal: completions still on their way when a handle is closed never reach the next handle with the same
/// number.
/// Method: close while bytes arrive, open the next pair at once, and check what it receives.
#[test]
fn late_completions_never_reach_the_next_owner_of_a_number() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    for round in 0..MANY {
        let (client, _) = harness.connect(address);
        let (socket, _) = harness.accepted(accepting);
        let server = harness.adopt(socket);
        let fresh = u8::try_from(round % 250).expect("small");
        harness.send_all(client, &[fresh]);
        assert_eq!(receive_exactly(&mut harness, server, 1), [fresh]);
        harness.receive(server);
        harness.send(client, [255; 50].as_slice());
        harness.close(server, CloseMode::Reset);
        harness.close(client, CloseMode::Reset);
    }
    harness.finish();
}

#[test]
fn an_operation_that_ended_cannot_cancel_a_later_one() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let mut ended = Vec::new();
    for _ in 0..1000 {
        let receiving = harness.receive(server);
        harness.port.cancel(receiving);
        harness.assert_cancelled(receiving);
        ended.push(receiving);
    }
    let receiving = harness.receive(server);
    for operation in ended {
        assert!(!harness.port.cancel(operation));
    }
    harness.send_all(client, b"still there");
    let completion = harness.next(receiving);
    assert!(
        completion.more && completion.result.is_ok(),
        "{completion:?}"
    );
    harness.finish();
}
