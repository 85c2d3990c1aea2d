//! Addresses of the kinds that no port supports yet: refused, with a message that names the port and the address.

use std::io;

use tidewaiter::port::{ListenOptions, Request, Token};
use tidewaiter::{Address, PipeName, UnixAddress};

use crate::support::harness::Harness;

fn others() -> [Address; 3] {
    let path = UnixAddress::from_pathname("/tmp/no such.sock").expect("a good path");
    let pipe = PipeName::local("no such pipe").expect("a good name");
    [path.into(), UnixAddress::unnamed().into(), pipe.into()]
}

#[track_caller]
fn assert_unsupported<T>(harness: &Harness, result: io::Result<T>, verb: &str, address: &Address) {
    let Err(error) = result else {
        panic!("{address} should be refused");
    };
    let port = harness.port.info().kind;
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        format!("the {port} port does not {verb} {address}")
    );
}

#[test]
fn only_ip_addresses_are_listened_on() {
    let mut harness = Harness::new();
    for address in others() {
        let listening = harness.port.listen(&ListenOptions::new(address.clone()));
        assert_unsupported(&harness, listening, "listen on", &address);
    }
    assert_eq!(harness.port.open_handles(), 0);
    harness.finish();
}

#[test]
fn only_ip_addresses_are_connected_to_and_from() {
    let mut harness = Harness::new();
    let ip = Address::from(Harness::deserted_address());
    let client = harness.open_stream(Harness::deserted_address());
    for address in others() {
        let opened = harness.port.open_stream(&address, None);
        assert_unsupported(&harness, opened, "connect to", &address);
        let opened = harness.port.open_stream(&ip, Some(&address));
        assert_unsupported(&harness, opened, "connect from", &address);
        let request = Request::Connect(address.clone());
        let submitted = harness.port.submit(client, request, Token(0));
        assert_unsupported(&harness, submitted, "connect to", &address);
    }
    assert_eq!(harness.port.in_flight(), 0);
    assert_eq!(harness.port.open_handles(), 1);
    harness.finish();
}
