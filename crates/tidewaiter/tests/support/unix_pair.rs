//! Connected UNIX sockets, of streams or packets.

use tidewaiter::UnixAddress;
use tidewaiter::port::{Handle, ListenOptions, Outcome, Request};

use super::harness::Harness;

/// Two ends of a connection: of two sockets of the OS, or of a client and a server where the port is simulated.
#[track_caller]
pub(crate) fn unix_pair(harness: &mut Harness, packets: bool) -> (Handle, Handle) {
    if crate::SIMULATED {
        return simulated_pair(harness, packets);
    }
    os_pair(harness, packets)
}

#[cfg(unix)]
fn os_pair(harness: &mut Harness, packets: bool) -> (Handle, Handle) {
    use std::os::fd::OwnedFd;

    use socket2::{Domain, Type};
    use tidewaiter::port::Socket;

    let kind = match packets {
        true => Type::SEQPACKET,
        false => Type::STREAM,
    };
    let (one, other) = socket2::Socket::pair(Domain::UNIX, kind, None).expect("a pair");
    let mut adopt = |socket| harness.adopt(Socket::from(OwnedFd::from(socket)));
    (adopt(one), adopt(other))
}

#[cfg(windows)]
fn os_pair(_: &mut Harness, _: bool) -> (Handle, Handle) {
    unreachable!("Windows has no pairs of UNIX sockets")
}

#[track_caller]
fn simulated_pair(harness: &mut Harness, packets: bool) -> (Handle, Handle) {
    let address = UnixAddress::from_pathname("/a").expect("a short path");
    let mut options = ListenOptions::new(address.clone());
    options.sequenced_packets = packets;
    let listener = harness.port.listen(&options).expect("a free path");
    harness.track(listener);
    let accepting = harness.submit(listener, Request::AcceptOne);
    let peer = address.into();
    let client = match packets {
        true => harness.port.open_packets(&peer, None),
        false => harness.port.open_stream(&peer, None),
    };
    let client = client.expect("a socket is to be had");
    harness.track(client);
    let connecting = harness.submit(client, Request::connect(peer));
    let connected = harness.last(connecting);
    assert!(matches!(connected, Ok(Outcome::Connected)), "{connected:?}");
    let accepted = harness.last(accepting);
    let Ok(Outcome::Accepted { socket, .. }) = accepted else {
        panic!("a client should have come: {accepted:?}");
    };
    let server = harness.adopt(socket);
    harness.close_now(listener);
    (client, server)
}
