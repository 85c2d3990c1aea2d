//! Peers and sockets that other code made: blocking sockets of the standard library.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use tidewaiter::port::{CloseMode, Outcome, Request};
use tidewaiter::process::{Command, SpawnStep};

use crate::support::harness::Harness;
use crate::support::random::Random;
use crate::support::reader::{Reader, receive_exactly};

#[test]
fn a_connected_socket_can_be_adopted() {
    let mut harness = Harness::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let ours = TcpStream::connect(address).expect("it listens");
    let (mut theirs, _) = listener.accept().expect("a client connected");
    let handle = harness.adopt(ours);
    assert_eq!(harness.port.peer_addr(handle).ok(), Some(address.into()));
    theirs.write_all(b"hello").expect("it is connected");
    assert_eq!(receive_exactly(&mut harness, handle, 5), b"hello");
    harness.send_all(handle, b"goodbye");
    harness.close_now(handle);
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("an orderly end");
    assert_eq!(text, "goodbye");
    harness.finish();
}

/// Goal: the port connects a socket that is not connected yet, bound or not.
#[test]
fn an_unconnected_socket_can_be_adopted_and_connected() {
    for bound in [false, true] {
        let mut harness = Harness::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("the OS has sockets");
        if bound {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            socket.bind(&any.into()).expect("a free port");
        }
        let before = socket.local_addr().ok().and_then(|local| local.as_socket());
        let handle = harness.adopt(TcpStream::from(socket));
        let connecting = harness.submit(handle, Request::connect(address));
        assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
        let (mut theirs, peer) = listener.accept().expect("a client connected");
        assert_eq!(harness.port.local_addr(handle).ok(), Some(peer.into()));
        assert!(!bound || before == Some(peer), "it is bound where it was");
        theirs.write_all(b"hello").expect("it is connected");
        assert_eq!(receive_exactly(&mut harness, handle, 5), b"hello");
        harness.finish();
    }
}

/// Goal: the port reports the number that a socket was adopted with, for as long as it is open.
#[test]
fn the_number_of_a_socket_is_reported_until_the_close() {
    let mut harness = Harness::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    #[cfg(unix)]
    let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
    #[cfg(windows)]
    let number = std::os::windows::io::AsRawSocket::as_raw_socket(&socket);
    let handle = harness.adopt(socket);
    assert_eq!(harness.port.raw_descriptor(handle).ok(), Some(number));
    harness.close(handle, CloseMode::Graceful);
    let error = harness.port.raw_descriptor(handle).expect_err("it closes");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    harness.finish();
}

#[test]
fn a_listening_socket_can_be_adopted() {
    let mut harness = Harness::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let handle = harness.adopt(listener);
    assert_eq!(harness.port.local_addr(handle).ok(), Some(address.into()));
    let accepting = harness.submit(handle, Request::Accept);
    let theirs = TcpStream::connect(address).expect("it listens");
    let (_, peer) = harness.accepted(accepting);
    assert_eq!(theirs.local_addr().ok(), Some(peer));
    harness.finish();
}

/// Goal: a socket that is no TCP socket tells its own kind of address, and so does what it accepts.
#[cfg(unix)]
#[test]
fn a_unix_socket_made_elsewhere_tells_its_address() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use tidewaiter::{Address, UnixAddress};

    let mut harness = Harness::new();
    let name = format!(
        "tidewaiter-{}-{:?}",
        std::process::id(),
        harness.port.info().kind
    );
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).expect("a new name");
    let handle = harness.adopt(TcpListener::from(OwnedFd::from(listener)));
    let accepting = harness.submit(handle, Request::Accept);
    let client = UnixStream::connect(&path).expect("it listens");
    std::fs::remove_file(&path).expect("it is ours");
    let listening = Address::from(UnixAddress::from_pathname(&path).expect("it is bound"));
    let unnamed = Address::from(UnixAddress::unnamed());
    assert_eq!(
        harness.port.local_addr(handle).ok(),
        Some(listening.clone())
    );
    let Ok(Outcome::Accepted { socket, peer }) = harness.next(accepting).result else {
        panic!("a client has connected");
    };
    assert_eq!(peer, unnamed);
    let server = harness.adopt(socket);
    assert_eq!(
        harness.port.local_addr(server).ok(),
        Some(listening.clone())
    );
    let client = harness.adopt(TcpStream::from(OwnedFd::from(client)));
    assert_eq!(harness.port.peer_addr(client).ok(), Some(listening));
    assert_eq!(harness.port.local_addr(client).ok(), Some(unnamed));
    harness.finish();
}

#[test]
fn an_accepted_socket_can_be_taken_out_of_the_library() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let mut theirs = TcpStream::connect(address).expect("it listens");
    let (socket, _) = harness.accepted(accepting);
    let mut ours = TcpStream::try_from(socket).expect("it is the OS's");
    ours.set_nonblocking(false).expect("it is a socket");
    ours.write_all(b"plain").expect("it is connected");
    drop(ours);
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("an orderly end");
    assert_eq!(text, "plain");
    harness.finish();
}

/// Goal: the port serves a blocking peer that sends, half-closes, and reads all of the answer.
#[test]
fn a_blocking_peer_is_echoed_to_its_end() {
    const TOTAL: usize = 1 << 20;
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let mut writer = stream.try_clone().expect("it can be shared");
        let sender = thread::spawn(move || {
            writer.write_all(&vec![9; TOTAL]).expect("it is connected");
            writer.shutdown(Shutdown::Write).expect("it is connected");
        });
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).expect("an orderly end");
        sender.join().expect("all is sent");
        echoed
    });
    let (socket, _) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let receiving = harness.receive(server);
    loop {
        match harness.next(receiving).result {
            Ok(Outcome::Received(buffer)) => harness.send_all(server, &buffer),
            Ok(Outcome::EndOfFile) => break,
            other => panic!("bytes should have arrived: {other:?}"),
        }
    }
    harness.close_now(server);
    let echoed = peer.join().expect("the peer is content");
    assert_eq!(echoed.len(), TOTAL);
    assert!(echoed.iter().all(|byte| *byte == 9));
    harness.finish();
}

#[test]
fn an_abort_by_a_foreign_peer_is_a_reset() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let theirs = TcpStream::connect(address).expect("it listens");
    let (socket, _) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let receiving = harness.receive(server);
    let theirs = socket2::Socket::from(theirs);
    theirs
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("it is a socket");
    drop(theirs);
    let error = harness.refusal(receiving);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    harness.finish();
}

/// Goal: a connection that was reset in the backlog neither ends the accept nor is reported as an error.
#[test]
fn a_connection_that_dies_before_it_is_accepted_ends_no_accept() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    for _ in 0..10 {
        let theirs = socket2::Socket::from(TcpStream::connect(address).expect("it listens"));
        theirs
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("it is a socket");
    }
    let accepting = harness.submit(listener, Request::Accept);
    let alive = TcpStream::connect(address).expect("it listens");
    let alive = alive.local_addr().expect("it is connected");
    loop {
        let (_, peer) = harness.accepted(accepting);
        if peer == alive {
            break;
        }
    }
    harness.finish();
}

/// Goal: an unreachable address is reported differently from one that refuses.
/// Method: connect to a multicast group, which no stream can reach.
#[test]
fn an_unreachable_address_is_unreachable() {
    let mut harness = Harness::new();
    let group = "224.0.0.1:9".parse().expect("an address");
    let (_, connecting) = harness.connect(group);
    let error = harness.refusal(connecting);
    assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable, "{error}");
    harness.finish();
}

#[test]
fn a_directory_cannot_be_run() {
    let mut harness = Harness::new();
    let directory = env!("CARGO_TARGET_TMPDIR");
    let error = harness
        .port
        .spawn(&Command::new(directory))
        .expect_err("a directory cannot be run");
    assert!(error.to_string().contains(directory), "{error}");
    assert_eq!(harness.port.open_handles(), 0, "nothing is left open");
    harness.finish();
}

#[test]
fn a_working_directory_that_does_not_exist_is_named_as_the_cause() {
    let mut harness = Harness::new();
    let program = std::env::current_exe().expect("we are a program");
    let command = Command::new(program).current_dir("/no/such/directory");
    let error = harness
        .port
        .spawn(&command)
        .expect_err("there is no such directory");
    assert_eq!(error.step, SpawnStep::Directory, "{error}");
    let named = "cannot enter its working directory /no/such/directory: ";
    assert!(error.to_string().contains(named), "{error}");
    harness.finish();
}

#[test]
fn a_half_closing_foreign_peer_still_receives() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let mut theirs = TcpStream::connect(address).expect("it listens");
    theirs.shutdown(Shutdown::Write).expect("it is connected");
    let (socket, _) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let (bytes, end) = Reader::new(&mut harness, server).read_to_end(&mut harness);
    assert!(bytes.is_empty() && end.is_ok(), "{end:?}");
    harness.send_all(server, b"late answer");
    harness.close_now(server);
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("an orderly end");
    assert_eq!(text, "late answer");
    harness.finish();
}

/// Goal: a cancelled send returns the bytes that were not sent, and no others: sent again, they continue the flow.
/// Method: the OS has taken a part of a send that is larger than the socket's memory.
#[test]
fn a_cancelled_send_returns_what_was_not_sent() {
    let mut harness = Harness::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let ours = TcpStream::connect(address).expect("it listens");
    let set = socket2::SockRef::from(&ours).set_send_buffer_size(64 << 10);
    set.expect("a usual size");
    let (mut theirs, _) = listener.accept().expect("a client connected");
    let handle = harness.adopt(ours);
    let mut random = Random::new(8);
    let block: Bytes = (0..1 << 20)
        .map(|_| u8::try_from(random.below(256)).expect("a byte"))
        .collect();
    let (stuck, sent) = harness.send_until_stuck(handle, &block);
    harness.port.cancel(stuck);
    let mut left = harness.next(stuck).unsent;
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).expect("an orderly end");
        received
    });
    while !left.is_empty() {
        let sending = harness.send(handle, left);
        left = harness.sent(sending).1;
    }
    harness.close_now(handle);
    let received = reading.join().expect("the peer is content");
    // The stuck send was the rest of a block.
    assert_eq!(received.len(), (sent / block.len() + 1) * block.len());
    assert!(received.chunks(block.len()).all(|part| part == block));
    harness.finish();
}
