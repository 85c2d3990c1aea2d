//! Datagrams: which receives hold memory, what a peek tells, and sends that wait for room.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{close, only, port, some};
use crate::os::Address;
use crate::port::calls::{Control, Open};
use crate::port::iocp::Iocp;
use crate::port::iocp::pending::Pending;
use crate::port::iocp::traffic::IDLE_TURNS;
use crate::port::named_calls::NamedCalls;
use crate::port::{
    DatagramBatch, DatagramOptions, Driver, Failure, Handle, Multicast, NetworkInterface,
    Operation, Outcome, Request, RequestKind, Token,
};

/// Each receive of a busy socket, as the module has it.
const POSTED: usize = 2;

/// A socket on the port that receives, and one that sends to it.
struct Pair {
    handle: Handle,
    receive: Operation,
    peer: UdpSocket,
}

impl Pair {
    fn open(port: &mut Iocp) -> Pair {
        let (handle, address) = open(port);
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        peer.connect(address).expect("it is ours");
        let request = Request::ReceiveDatagrams;
        let submitted = port.submit(handle, request, Token(1));
        Pair {
            handle,
            receive: submitted.expect("it receives nothing yet"),
            peer,
        }
    }

    /// Sends datagrams of one byte, and waits for each.
    fn exchange(&self, port: &mut Iocp, count: u8) {
        for number in 0..count {
            self.peer.send(&[number]).expect("it is connected");
            assert_eq!(received(port), [[number]]);
        }
    }

    /// The number of records that Windows holds for the receive, and of those with memory.
    fn lent(&self, port: &mut Iocp) -> (usize, bool) {
        // The records of the last datagrams are posted again during a wait.
        let mut none = Vec::new();
        port.wait(Some(Duration::ZERO), &mut none)
            .expect("it waits");
        assert!(none.is_empty(), "{none:?}");
        let entry = port.handles.get(self.handle.0).expect("it is open");
        (entry.lent_records.len(), entry.eager_index.is_some())
    }
}

fn open(port: &mut Iocp) -> (Handle, SocketAddr) {
    let options = DatagramOptions::bound((Ipv4Addr::LOCALHOST, 0));
    let handle = port.open(Open::Datagrams(&options)).expect("a free port");
    let address = port.local_addr(handle).expect("it is bound");
    (handle, address.socket_addr().expect("an IP address"))
}

/// The datagrams of the next completions, which must bring some.
fn received(port: &mut Iocp) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    for completion in some(port) {
        match completion.result {
            Ok(Outcome::Datagrams(datagrams)) => {
                received.extend(datagrams.iter().map(|datagram| datagram.bytes().to_vec()));
            }
            other => panic!("a receive came to {other:?}"),
        }
    }
    received
}

#[test]
fn an_idle_socket_waits_without_memory_and_a_busy_one_posts_several_receives() {
    let mut port = port();
    let pair = Pair::open(&mut port);
    assert_eq!(pair.lent(&mut port), (1, false), "it waits");
    pair.exchange(&mut port, 20);
    assert_eq!(pair.lent(&mut port), (POSTED, true), "it is busy");
    for number in 0..100 {
        pair.peer.send(&[number]).expect("it is connected");
    }
    let mut all = Vec::new();
    while all.len() < 100 {
        all.extend(received(&mut port));
    }
    let sent: Vec<Vec<u8>> = (0..100).map(|number| vec![number]).collect();
    assert_eq!(all, sent, "in order");
    close(&mut port, pair.handle);
    assert_eq!(
        (port.in_flight(), port.open_handles(), port.stale()),
        (0, 0, 0)
    );
    assert!(port.receive_memory.next_idle().is_none());
}

/// Goal: a busy socket takes the memory of one that has become idle, which loses nothing by that.
/// Method: leave room for one socket only.
#[test]
fn an_idle_socket_gives_its_memory_to_a_busy_one() {
    let mut port = port();
    port.receive_memory.eager_bytes_max = POSTED * 64 * 1024;
    let (first, second) = (Pair::open(&mut port), Pair::open(&mut port));
    first.exchange(&mut port, 20);
    assert_eq!(first.lent(&mut port), (POSTED, true));
    second.exchange(&mut port, 20);
    assert_eq!(second.lent(&mut port), (1, false), "there is no room");
    port.receive_memory.turns += IDLE_TURNS + 1;
    // The second is busy only if it was so just now.
    second.exchange(&mut port, 20);
    assert_eq!(first.lent(&mut port), (1, false), "it was idle");
    assert_eq!(second.lent(&mut port), (POSTED, true));
    first.exchange(&mut port, 3);
    second.exchange(&mut port, 3);
    port.cancel(first.receive);
    only_cancelled(&mut port, first.receive);
}

fn only_cancelled(port: &mut Iocp, operation: Operation) {
    let result = only(port, operation);
    assert!(matches!(result, Err(Failure::Cancelled)), "{result:?}");
}

#[test]
fn a_port_that_is_dropped_takes_posted_receives_back() {
    let mut port = port();
    let pairs = [(); 3].map(|()| Pair::open(&mut port));
    for pair in &pairs[1..] {
        pair.exchange(&mut port, 10);
    }
    pairs[2].peer.send(b"never seen").expect("it is connected");
    drop(port);
}

/// Goal: an error that a peek finds, and that the next call may or may not find again, is told once.
#[test]
fn a_refusal_is_told_once_and_does_not_end_the_receive() {
    let mut port = port();
    let (gone, deserted) = open(&mut port);
    close(&mut port, gone);
    let pair = Pair::open(&mut port);
    let deserted = Address::from(deserted);
    port.control(pair.handle, Control::SetPeer(Some(&deserted)))
        .expect("it is UDP");
    let mut batch = DatagramBatch::new();
    batch.push(b"hello?", None);
    let sending = port
        .submit(pair.handle, Request::SendDatagrams(batch), Token(2))
        .expect("it sends");
    let (mut told, mut sent) = (0, 0);
    while told == 0 || sent == 0 {
        for completion in some(&mut port) {
            match completion.result {
                Ok(Outcome::DatagramError(_)) if completion.more => told += 1,
                Ok(Outcome::DatagramsSent(_)) if completion.operation == sending => sent += 1,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    let mut more = Vec::new();
    port.wait(Some(Duration::from_millis(50)), &mut more)
        .expect("it waits");
    assert!(
        more.is_empty() && told == 1,
        "told {told} times, and {more:?}"
    );
    port.cancel(pair.receive);
    only_cancelled(&mut port, pair.receive);
}

/// Goal: a send that found no room is one call that waits, and tells when it is done.
/// Method: post the call although there is room, as after a full queue.
#[test]
fn a_send_that_waits_for_room_completes_with_the_rest() {
    let mut port = port();
    let pair = Pair::open(&mut port);
    let back = pair.peer.local_addr().expect("it is bound");
    let mut batch = DatagramBatch::new();
    batch.push(b"first", Some(&back.into()));
    batch.push(b"second", Some(&back.into()));
    let kind = RequestKind::SendDatagrams;
    let pending = Pending::new(pair.handle.0, Token(2), kind);
    let sending = port.operations.insert(pending);
    let entry = port.handles.get_mut(pair.handle.0).expect("it is open");
    entry.under_way.insert(kind);
    entry.operations.push(sending);
    port.in_flight += 1;
    port.wait_for_room(sending, batch);
    let result = only(&mut port, Operation(sending));
    let Ok(Outcome::DatagramsSent(rest)) = result else {
        panic!("a send came to {result:?}");
    };
    assert_eq!((rest.len(), rest.failures().len()), (1, 0));
    let mut bytes = [0; 9];
    assert_eq!(pair.peer.recv(&mut bytes).ok(), Some(5));
    assert_eq!(&bytes[..5], b"first");
}

#[test]
fn groups_are_joined_and_left() {
    let mut port = port();
    let options = DatagramOptions::bound((Ipv4Addr::UNSPECIFIED, 0));
    let receiver = port.open(Open::Datagrams(&options)).expect("a free port");
    let change = |port: &mut Iocp, change| port.control(receiver, Control::Multicast(change));
    let bound = port.local_addr(receiver).expect("it is bound");
    let number = bound.socket_addr().expect("an IP address").port();
    let group = Ipv4Addr::new(239, 255, 77, 1);
    let interface = NetworkInterface::Address(Ipv4Addr::LOCALHOST);
    let join = |source| Multicast::Join {
        group: group.into(),
        source,
        interface,
    };
    let leave = |source| Multicast::Leave {
        group: group.into(),
        source,
        interface,
    };
    change(&mut port, join(None)).expect("it joins");
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let receive = port
        .submit(receiver, Request::ReceiveDatagrams, Token(1))
        .expect("it receives nothing yet");
    sender
        .send_to(b"to all", (group, number))
        .expect("it is sent");
    assert_eq!(received(&mut port), [b"to all"]);
    change(&mut port, leave(None)).expect("it leaves");
    let source = Some(Ipv4Addr::LOCALHOST.into());
    change(&mut port, join(source)).expect("it joins");
    sender
        .send_to(b"from one", (group, number))
        .expect("it is sent");
    assert_eq!(received(&mut port), [b"from one"]);
    change(&mut port, leave(source)).expect("it leaves");
    for option in [
        Multicast::Loopback(false),
        Multicast::Hops(3),
        Multicast::Interface(interface),
        Multicast::Interface(NetworkInterface::Any),
    ] {
        change(&mut port, option).expect("it is UDP");
    }
    assert!(change(&mut port, leave(None)).is_err(), "it left");
    port.cancel(receive);
    only_cancelled(&mut port, receive);
}
