//! Addresses, connections, and how they end.

use std::io::ErrorKind;
use std::time::Duration;

use super::{Bench, error_kind};
use crate::os::Address;
use crate::port::sim::{Faults, Sim};
use crate::port::{
    Chunks, CloseMode, Failure, ListenOptions, Outcome, Request, RequestKind, Token,
};

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

#[test]
fn bytes_flow_both_ways_and_each_way_ends_by_itself() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = bench.pair();
    assert_eq!(
        bench.port.peer_addr(client).ok(),
        bench.port.local_addr(server).ok()
    );
    bench.send(client, b"question");
    bench.port.shutdown_write(client).expect("it is connected");
    let question = bench.receive_all(server).expect("it ends");
    assert_eq!(question, b"question");
    bench.send(server, b"answer");
    bench.port.shutdown_write(server).expect("it is connected");
    let answer = bench.receive_all(client).expect("it ends");
    assert_eq!(answer, b"answer");
    bench.send(server, b"too late");
    assert!(matches!(
        bench.next(RequestKind::Send),
        Ok(Outcome::Sent { bytes: 8, .. })
    ));
    assert!(matches!(
        bench.next(RequestKind::Send),
        Ok(Outcome::Sent { bytes: 6, .. })
    ));
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::BrokenPipe
    );
}

#[test]
fn a_full_connection_takes_no_more_until_it_is_read() {
    let faults = Faults {
        capacity: 10,
        ..Faults::default()
    };
    let mut bench = Bench::new(Sim::builder(1).faults(faults).receive_bytes(4).build());
    let (client, server) = bench.pair();
    bench.send(client, b"0123456789abc");
    let (bytes, unsent) = bench.sent();
    assert_eq!((bytes, unsent.len()), (10, 3));
    bench.submit(client, Request::Send(unsent));
    let stuck = bench.port.wait(None, &mut Vec::new());
    assert_eq!(stuck.expect_err("nobody reads").kind(), ErrorKind::Deadlock);
    bench.submit(server, Request::Receive);
    let received = bench.next(RequestKind::Receive);
    assert!(matches!(received, Ok(Outcome::Received(bytes)) if &*bytes == b"0123"));
    let (bytes, unsent) = bench.sent();
    assert_eq!((bytes, unsent.len()), (3, 0));
}

#[test]
fn a_close_is_an_end_of_file_and_a_reset_is_an_error() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = bench.pair();
    let closed = bench.port.close(client, CloseMode::Graceful, Token(9));
    closed.expect("it is open");
    assert_eq!(bench.receive_all(server).expect("an end of file"), b"");
    assert!(matches!(
        bench.next(RequestKind::Close),
        Ok(Outcome::Closed)
    ));

    let (client, server) = bench.pair();
    bench.send(client, b"lost");
    let closed = bench.port.close(client, CloseMode::Reset, Token(9));
    closed.expect("it is open");
    let _ = bench.next(RequestKind::Close);
    let result = bench.receive_all(server).map(|_| Outcome::EndOfFile);
    assert_eq!(error_kind(result), ErrorKind::ConnectionReset);
}

#[test]
fn closing_with_bytes_unread_and_writing_to_the_closed_both_reset() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = bench.pair();
    bench.send(client, b"unread");
    let _ = bench.next(RequestKind::Send);
    bench
        .port
        .close(server, CloseMode::Graceful, Token(9))
        .expect("it is open");
    let _ = bench.next(RequestKind::Close);
    let result = bench.receive_all(client).map(|_| Outcome::EndOfFile);
    assert_eq!(error_kind(result), ErrorKind::ConnectionReset);

    let (client, server) = bench.pair();
    bench
        .port
        .close(server, CloseMode::Graceful, Token(9))
        .expect("it is open");
    let _ = bench.next(RequestKind::Close);
    bench.send(client, b"into the void");
    assert!(
        bench.next(RequestKind::Send).is_ok(),
        "only the next one knows"
    );
    bench.send(client, b"again");
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn an_unadopted_socket_closes_when_it_is_dropped_and_a_foreign_one_is_refused() {
    let mut bench = Bench::new(Sim::new(1));
    let (listener, address) = bench.listen();
    bench.submit(listener, Request::Accept);
    let client = bench.connect(address);
    drop(bench.next(RequestKind::Accept));
    assert_eq!(bench.receive_all(client).expect("an end of file"), b"");

    bench.connect(address);
    let Ok(Outcome::Accepted { socket, .. }) = bench.next(RequestKind::Accept) else {
        panic!("the operation goes on");
    };
    let refused = Sim::new(2).port().adopt(socket).expect_err("another world");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn addresses_are_used_once_unless_they_are_shared() {
    let mut bench = Bench::new(Sim::new(1));
    let listen = |bench: &mut Bench, options: &ListenOptions| bench.port.listen(options);
    let taken = |result: std::io::Result<_>| result.expect_err("taken").kind();
    let one = ListenOptions::new(address("127.0.0.1:80"));
    listen(&mut bench, &one).expect("free");
    assert_eq!(taken(listen(&mut bench, &one)), ErrorKind::AddrInUse);
    let any = ListenOptions::new(address("0.0.0.0:80"));
    assert_eq!(taken(listen(&mut bench, &any)), ErrorKind::AddrInUse);
    listen(&mut bench, &ListenOptions::new(address("[::]:80"))).expect("another family");
    let mut both = ListenOptions::new(address("[::]:80"));
    both.only_v6 = false;
    assert_eq!(taken(listen(&mut bench, &both)), ErrorKind::AddrInUse);
    let mut shared = ListenOptions::new(address("127.0.0.1:81"));
    shared.reuse_port = true;
    listen(&mut bench, &shared).expect("free");
    listen(&mut bench, &shared).expect("shared");
    let bound = bench
        .port
        .open_stream(&address("127.0.0.1:9"), Some(&address("127.0.0.1:80")));
    assert_eq!(bound.expect_err("taken").kind(), ErrorKind::AddrInUse);
    let elsewhere = ListenOptions::new(address("192.0.2.1:80"));
    let error = listen(&mut bench, &elsewhere).expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn a_local_address_is_free_again_after_its_connection() {
    let mut bench = Bench::new(Sim::new(1));
    let local = address("127.0.0.1:5000");
    for _ in 0..2 {
        let client = bench
            .port
            .open_stream(&address("127.0.0.1:9"), Some(&local));
        let client = client.expect("free");
        bench.submit(client, Request::connect(address("127.0.0.1:9")));
        let result = bench.next(RequestKind::Connect);
        assert_eq!(error_kind(result), ErrorKind::ConnectionRefused);
        bench
            .port
            .close(client, CloseMode::Graceful, Token(0))
            .expect("it is open");
        assert!(matches!(
            bench.next(RequestKind::Close),
            Ok(Outcome::Closed)
        ));
    }
    assert_eq!(bench.port.open_handles(), 0);
}

#[test]
fn nobody_answers_from_a_documentation_address_and_cancelling_ends_that() {
    let mut bench = Bench::new(Sim::new(1));
    let peer = address("192.0.2.1:80");
    let client = bench.port.open_stream(&peer, None).expect("a free port");
    let operation = bench.port.submit(client, Request::connect(peer), Token(0));
    let mut batch = Vec::new();
    let minute = Some(Duration::from_secs(60));
    bench.port.wait(minute, &mut batch).expect("it times out");
    assert!(batch.is_empty());
    assert!(bench.port.cancel(operation.expect("it is open")));
    let result = bench.next(RequestKind::Connect);
    assert!(matches!(result, Err(Failure::Cancelled)));
}

#[test]
fn a_full_backlog_lets_connects_wait() {
    let mut bench = Bench::new(Sim::new(1));
    let mut options = ListenOptions::new(address("127.0.0.1:0"));
    options.backlog = 1;
    let listener = bench.port.listen(&options).expect("a free port");
    let address = bench.port.local_addr(listener).expect("it is open");
    bench.connect(address.clone());
    bench.connect(address);
    assert!(bench.next(RequestKind::Connect).is_ok());
    let mut batch = Vec::new();
    let second = bench.port.wait(Some(Duration::from_secs(1)), &mut batch);
    second.expect("it times out");
    assert!(batch.is_empty());
    bench.submit(listener, Request::Accept);
    assert!(bench.next(RequestKind::Connect).is_ok());
}

#[test]
fn a_connection_that_died_before_it_was_accepted_is_passed_over() {
    let mut bench = Bench::new(Sim::new(1));
    let (listener, address) = bench.listen();
    bench.connect(address);
    assert_eq!(bench.sim.reset(address), 1);
    let live = bench.connect(address);
    bench.submit(listener, Request::Accept);
    let Ok(Outcome::Accepted { peer, .. }) = bench.next(RequestKind::Accept) else {
        panic!("the second one lives");
    };
    assert_eq!(Some(peer), bench.port.local_addr(live).ok());
}

#[test]
fn closing_a_listener_resets_whom_nobody_accepted() {
    let mut bench = Bench::new(Sim::new(1));
    let (listener, address) = bench.listen();
    let client = bench.connect(address);
    bench
        .port
        .close(listener, CloseMode::Graceful, Token(0))
        .expect("it is open");
    let _ = bench.next(RequestKind::Close);
    let result = bench.receive_all(client).map(|_| Outcome::EndOfFile);
    assert_eq!(error_kind(result), ErrorKind::ConnectionReset);
    bench.connect(address);
    let _ = bench.next(RequestKind::Connect);
    let result = bench.next(RequestKind::Connect);
    assert_eq!(error_kind(result), ErrorKind::ConnectionRefused);
}

#[test]
fn what_no_operation_can_be_is_refused_at_once() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = bench.pair();
    let refuse = |bench: &mut Bench, handle, request| {
        let submitted = bench.port.submit(handle, request, Token(0));
        submitted.expect_err("it is refused").kind()
    };
    let nothing = Request::Send(Chunks::new());
    assert_eq!(refuse(&mut bench, client, nothing), ErrorKind::InvalidInput);
    assert_eq!(
        refuse(&mut bench, client, Request::Accept),
        ErrorKind::InvalidInput
    );
    bench.submit(client, Request::Receive);
    assert_eq!(
        refuse(&mut bench, client, Request::Receive),
        ErrorKind::InvalidInput
    );
    bench
        .port
        .close(server, CloseMode::Graceful, Token(0))
        .expect("it is open");
    assert_eq!(
        refuse(&mut bench, server, Request::Receive),
        ErrorKind::NotFound
    );
    let again = bench.port.close(server, CloseMode::Graceful, Token(0));
    assert_eq!(
        again.expect_err("it is closing").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn buffers_outlive_their_port_and_a_dropped_port_closes_what_it_had() {
    let sim = Sim::new(1);
    let mut bench = Bench::new(sim.clone());
    let mut other = Bench::new(sim);
    let (listener, address) = bench.listen();
    bench.submit(listener, Request::Accept);
    let client = other.connect(address);
    let Ok(Outcome::Accepted { socket, .. }) = bench.next(RequestKind::Accept) else {
        panic!("somebody connects");
    };
    let connected = other.next(RequestKind::Connect);
    assert!(matches!(connected, Ok(Outcome::Connected)));
    let server = bench.port.adopt(socket).expect("of the same world");
    bench.submit(server, Request::Receive);
    other.send(client, b"kept");
    let Ok(Outcome::Received(buffer)) = bench.next(RequestKind::Receive) else {
        panic!("four bytes arrive");
    };
    bench.send(server, b"farewell");
    drop(bench);
    assert_eq!(&*buffer, b"kept");
    assert_eq!(
        other.receive_all(client).expect("an end of file"),
        b"farewell"
    );
}
