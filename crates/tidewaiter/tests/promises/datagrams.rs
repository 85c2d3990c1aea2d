//! Datagrams: each arrives once, whole and with its sender; errors concern single datagrams and never the socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::Address;
use tidewaiter::port::{
    CloseMode, DatagramBatch, DatagramError, DatagramOptions, Failure, Handle, Operation, Outcome,
    PacketInfo, PortKind, Request,
};

use crate::SIMULATED;
use crate::support::harness::Harness;
use crate::support::random::Random;

/// The largest datagram of IPv4.
const LARGEST: usize = 65_507;

/// How long a test waits for something that must not come.
const MOMENT: Duration = Duration::from_millis(50);

/// A harness, if the port has datagrams.
#[expect(clippy::print_stderr, reason = "tells what is not tested")]
fn with_datagrams() -> Option<Harness> {
    let mut harness = Harness::new();
    match harness.open_datagrams(&local()) {
        Ok(_) => Some(harness),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            eprintln!("skipped: {error}");
            harness.finish();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn local() -> DatagramOptions {
    DatagramOptions::bound(([127, 0, 0, 1], 0))
}

/// A datagram as the test keeps it.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    bytes: Vec<u8>,
    sender: Option<Address>,
    info: Option<PacketInfo>,
}

/// A socket that receives.
struct Receiver {
    handle: Handle,
    address: SocketAddr,
    receive: Operation,
    errors: Vec<DatagramError>,
}

impl Receiver {
    fn open(harness: &mut Harness, options: &DatagramOptions) -> Receiver {
        let handle = harness.open_datagrams(options).expect("it opens");
        Receiver {
            handle,
            address: harness.local_ip(handle),
            receive: harness.submit(handle, Request::ReceiveDatagrams),
            errors: Vec::new(),
        }
    }

    /// Takes what has been delivered; keeps the errors.
    fn take(&mut self, harness: &mut Harness) -> Vec<Received> {
        let mut received = Vec::new();
        while let Some(completion) = harness.arrived(self.receive) {
            match completion.result {
                Ok(Outcome::Datagrams(datagrams)) => {
                    received.extend(datagrams.iter().map(|datagram| Received {
                        bytes: datagram.bytes().to_vec(),
                        sender: datagram.sender().cloned(),
                        info: datagram.packet_info().copied(),
                    }));
                }
                Ok(Outcome::DatagramError(error)) => self.errors.push(*error),
                other => panic!("the receive ended: {other:?}"),
            }
        }
        received
    }

    /// Waits for so many datagrams.
    #[track_caller]
    fn receive(&mut self, harness: &mut Harness, count: usize) -> Vec<Received> {
        let mut received = Vec::new();
        harness.until("datagrams", |harness| {
            received.extend(self.take(harness));
            received.len() >= count
        });
        assert_eq!(received.len(), count, "too many: {received:?}");
        received
    }
}

/// Sends a batch; returns the errors.
#[track_caller]
fn send_all(harness: &mut Harness, handle: Handle, mut batch: DatagramBatch) -> Vec<DatagramError> {
    let mut errors = Vec::new();
    while !batch.is_empty() {
        let send = harness.submit(handle, Request::SendDatagrams(batch));
        let result = harness.last(send);
        let Ok(Outcome::DatagramsSent(rest)) = result else {
            panic!("a send came to {result:?}");
        };
        batch = rest;
        errors.extend(batch.take_failures());
    }
    errors
}

#[track_caller]
fn send(harness: &mut Harness, handle: Handle, data: &[u8], to: Option<SocketAddr>) {
    let mut batch = DatagramBatch::new();
    batch.push(data, to.map(Address::from).as_ref());
    let errors = send_all(harness, handle, batch);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn datagrams_arrive_whole_with_their_sender() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut receiver = Receiver::open(&mut harness, &local());
    let sender = harness.open_datagrams(&local()).expect("it opens");
    let from = Some(Address::from(harness.local_ip(sender)));
    for length in [1, 0, 1500, 0, 9000, 17_408, LARGEST, 3] {
        let data: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
        send(&mut harness, sender, &data, Some(receiver.address));
        let received = receiver.receive(&mut harness, 1);
        assert_eq!(received[0].bytes, data, "{length} bytes");
        assert_eq!(received[0].sender, from);
        assert_eq!(received[0].info, None, "nobody asked for it");
    }
    assert!(receiver.errors.is_empty(), "{:?}", receiver.errors);
    harness.finish();
}

#[test]
fn a_batch_reaches_each_of_its_peers_in_order() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut receivers: Vec<Receiver> = (0..3)
        .map(|_| Receiver::open(&mut harness, &local()))
        .collect();
    let sender = harness.open_datagrams(&local()).expect("it opens");
    let mut batch = DatagramBatch::new();
    for number in 0..30_u8 {
        let to = receivers[usize::from(number % 3)].address.into();
        batch.push(&vec![number; usize::from(number % 7)], Some(&to));
    }
    assert!(send_all(&mut harness, sender, batch).is_empty());
    for (at, receiver) in receivers.iter_mut().enumerate() {
        let received = receiver.receive(&mut harness, 10);
        let numbers = (0..30_u8).filter(|number| usize::from(number % 3) == at);
        for (datagram, number) in received.iter().zip(numbers) {
            assert_eq!(datagram.bytes, vec![number; usize::from(number % 7)]);
        }
    }
    harness.finish();
}

#[test]
fn what_cannot_be_sent_is_told_and_the_rest_is_sent() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut receiver = Receiver::open(&mut harness, &local());
    let sender = harness.open_datagrams(&local()).expect("it opens");
    let (to, other_family) = (
        receiver.address.into(),
        "[::1]:9".parse().expect("it is one"),
    );
    let mut batch = DatagramBatch::new();
    batch.push(b"before", Some(&to));
    batch.push(&vec![0; LARGEST + 1], Some(&to));
    batch.push(b"nowhere", None);
    batch.push(b"elsewhere", Some(&other_family));
    batch.push(b"after", Some(&to));
    let errors = send_all(&mut harness, sender, batch);
    let peers: Vec<Option<&Address>> = errors.iter().map(|error| error.peer.as_ref()).collect();
    assert_eq!(peers, [Some(&to), None, Some(&other_family)], "{errors:?}");
    let received = receiver.receive(&mut harness, 2);
    let received: Vec<&[u8]> = received.iter().map(|it| it.bytes.as_slice()).collect();
    assert_eq!(received, [&b"before"[..], b"after"]);
    harness.finish();
}

/// Goal: a peer that is not there never ends a receive, however many datagrams it refuses, and no error is told more
/// often than datagrams were sent.
#[test]
fn a_thousand_refusals_end_nothing() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let gone = harness.open_datagrams(&local()).expect("it opens");
    let deserted = harness.local_ip(gone);
    harness.close_now(gone);
    let mut client = Receiver::open(&mut harness, &local());
    let peer = Address::from(deserted);
    harness
        .port
        .set_peer(client.handle, Some(&peer))
        .expect("it connects");
    let count = 1000;
    for _ in 0..count / 10 {
        let mut batch = DatagramBatch::new();
        for _ in 0..10 {
            batch.push(b"is anybody there?", None);
        }
        let failed = send_all(&mut harness, client.handle, batch);
        client.errors.extend(failed);
        assert!(client.take(&mut harness).is_empty(), "nobody sends");
    }
    let what = "the first refusal";
    harness.until(what, |harness| {
        assert!(client.take(harness).is_empty(), "nobody sends");
        !client.errors.is_empty()
    });
    harness.turn(Some(MOMENT));
    client.take(&mut harness);
    assert!(client.errors.len() <= count, "told twice");
    for error in &client.errors {
        let kinds = [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
        ];
        assert!(kinds.contains(&error.source.kind()), "{error}");
        assert!(error.peer.is_none() || error.peer == Some(peer.clone()));
    }
    // Somebody moves in, and is heard.
    let mut server = Receiver::open(&mut harness, &DatagramOptions::bound(deserted));
    send(&mut harness, client.handle, b"and now?", None);
    assert_eq!(server.receive(&mut harness, 1)[0].bytes, b"and now?");
    // Wine lets a socket receive nothing more that has received an error.
    if harness.port.info().kind != PortKind::Iocp {
        send(&mut harness, server.handle, b"yes", Some(client.address));
        assert_eq!(client.receive(&mut harness, 1)[0].bytes, b"yes");
    }
    assert!(harness.is_live(client.receive), "nothing has ended it");
    harness.finish();
}

/// Goal: what arrives around the cancellation of a receive is received once, by it or by the next.
#[test]
fn a_cancelled_receive_loses_and_doubles_nothing() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut receiver = Receiver::open(&mut harness, &local());
    let sender = harness.open_datagrams(&local()).expect("it opens");
    let mut received = Vec::new();
    for round in 0..60_u8 {
        for part in 0..5 {
            send(&mut harness, sender, &[round, part], Some(receiver.address));
        }
        if round % 3 == 1 {
            harness.turn(Some(MOMENT));
        }
        assert!(harness.port.cancel(receiver.receive), "it was under way");
        while harness.is_live(receiver.receive) {
            harness.turn(None);
        }
        received.extend(drain(&mut harness, receiver.receive));
        receiver.receive = harness.submit(receiver.handle, Request::ReceiveDatagrams);
    }
    while received.len() < 300 {
        harness.turn(Some(Duration::from_secs(10)));
        let more = receiver.take(&mut harness);
        assert!(!more.is_empty(), "{} of 300 arrived", received.len());
        received.extend(more.into_iter().map(|datagram| datagram.bytes));
    }
    let sent: Vec<Vec<u8>> = (0..60)
        .flat_map(|round| (0..5).map(move |part| vec![round, part]))
        .collect();
    assert_eq!(received, sent);
    harness.finish();
}

/// The datagrams of a receive that was cancelled.
fn drain(harness: &mut Harness, receive: Operation) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    while let Some(completion) = harness.arrived(receive) {
        match completion.result {
            Ok(Outcome::Datagrams(datagrams)) => {
                received.extend(datagrams.iter().map(|datagram| datagram.bytes().to_vec()));
            }
            Err(Failure::Cancelled) => {}
            other => panic!("a cancelled receive came to {other:?}"),
        }
    }
    received
}

#[test]
fn a_close_ends_what_is_under_way_and_returns_the_datagrams() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let receiver = Receiver::open(&mut harness, &local());
    let mut batch = DatagramBatch::new();
    for _ in 0..50 {
        batch.push(b"to myself", Some(&receiver.address.into()));
    }
    let send = harness.submit(receiver.handle, Request::SendDatagrams(batch));
    let closing = harness.close(receiver.handle, CloseMode::Graceful);
    let Ok(Outcome::DatagramsSent(rest)) = harness.last(send) else {
        panic!("a send of datagrams returns them");
    };
    assert!(rest.len() <= 50 && rest.failures().is_empty());
    assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
    harness.assert_cancelled(receiver.receive);
    harness.finish();
}

#[test]
fn packet_info_tells_where_a_datagram_was_sent_to() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    for (everywhere, here) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
        let everywhere: SocketAddr = everywhere.parse().expect("an address");
        let mut options = DatagramOptions::bound(everywhere);
        options.packet_info = true;
        let mut receiver = Receiver::open(&mut harness, &options);
        let to = SocketAddr::new(here.parse().expect("an address"), receiver.address.port());
        let from = DatagramOptions::bound(SocketAddr::new(to.ip(), 0));
        let sender = harness.open_datagrams(&from).expect("it opens");
        for _ in 0..10 {
            send(&mut harness, sender, b"hello", Some(to));
            let received = receiver.receive(&mut harness, 1);
            let info = received[0].info.expect("it was asked for");
            assert_eq!(info.destination, Some(to.ip()));
            assert!(info.interface.is_some_and(|index| index > 0), "{info:?}");
        }
    }
    harness.finish();
}

#[test]
fn a_socket_of_both_families_receives_and_answers_both() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut options = DatagramOptions::bound("[::]:0".parse::<SocketAddr>().expect("an address"));
    options.only_v6 = false;
    options.packet_info = true;
    let mut both = Receiver::open(&mut harness, &options);
    for (here, seen) in [("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")] {
        let here = here.parse().expect("an address");
        let mut client = Receiver::open(
            &mut harness,
            &DatagramOptions::bound(SocketAddr::new(here, 0)),
        );
        let to = SocketAddr::new(here, both.address.port());
        send(&mut harness, client.handle, b"question", Some(to));
        let question = both.receive(&mut harness, 1).remove(0);
        let sender = question.sender.and_then(|sender| sender.socket_addr());
        let seen = seen.parse().expect("an address");
        let expected = SocketAddr::new(seen, client.address.port());
        assert_eq!(sender, Some(expected));
        let destination = question.info.and_then(|info| info.destination);
        assert_eq!(
            destination,
            Some(here),
            "a packet of IPv4 has its addresses"
        );
        send(&mut harness, both.handle, b"answer", sender);
        send(
            &mut harness,
            both.handle,
            b"and again",
            Some(client.address),
        );
        let answers = client.receive(&mut harness, 2);
        assert_eq!(answers[0].bytes, b"answer");
        assert_eq!(answers[1].bytes, b"and again");
    }
    harness.finish();
}

#[test]
fn nobody_broadcasts_without_leave() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let everyone = Address::from(([255, 255, 255, 255], 9));
    let quiet = harness.open_datagrams(&local()).expect("it opens");
    let mut batch = DatagramBatch::new();
    batch.push(b"hear, hear", Some(&everyone));
    let errors = send_all(&mut harness, quiet, batch);
    assert_eq!(errors.len(), 1);
    let kind = errors[0].source.kind();
    assert_eq!(kind, io::ErrorKind::PermissionDenied, "{errors:?}");
    harness.finish();
}

/// Goal: over many sockets, each datagram arrives exactly once, while receives are cancelled and begun again, sockets
/// that nobody hears are sent to, and all kinds of sizes are used.
/// Method: each datagram has a number. Few are on their way at a time, so that no queue of the OS overflows.
#[test]
fn in_a_storm_each_datagram_arrives_once() {
    let Some(mut harness) = with_datagrams() else {
        return;
    };
    let mut random = Random::new(7);
    let mut sockets: Vec<Receiver> = (0..8)
        .map(|_| Receiver::open(&mut harness, &local()))
        .collect();
    let gone = harness.open_datagrams(&local()).expect("it opens");
    let deserted = harness.local_ip(gone);
    harness.close_now(gone);
    let rounds = if SIMULATED { 400 } else { 150 };
    let (mut number, mut refusable) = (0_u64, 0);
    for _ in 0..rounds {
        let mut expected = Vec::new();
        for _ in 0..random.below(6) {
            let (from, to) = (random.below(8), random.below(9));
            let mut batch = DatagramBatch::new();
            for _ in 0..=random.below(4) {
                let mut data = number.to_le_bytes().to_vec();
                data.resize(8 + random.below(3000), 0xAA);
                let address = sockets.get(to).map_or(deserted, |it| it.address);
                batch.push(&data, Some(&address.into()));
                match to {
                    8 => refusable += 1,
                    _ => expected.push((to, number)),
                }
                number += 1;
            }
            let handle = sockets[from].handle;
            let errors = send_all(&mut harness, handle, batch);
            sockets[from].errors.extend(errors);
        }
        if random.below(10) == 0 {
            let unlucky = random.below(8);
            restart(&mut harness, &mut sockets[unlucky], unlucky, &mut expected);
        }
        harness.until("all datagrams of a round", |harness| {
            for (at, socket) in sockets.iter_mut().enumerate() {
                for datagram in socket.take(harness) {
                    check_off(&mut expected, at, &datagram.bytes);
                }
            }
            expected.is_empty()
        });
    }
    let told: usize = sockets.iter().map(|socket| socket.errors.len()).sum();
    assert!(
        told <= refusable,
        "{told} errors about {refusable} datagrams"
    );
    harness.finish();
}

/// Cancels a receive, and begins another.
fn restart(
    harness: &mut Harness,
    socket: &mut Receiver,
    at: usize,
    expected: &mut Vec<(usize, u64)>,
) {
    harness.port.cancel(socket.receive);
    while harness.is_live(socket.receive) {
        harness.turn(None);
    }
    while let Some(completion) = harness.arrived(socket.receive) {
        match completion.result {
            Ok(Outcome::Datagrams(datagrams)) => {
                for datagram in datagrams.iter() {
                    check_off(expected, at, datagram.bytes());
                }
            }
            Ok(Outcome::DatagramError(error)) => socket.errors.push(*error),
            Err(Failure::Cancelled) => {}
            other => panic!("a cancelled receive came to {other:?}"),
        }
    }
    socket.receive = harness.submit(socket.handle, Request::ReceiveDatagrams);
}

fn check_off(expected: &mut Vec<(usize, u64)>, at: usize, bytes: &[u8]) {
    let number = bytes
        .first_chunk()
        .map(|&number| u64::from_le_bytes(number));
    let number = number.expect("each datagram has a number");
    let place = expected.iter().position(|it| *it == (at, number));
    expected.remove(place.unwrap_or_else(|| panic!("datagram {number} came twice, or astray")));
    assert!(bytes[8..].iter().all(|&byte| byte == 0xAA));
}
