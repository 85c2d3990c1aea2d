//! Addresses of the kinds that a port does not support: refused, with a message that names the port and the address.

use std::io;

use tidewaiter::port::{ListenOptions, Request, Token};
use tidewaiter::{Address, PipeName, UnixAddress};

use crate::support::harness::Harness;
use crate::support::unix_sockets::has_unix_sockets;

fn others() -> Vec<Address> {
    let pipe = PipeName::local("no such pipe").expect("a good name");
    let mut others = vec![UnixAddress::unnamed().into()];
    if !cfg!(windows) && !crate::SIMULATED {
        others.push(pipe.into());
    }
    if !has_unix_sockets() {
        let path = UnixAddress::from_pathname("/tmp/no such.sock").expect("a good path");
        others.push(path.into());
    }
    others
}

#[track_caller]
fn assert_unsupported<T>(harness: &Harness, result: io::Result<T>, verb: &str, address: &Address) {
    let Err(error) = result else {
        panic!("{address} should be refused");
    };
    let port = harness.port.info().kind;
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let (message, refused) = (
        error.to_string(),
        format!("the {port} port does not {verb} {address}"),
    );
    // What a port refuses only on this machine, it explains.
    let explained = refused.clone() + ": this Windows has no UNIX sockets (WSASocketW: ";
    match address {
        Address::Unix(name) if !name.is_unnamed() => {
            assert!(message.starts_with(&explained), "{message}");
        }
        _ => assert_eq!(message, refused),
    }
}

#[test]
fn other_addresses_are_not_listened_on() {
    let mut harness = Harness::new();
    for address in others() {
        let listening = harness.port.listen(&ListenOptions::new(address.clone()));
        assert_unsupported(&harness, listening, "listen on", &address);
    }
    assert_eq!(harness.port.open_handles(), 0);
    harness.finish();
}

#[test]
fn other_addresses_are_not_connected_to_or_from() {
    let mut harness = Harness::new();
    let ip = Address::from(Harness::deserted_address());
    let client = harness.open_stream(Harness::deserted_address());
    for address in others() {
        let opened = harness.port.open_stream(&address, None);
        assert_unsupported(&harness, opened, "connect to", &address);
        let opened = harness.port.open_stream(&ip, Some(&address));
        assert_unsupported(&harness, opened, "connect from", &address);
        let request = Request::connect(address.clone());
        let submitted = harness.port.submit(client, request, Token(0));
        assert_unsupported(&harness, submitted, "connect to", &address);
    }
    assert_eq!(harness.port.in_flight(), 0);
    assert_eq!(harness.port.open_handles(), 1);
    harness.finish();
}
