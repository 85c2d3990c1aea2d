//! Streams over UNIX sockets at paths, which all systems have, but not every Windows.

use std::io::ErrorKind;

use tidewaiter::port::{Handle, ListenOptions, Outcome, Request};
use tidewaiter::{Address, UnixAddress};

use crate::support::folder::Folder;
use crate::support::harness::Harness;
use crate::support::unix_sockets::has_unix_sockets;

/// A listener, and the two ends of a connection that it accepted.
struct Connected {
    listener: Handle,
    client: Handle,
    server: Handle,
}

#[track_caller]
fn connected(harness: &mut Harness, address: &UnixAddress) -> Connected {
    let listening = harness.port.listen(&ListenOptions::new(address.clone()));
    let listener = listening.expect("a free path");
    harness.track(listener);
    let accepting = harness.submit(listener, Request::AcceptOne);
    let peer = Address::from(address.clone());
    let client = harness.port.open_stream(&peer, None).expect("a socket");
    harness.track(client);
    let connecting = harness.submit(client, Request::connect(peer));
    let connected = harness.last(connecting);
    assert!(matches!(connected, Ok(Outcome::Connected)), "{connected:?}");
    let accepted = harness.last(accepting);
    let Ok(Outcome::Accepted { socket, peer }) = accepted else {
        panic!("a client should have come: {accepted:?}");
    };
    assert_eq!(
        peer,
        UnixAddress::unnamed().into(),
        "the client has no name"
    );
    let server = harness.adopt(socket);
    Connected {
        listener,
        client,
        server,
    }
}

#[test]
fn both_ends_have_their_addresses_and_exchange_bytes() {
    if !has_unix_sockets() {
        return;
    }
    let (folder, mut harness) = (Folder::new(), Harness::new());
    let address = folder.socket("a");
    let ends = connected(&mut harness, &address);
    let (named, unnamed) = (
        Address::from(address),
        Address::from(UnixAddress::unnamed()),
    );
    for (handle, local, peer) in [
        (ends.client, &unnamed, &named),
        (ends.server, &named, &unnamed),
    ] {
        assert_eq!(harness.port.local_addr(handle).ok().as_ref(), Some(local));
        assert_eq!(harness.port.peer_addr(handle).ok().as_ref(), Some(peer));
    }
    let local = harness.port.local_addr(ends.listener);
    assert_eq!(local.ok(), Some(named));
    for (from, to) in [(ends.client, ends.server), (ends.server, ends.client)] {
        let receiving = harness.receive(to);
        harness.send_all(from, b"hello");
        let received = harness.next(receiving).result;
        let Ok(Outcome::Received(data)) = received else {
            panic!("bytes should have come: {received:?}");
        };
        assert_eq!(&*data, b"hello");
        harness.port.cancel(receiving);
        harness.assert_cancelled(receiving);
    }
    harness.finish();
}

#[test]
fn the_peer_is_this_process() {
    if !has_unix_sockets() {
        return;
    }
    let (folder, mut harness) = (Folder::new(), Harness::new());
    let ends = connected(&mut harness, &folder.socket("a"));
    for handle in [ends.client, ends.server] {
        match harness.port.peer_credentials(handle) {
            Ok(credentials) => {
                let process = credentials.process;
                assert!(process.is_none_or(|process| process == std::process::id()));
                let tells = cfg!(any(windows, target_os = "linux"));
                assert_eq!(process.is_some(), tells, "{credentials:?}");
            }
            Err(error) if crate::SIMULATED => assert_eq!(error.kind(), ErrorKind::Unsupported),
            Err(error) => panic!("it should be told: {error}"),
        }
    }
    harness.finish();
}

#[test]
fn the_file_goes_with_the_listener() {
    if !has_unix_sockets() || crate::SIMULATED {
        return;
    }
    let (folder, mut harness) = (Folder::new(), Harness::new());
    let ends = connected(&mut harness, &folder.socket("a"));
    let there = |name| folder.path().join(name).symlink_metadata().is_ok();
    assert!(there("a") && there("a.lock"));
    harness.close_now(ends.listener);
    assert!(!there("a") && !there("a.lock"));
    harness.finish();
}
