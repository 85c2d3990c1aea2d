//! UNIX sockets of the simulated world: their names, packets, and how their connections end.

use std::io::ErrorKind;

use super::{Bench, error_kind};
use crate::os::{Address, UnixAddress};
use crate::port::sim::{Call, Faults, Sim};
use crate::port::{
    CloseMode, DatagramOptions, Failure, Handle, ListenOptions, Outcome, Request, RequestKind,
    Token,
};

fn name(path: &str) -> UnixAddress {
    UnixAddress::from_pathname(path).expect("a short path")
}

fn listen(bench: &mut Bench, path: &str) -> Result<Handle, ErrorKind> {
    let listening = bench.port.listen(&ListenOptions::new(name(path)));
    listening.map_err(|error| error.kind())
}

fn close(bench: &mut Bench, handle: Handle) {
    let closing = bench.port.close(handle, CloseMode::Graceful, Token(0));
    closing.expect("it is open");
    assert!(matches!(
        bench.next(RequestKind::Close),
        Ok(Outcome::Closed)
    ));
}

/// A client's end and a server's end of a connection.
fn pair(bench: &mut Bench, packets: bool) -> (Handle, Handle) {
    let mut options = ListenOptions::new(name("/server"));
    options.sequenced_packets = packets;
    let listener = bench.port.listen(&options).expect("a free path");
    bench.submit(listener, Request::AcceptOne);
    let client = connect(bench, "/server", packets);
    let connected = bench.next(RequestKind::Connect);
    assert!(matches!(connected, Ok(Outcome::Connected)), "{connected:?}");
    let Ok(Outcome::Accepted { socket, peer }) = bench.next(RequestKind::Accept) else {
        panic!("it should be accepted");
    };
    assert_eq!(peer, UnixAddress::unnamed().into());
    let server = bench.port.adopt(socket).expect("of the same world");
    close(bench, listener);
    (client, server)
}

fn connect(bench: &mut Bench, path: &str, packets: bool) -> Handle {
    let peer = Address::from(name(path));
    let client = match packets {
        true => bench.port.open_packets(&peer, None),
        false => bench.port.open_stream(&peer, None),
    };
    let client = client.expect("a socket is to be had");
    bench.submit(client, Request::connect(peer));
    client
}

/// Goal: a name has one socket, of whatever kind, and is free again when that is closed.
#[test]
fn a_name_has_one_socket() {
    let mut bench = Bench::new(Sim::new(1));
    let first = listen(&mut bench, "/a").expect("a free path");
    assert_eq!(listen(&mut bench, "/a"), Err(ErrorKind::AddrInUse));
    let datagrams = DatagramOptions::bound(name("/a"));
    let refused = bench.port.open_datagrams(&datagrams).map_err(|e| e.kind());
    assert_eq!(refused, Err(ErrorKind::AddrInUse));
    let peer = Address::from(name("/a"));
    let refused = bench.port.open_stream(&peer, Some(&peer));
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(ErrorKind::AddrInUse)
    );
    close(&mut bench, first);

    let bound = bench.port.open_datagrams(&datagrams).expect("a free path");
    assert_eq!(listen(&mut bench, "/a"), Err(ErrorKind::AddrInUse));
    close(&mut bench, bound);
    let other = Address::from(name("/b"));
    let client = bench.port.open_stream(&other, Some(&peer));
    let client = client.expect("a free path");
    assert_eq!(bench.port.local_addr(client).ok(), Some(peer));
    assert_eq!(listen(&mut bench, "/a"), Err(ErrorKind::AddrInUse));
    close(&mut bench, client);
    listen(&mut bench, "/a").expect("a free path");
}

#[test]
fn files_of_the_disk_keep_their_paths() {
    let mut bench = Bench::new(Sim::new(1));
    bench.sim.write_file("a/b", "precious");
    for path in ["a/b", "a"] {
        assert_eq!(listen(&mut bench, path), Err(ErrorKind::AddrInUse));
        connect(&mut bench, path, false);
        assert_eq!(
            error_kind(bench.next(RequestKind::Connect)),
            ErrorKind::ConnectionRefused
        );
    }
    bench.sim.remove_file("a/b");
    listen(&mut bench, "a/b").expect("a free path");
}

#[test]
fn nobody_is_found_at_a_free_path_and_kinds_are_not_mixed() {
    let mut bench = Bench::new(Sim::new(1));
    connect(&mut bench, "/a", false);
    let error = error_kind(bench.next(RequestKind::Connect));
    assert_eq!(error, ErrorKind::NotFound);
    listen(&mut bench, "/a").expect("a free path");
    connect(&mut bench, "/a", true);
    let Err(Failure::Os { source, .. }) = bench.next(RequestKind::Connect) else {
        panic!("it should be refused");
    };
    assert!(source.to_string().contains("of another kind"), "{source}");
    let client = bench.port.open_stream(&name("/a").into(), None);
    let ip = Address::from(([127, 0, 0, 1], 80));
    bench.submit(client.expect("a socket"), Request::connect(ip));
    assert_eq!(
        error_kind(bench.next(RequestKind::Connect)),
        ErrorKind::InvalidInput
    );
}

/// Goal: a peer that leaves bytes unread does not take those away that it has sent.
#[test]
fn closing_with_bytes_unread_is_an_error_after_the_last_byte() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = pair(&mut bench, false);
    bench.send(client, b"unread");
    bench.send(server, b"last words");
    for _ in 0..2 {
        bench.sent();
    }
    close(&mut bench, server);
    bench.send(client, b"too late");
    let error = error_kind(bench.next(RequestKind::Send));
    assert_eq!(error, ErrorKind::BrokenPipe);
    bench.submit(client, Request::Receive);
    let last = bench.next(RequestKind::Receive);
    assert!(matches!(last, Ok(Outcome::Received(bytes)) if &*bytes == b"last words"));
    let error = error_kind(bench.next(RequestKind::Receive));
    assert_eq!(error, ErrorKind::ConnectionReset);
    assert_eq!(bench.receive_all(client).expect("then the end"), b"");
}

#[test]
fn a_listener_that_closes_resets_those_that_wait() {
    let mut bench = Bench::new(Sim::new(1));
    let listener = listen(&mut bench, "/a").expect("a free path");
    let client = connect(&mut bench, "/a", false);
    assert!(bench.next(RequestKind::Connect).is_ok());
    close(&mut bench, listener);
    let result = bench.receive_all(client).map(|_| Outcome::EndOfFile);
    assert_eq!(error_kind(result), ErrorKind::ConnectionReset);
}

/// Goal: short sends and receives never cut a packet.
#[test]
fn faults_cut_no_packet() {
    let mut bench = Bench::new(Sim::builder(3).faults(Faults::bumpy()).build());
    let (client, server) = pair(&mut bench, true);
    bench.submit(server, Request::Receive);
    for length in [1, 10, 1000, 1024, 30_000] {
        bench.send(client, &vec![7; length]);
        let received = bench.next(RequestKind::Receive);
        assert!(
            matches!(&received, Ok(Outcome::Received(bytes)) if bytes.len() == length),
            "{received:?}"
        );
        assert_eq!(bench.sent().0, length);
    }
}

#[test]
fn a_connection_is_reset_by_the_name_of_its_server() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, _server) = pair(&mut bench, false);
    assert_eq!(bench.sim.reset(UnixAddress::unnamed()), 0);
    assert_eq!(bench.sim.reset(name("/server")), 1);
    let result = bench.receive_all(client).map(|_| Outcome::EndOfFile);
    assert_eq!(error_kind(result), ErrorKind::ConnectionReset);
}

#[test]
fn calls_fail_on_request() {
    let mut bench = Bench::new(Sim::new(1));
    for call in [Call::Listen, Call::OpenStream] {
        bench.sim.fail_next(call, ErrorKind::QuotaExceeded);
    }
    assert_eq!(listen(&mut bench, "/a"), Err(ErrorKind::QuotaExceeded));
    let refused = bench.port.open_stream(&name("/a").into(), None);
    let error = refused.expect_err("as requested");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(bench.port.open_handles(), 0);
}
