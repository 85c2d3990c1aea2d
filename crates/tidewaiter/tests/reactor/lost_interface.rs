//! A network interface that goes away while sockets use it: they are told, and go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tidewaiter::port::{Datagram, DatagramError, Multicast, NetworkInterface};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor};

use super::promises::datagrams::{Silent, ip_of};
use super::promises::support::{Log, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::system::{fork, join, own_network};

const NAME: &str = "tw-lost";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

/// Runs the system's `ip`; returns whether that was possible.
fn ip(words: &str) -> bool {
    let status = Command::new("ip").args(words.split(' ')).status();
    status.is_ok_and(|status| status.success())
}

/// Makes a network with one interface beside the loopback, for this process alone. Returns the number of the interface.
#[expect(clippy::print_stderr, reason = "tells what is not tested")]
fn network() -> Option<u32> {
    if let Err(error) = own_network() {
        eprintln!("skipped: no network of our own: {error}");
        return None;
    }
    // Kernels differ in the kinds that they have.
    let kinds = ["dummy", "bridge"];
    if !kinds
        .iter()
        .any(|kind| ip(&format!("link add {NAME} type {kind}")))
    {
        eprintln!("skipped: the system makes no interface");
        return None;
    }
    let steps = [
        "link set lo up".to_owned(),
        format!("address add {ADDRESS}/24 dev {NAME}"),
        format!("link set {NAME} up"),
    ];
    for step in steps {
        assert!(ip(&step), "ip {step}");
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("the loopback is up");
    let index = rustix::net::netdevice::name_to_index(&socket, NAME);
    Some(index.expect("it was made"))
}

/// A member of the group. Takes the interface away once a datagram has come over it.
struct Member {
    log: Log,
    interface: NetworkInterface,
    /// Sends over the interface, and bound to its address.
    sender: DatagramTransport,
}

impl DatagramProtocol for Member {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        self.log.add(String::from_utf8_lossy(datagram));
        if datagram.starts_with(b"still there") {
            return transport.reactor().stop();
        }
        assert!(ip(&format!("link delete {NAME}")), "it was there");
        let port = ip_of(transport).port();
        // Whether the system has forgotten the membership by now, nothing is harmed.
        let _ = transport.leave_multicast(GROUP.into(), self.interface);
        let again = transport.join_multicast(GROUP.into(), self.interface);
        again.expect_err("there is no such interface");
        self.sender.send_to(b"lost", &(GROUP, port).into());
        self.sender.send_to(b"lost, too", &(ADDRESS, port).into());
        // From another socket, because the sender's address is gone.
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let other = transport.reactor().listen_udp(local, Silent);
        let other = other.expect("the loopback is up");
        other.send_to(b"still there", &(Ipv4Addr::LOCALHOST, port).into());
    }
}

/// Notes errors.
struct Sender(Log);

impl DatagramProtocol for Sender {
    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        assert!(error.peer.is_some(), "{error:?}");
        self.0.add("told");
    }
}

fn lose_the_interface(index: u32) {
    let (reactor, log, errors) = (reactor(), Log::default(), Log::default());
    let interface = NetworkInterface::Index(index);
    let sender = reactor.listen_udp(SocketAddr::from((ADDRESS, 0)), Sender(errors.clone()));
    let sender = sender.expect("the address is ours");
    let leaves = sender.set_multicast(Multicast::Interface(interface));
    leaves.expect("it is there");
    let member = Member {
        log: log.clone(),
        interface,
        sender: sender.clone(),
    };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let member = reactor.listen_udp(any, member).expect("a free port");
    let joined = member.join_multicast(GROUP.into(), interface);
    joined.expect("it is there");
    let group = (GROUP, ip_of(&member).port());
    let first = sender.clone();
    reactor.call_when_running(move |_: &Reactor| first.send_to(b"before", &group.into()));
    run_clean(&reactor);
    assert_eq!(log.take(), ["before", "still there"]);
    let told = errors.take();
    assert!(!told.is_empty(), "what cannot be sent is told");
}

/// Goal: a socket that has joined a group on the interface still receives from others, one that is bound to its address
/// is told that nothing can be sent, and neither ends.
#[test]
fn a_lost_interface_ends_no_socket() {
    alone(module_path!(), "a_lost_interface_ends_no_socket", || {
        // A copy of the process has one thread, as a user without rights needs it to have a network of its own.
        join(fork(|| {
            if let Some(index) = network() {
                lose_the_interface(index);
            }
        }));
    });
}
