//! Options and addresses of sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::endpoint::ToEndpoint;
use tidewaiter::port::{ListenOptions, Outcome, PortKind, Request, SocketOption};

use crate::support::harness::Harness;
use crate::support::reader::{Reader, receive_exactly};

#[test]
fn options_of_a_connection_can_be_set() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    for handle in [client, server] {
        for option in [
            SocketOption::NoDelay(true),
            SocketOption::NoDelay(false),
            SocketOption::KeepAlive(Some(Duration::from_secs(60))),
            SocketOption::KeepAlive(None),
            SocketOption::KeepAliveInterval(Duration::from_secs(5)),
            SocketOption::KeepAliveRetries(4),
            SocketOption::ReceiveBuffer(1 << 16),
            SocketOption::SendBuffer(1 << 16),
            SocketOption::HopLimit(40),
            SocketOption::TypeOfService(0x10),
        ] {
            // Old versions of Windows, and Wine, count the probes themselves.
            let optional = cfg!(windows) && matches!(option, SocketOption::KeepAliveRetries(_));
            let set = harness.port.set_option(handle, option);
            assert!(set.is_ok() || optional, "{set:?}");
        }
        for option in [
            SocketOption::UserTimeout(Some(Duration::from_secs(20))),
            SocketOption::Device("no such device".to_owned()),
        ] {
            let set = harness.port.set_option(handle, option.clone());
            let there = cfg!(target_os = "linux") || crate::SIMULATED;
            let device = matches!(option, SocketOption::Device(_)) && !crate::SIMULATED;
            assert_eq!(set.is_ok(), there && !device, "{set:?}");
            if let Err(error) = set {
                assert!(error.to_string().starts_with(&format!("{option:?}: ")));
                let unsupported = error.kind() == io::ErrorKind::Unsupported;
                assert_eq!(unsupported, !there, "{error}");
            }
        }
    }
    harness.finish();
}

/// Goal: the port reports how many bytes a peer that does not read has not acknowledged, where the OS tells.
#[test]
fn unacknowledged_bytes_are_reported_until_acknowledged() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    if cfg!(any(windows, target_vendor = "apple")) && !crate::SIMULATED {
        let error = harness.port.unacknowledged(client).expect_err("unknown");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        return harness.finish();
    }
    assert_eq!(harness.port.unacknowledged(client).ok(), Some(0));
    let data = vec![b'x'; 1 << 20].into();
    let (sending, taken) = harness.send_until_stuck(client, &data);
    let waiting = harness.port.unacknowledged(client).expect("it is known");
    assert!(waiting > 0);
    let mut reader = Reader::new(&mut harness, server);
    reader.take(&mut harness, taken);
    // Now there is room for more of it.
    let (rest, _) = harness.sent(sending);
    reader.take(&mut harness, rest);
    harness.until("all is acknowledged", |harness| {
        harness.port.unacknowledged(client).ok() == Some(0)
    });
    harness.finish();
}

/// Connects through a listener at `address`, and compares the addresses that both ends report.
fn check_addresses(address: &str) {
    let mut harness = Harness::new();
    let (listener, listening) = harness.listen_on(address);
    let wanted: SocketAddr = address.parse().expect("an address");
    assert_eq!(listening.ip(), wanted.ip());
    assert_ne!(listening.port(), 0, "the OS chose one");
    let accepting = harness.submit(listener, Request::Accept);
    let (client, connecting) = harness.connect(listening);
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    let (socket, peer) = harness.accepted(accepting);
    let server = harness.adopt(socket);
    let port = &harness.port;
    assert_eq!(port.peer_addr(client).ok(), Some(listening.into()));
    assert_eq!(port.local_addr(client).ok(), Some(peer.into()));
    assert_eq!(port.peer_addr(server).ok(), Some(peer.into()));
    assert_eq!(port.local_addr(server).ok(), Some(listening.into()));
    harness.send_all(client, b"hello");
    assert_eq!(receive_exactly(&mut harness, server, 5), b"hello");
    harness.finish();
}

#[test]
fn both_ends_know_their_addresses_over_ipv4() {
    check_addresses("127.0.0.1:0");
}

#[test]
fn both_ends_know_their_addresses_over_ipv6() {
    check_addresses("[::1]:0");
}

#[test]
fn a_connection_comes_from_the_local_address_asked_for() {
    let mut harness = Harness::new();
    let (listener, listening) = harness.listen_apart();
    let accepting = harness.submit(listener, Request::Accept);
    let (other, local) = harness.listen_apart();
    harness.close_now(other);
    let (to, from) = (listening.into(), local.into());
    let client = harness.soon(|harness| harness.port.open_stream(&to, Some(&from)));
    harness.track(client);
    let connecting = harness.submit(client, Request::connect(listening));
    let result = harness.last(connecting);
    assert!(matches!(result, Ok(Outcome::Connected)), "{result:?}");
    let (_socket, peer) = harness.accepted(accepting);
    assert_eq!(peer, local);
    assert_eq!(harness.port.local_addr(client).ok(), Some(local.into()));
    harness.finish();
}

#[test]
fn listeners_at_a_port_of_the_system_s_choice_differ() {
    let mut harness = Harness::new();
    let (_, first) = harness.listen();
    let (_, second) = harness.listen();
    assert_ne!(first, second);
    harness.finish();
}

/// Goal: either the port shares an address, or it reports that it cannot.
#[test]
fn sharing_an_address_works_or_is_unsupported() {
    let mut harness = Harness::new();
    let mut options = ListenOptions::new(([127, 0, 0, 1], 0));
    options.reuse_port = true;
    let first = match harness.port.listen(&options) {
        Ok(listener) => listener,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            let kind = harness.port.info().kind;
            let shares = cfg!(target_os = "linux") && kind != PortKind::Sim;
            assert!(!shares, "Linux shares addresses: {error}");
            return harness.finish();
        }
    };
    harness.track(first);
    let shared = harness.local_ip(first);
    options.endpoint = shared.to_endpoint();
    let second = harness.port.listen(&options).expect("it is shared");
    harness.track(second);
    let accepts = [first, second].map(|listener| harness.submit(listener, Request::Accept));
    for _ in 0..20 {
        harness.connect(shared);
    }
    let mut accepted = 0;
    harness.until("twenty connections", |harness| {
        for accepting in accepts {
            while harness.arrived(accepting).is_some() {
                accepted += 1;
            }
        }
        accepted == 20
    });
    harness.finish();
}

#[test]
fn a_port_reports_its_kind_and_why_it_was_chosen() {
    let harness = Harness::new();
    let info = harness.port.info();
    assert!(!info.reason.is_empty());
    assert!(info.to_string().starts_with(info.kind.name()), "{info}");
    assert!(!format!("{:?}", harness.port).is_empty());
    harness.finish();
}
