//! Datagrams: which sockets receive them, and what the network does to them.

use std::io::ErrorKind;
use std::time::Duration;

use super::Bench;
use crate::os::{Address, UnixAddress};
use crate::port::sim::{Faults, Sim};
use crate::port::{
    DatagramBatch, DatagramError, DatagramOptions, Handle, Multicast, NetworkInterface, Outcome,
    Request, RequestKind,
};

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn with_faults(change: impl FnOnce(&mut Faults)) -> Bench {
    let mut faults = Faults::default();
    change(&mut faults);
    Bench::new(Sim::builder(1).faults(faults).build())
}

impl Bench {
    fn datagrams(&mut self, local: &str) -> Handle {
        self.open_datagrams(&DatagramOptions::bound(address(local)))
    }

    fn open_datagrams(&mut self, options: &DatagramOptions) -> Handle {
        let opened = self.port.open_datagrams(options);
        opened.expect("the address is free")
    }

    /// Submits one datagram.
    fn submit_datagram(&mut self, from: Handle, data: &[u8], to: &str) {
        let mut batch = DatagramBatch::new();
        batch.push(data, Some(&address(to)));
        self.submit(from, Request::SendDatagrams(batch));
    }

    /// Sends one datagram; returns the error if it was refused.
    fn send_datagram(&mut self, from: Handle, data: &[u8], to: &str) -> Option<DatagramError> {
        self.submit_datagram(from, data, to);
        match self.next(RequestKind::SendDatagrams) {
            Ok(Outcome::DatagramsSent(mut batch)) => batch.take_failures().pop(),
            other => panic!("a send came to {other:?}"),
        }
    }

    /// The datagrams that have arrived by `within` from now, without the errors.
    fn arrived(&mut self, handle: Handle, within: Duration) -> Vec<Vec<u8>> {
        let (datagrams, _) = self.arrivals(handle, within);
        datagrams
    }

    fn arrivals(&mut self, handle: Handle, within: Duration) -> (Vec<Vec<u8>>, Vec<DatagramError>) {
        let request = Request::ReceiveDatagrams;
        let submitted = self.port.submit(handle, request, super::Token(7));
        let receive = submitted.expect("it receives nothing yet");
        let (mut datagrams, mut errors) = (Vec::new(), Vec::new());
        let deadline = self.port.now() + within;
        let mut cancelled = false;
        loop {
            let mut batch = Vec::new();
            let left = deadline.saturating_duration_since(self.port.now());
            self.port.wait(Some(left), &mut batch).expect("it waits");
            if batch.is_empty() && left.is_zero() && !std::mem::replace(&mut cancelled, true) {
                self.port.cancel(receive);
            }
            for completion in batch {
                match completion.result {
                    Ok(Outcome::Datagrams(received)) => {
                        datagrams.extend(received.iter().map(|it| it.bytes().to_vec()));
                    }
                    Ok(Outcome::DatagramError(error)) => errors.push(*error),
                    _ if completion.operation == receive => return (datagrams, errors),
                    other => panic!("unexpected: {other:?}"),
                }
            }
        }
    }
}

const NO_TIME: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(1);

#[test]
fn the_most_specific_name_receives_what_is_sent_to_one_address() {
    let mut bench = Bench::new(Sim::new(1));
    let mut shared = DatagramOptions::bound(address("0.0.0.0:80"));
    shared.reuse_address = true;
    let everywhere = bench.open_datagrams(&shared);
    shared.local = Some(address("127.0.0.1:80").into());
    let here = bench.open_datagrams(&shared);
    shared.peer = Some(address("127.0.0.1:1000").into());
    let connected = bench.open_datagrams(&shared);
    let client = bench.datagrams("127.0.0.1:1000");
    let stranger = bench.datagrams("127.0.0.1:1001");
    bench.send_datagram(client, b"from the peer", "127.0.0.1:80");
    bench.send_datagram(stranger, b"from another", "127.0.0.1:80");
    bench.send_datagram(stranger, b"to another", "10.0.0.1:80");
    assert_eq!(bench.arrived(connected, NO_TIME), [b"from the peer"]);
    assert_eq!(bench.arrived(here, NO_TIME), [b"from another"]);
    assert_eq!(bench.arrived(everywhere, NO_TIME), [b"to another"]);
}

#[test]
fn members_of_a_group_and_hearers_of_a_broadcast_all_receive() {
    let mut bench = Bench::new(Sim::new(1));
    let mut options = DatagramOptions::bound(address("0.0.0.0:80"));
    options.reuse_address = true;
    options.broadcast = true;
    let sockets = [(); 3].map(|()| bench.open_datagrams(&options));
    let join = |source: Option<&str>| Multicast::Join {
        group: [239, 1, 2, 3].into(),
        source: source.map(|source| source.parse().expect("an address")),
        interface: NetworkInterface::Any,
    };
    bench
        .port
        .set_multicast(sockets[0], join(None))
        .expect("it joins");
    let only = join(Some("10.0.0.7"));
    bench
        .port
        .set_multicast(sockets[1], only)
        .expect("it joins");
    let doubled = bench.port.set_multicast(sockets[0], join(None));
    assert_eq!(doubled.expect_err("twice").kind(), ErrorKind::AddrInUse);

    bench.send_datagram(sockets[2], b"group", "239.1.2.3:80");
    let source = bench.datagrams("10.0.0.7:9");
    bench.send_datagram(source, b"source", "239.1.2.3:80");
    let silent = Multicast::Loopback(false);
    bench
        .port
        .set_multicast(sockets[2], silent)
        .expect("it is UDP");
    bench.send_datagram(sockets[2], b"not here", "239.1.2.3:80");
    bench.send_datagram(sockets[2], b"all", "255.255.255.255:80");
    let refused = bench.send_datagram(source, b"no", "255.255.255.255:80");
    let refused = refused.expect("it asked for no broadcasts");
    assert_eq!(refused.source.kind(), ErrorKind::PermissionDenied);

    let received = sockets.map(|socket| bench.arrived(socket, NO_TIME));
    let expected: [&[&[u8]]; 3] = [
        &[b"group", b"source", b"all"],
        &[b"source", b"all"],
        &[b"all"],
    ];
    for (received, expected) in received.iter().zip(expected) {
        assert_eq!(received, expected);
    }
}

#[test]
fn a_sender_is_told_that_nobody_is_there() {
    let mut bench = Bench::new(Sim::new(1));
    let client = bench.datagrams("127.0.0.1:1000");
    bench.send_datagram(client, b"hello?", "127.0.0.1:80");
    bench.send_datagram(client, b"hello?", "192.0.2.1:80");
    let (datagrams, errors) = bench.arrivals(client, LONG);
    assert!(datagrams.is_empty());
    let [error] = &errors[..] else {
        panic!("a reserved address answers nothing: {errors:?}");
    };
    assert_eq!(error.peer, Some(address("127.0.0.1:80")));
    assert_eq!(error.source.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_network_loses_doubles_and_delays() {
    let both = |bench: &mut Bench| {
        let (client, server) = (
            bench.datagrams("127.0.0.1:1000"),
            bench.datagrams("127.0.0.1:80"),
        );
        for number in 0..20 {
            bench.send_datagram(client, &[number], "127.0.0.1:80");
        }
        server
    };
    let in_order: Vec<Vec<u8>> = (0..20).map(|number| vec![number]).collect();

    let mut bench = with_faults(|faults| faults.datagrams.losses = 1.0);
    let server = both(&mut bench);
    assert!(bench.arrived(server, LONG).is_empty());

    let mut bench = with_faults(|faults| faults.datagrams.duplicates = 1.0);
    let server = both(&mut bench);
    let doubled: Vec<Vec<u8>> = (0..40).map(|number| vec![number / 2]).collect();
    assert_eq!(bench.arrived(server, NO_TIME), doubled);

    let delay = Duration::from_millis(30);
    let mut bench = with_faults(|faults| faults.datagrams.delay = delay..=delay);
    let server = both(&mut bench);
    assert!(bench.arrived(server, Duration::from_millis(29)).is_empty());
    assert_eq!(bench.arrived(server, Duration::from_millis(1)), in_order);

    let mut bench = with_faults(|faults| faults.datagrams.detours = 0.5);
    let server = both(&mut bench);
    let mut received = bench.arrived(server, LONG);
    assert_ne!(received, in_order, "some overtake others");
    received.sort_unstable();
    assert_eq!(received, in_order);
}

#[test]
fn a_full_queue_loses_what_udp_sends_and_makes_a_unix_socket_wait() {
    let mut bench = with_faults(|faults| faults.datagrams.queue = 2);
    let (client, server) = (
        bench.datagrams("127.0.0.1:1000"),
        bench.datagrams("127.0.0.1:80"),
    );
    for number in 0..5 {
        bench.send_datagram(client, &[number], "127.0.0.1:80");
    }
    assert_eq!(bench.arrived(server, NO_TIME), [[0], [1]]);

    let client = bench.datagrams("unix:/client");
    let server = bench.datagrams("unix:/server");
    for number in 0..2 {
        bench.send_datagram(client, &[number], "unix:/server");
    }
    bench.submit_datagram(client, &[2], "unix:/server");
    let stuck = bench.port.wait(None, &mut Vec::new());
    assert_eq!(stuck.expect_err("nobody reads").kind(), ErrorKind::Deadlock);
    bench.submit(server, Request::ReceiveDatagrams);
    let mut received = Vec::new();
    while received.len() < 3 {
        let Ok(Outcome::Datagrams(datagrams)) = bench.next(RequestKind::ReceiveDatagrams) else {
            panic!("the receive goes on");
        };
        received.extend(datagrams.iter().map(|datagram| datagram.bytes().to_vec()));
    }
    assert_eq!(received, [[0], [1], [2]]);
}

#[test]
fn a_full_interface_makes_a_send_wait_for_its_time() {
    let mut bench = with_faults(|faults| faults.datagrams.full_interfaces = 1.0);
    let client = bench.datagrams("127.0.0.1:1000");
    bench.submit_datagram(client, b"later", "127.0.0.1:1000");
    bench
        .port
        .wait(Some(NO_TIME), &mut Vec::new())
        .expect("it waits");
    assert_eq!(bench.port.in_flight(), 1, "the queue is full");
    bench.sim.set_faults(Faults::default());
    assert!(matches!(
        bench.next(RequestKind::SendDatagrams),
        Ok(Outcome::DatagramsSent(_))
    ));
    assert!(bench.sim.elapsed() >= Duration::from_millis(1));
    assert_eq!(bench.arrived(client, NO_TIME), [b"later"]);
}

#[test]
fn unix_sockets_are_found_by_their_names() {
    let mut bench = Bench::new(Sim::new(1));
    let server = bench.datagrams("unix:/server");
    let taken = bench
        .port
        .open_datagrams(&DatagramOptions::bound(address("unix:/server")));
    assert_eq!(taken.expect_err("taken").kind(), ErrorKind::AddrInUse);
    let nobody = DatagramOptions::connected(address("unix:/nobody"));
    let nobody = bench
        .port
        .open_datagrams(&nobody)
        .expect_err("nobody is there");
    assert_eq!(nobody.kind(), ErrorKind::NotFound);

    let client = bench.open_datagrams(&DatagramOptions::connected(address("unix:/server")));
    let unnamed = bench.port.local_addr(client).expect("it is open");
    assert_eq!(unnamed, UnixAddress::unnamed().into());
    assert_eq!(
        bench.port.peer_addr(client).ok(),
        Some(address("unix:/server"))
    );
    assert!(
        bench
            .send_datagram(client, b"hello", "unix:/server")
            .is_none()
    );
    assert_eq!(bench.arrived(server, NO_TIME), [b"hello"]);
    let lost = bench.send_datagram(client, b"hello", "unix:/nobody");
    let lost = lost.expect("nobody is there");
    assert_eq!(lost.peer, Some(address("unix:/nobody")));
}
