//! UDP sockets: packet information, both families at once, broadcast and multicast.

use std::cell::Cell;
use std::io;
#[cfg(unix)]
use std::net::UdpSocket;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tidewaiter::endpoint::ToEndpoint;
use tidewaiter::port::{
    Datagram, DatagramOptions, Ecn, Multicast, NetworkInterface, PacketInfo, PortKind,
};
use tidewaiter::{DatagramTransport, Error, Reactor};

use super::datagrams::{Client, Echo, Silent, With, echo, ip_of, with_datagrams};
use super::support::{any_port, run_clean};

/// Whether the machine has IPv6.
fn has_v6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// Has a socket at `address` receive one datagram, and returns what the packet says.
fn info_at(address: &str) -> Option<PacketInfo> {
    info_of(address, |reactor, server| {
        let client = reactor.connect_udp(server, Silent);
        client.expect("it connects").send(b"hello");
    })
}

/// Has a socket at `address` receive the datagram that `send` sends there, and returns what the packet says.
fn info_of(address: &str, send: impl FnOnce(&Reactor, SocketAddr)) -> Option<PacketInfo> {
    let reactor = with_datagrams()?;
    let address: SocketAddr = address.parse().expect("an address");
    let mut options = DatagramOptions::bound(address);
    options.packet_info = true;
    let told = Rc::new(Cell::new(None));
    let note = Rc::clone(&told);
    let check = With(
        move |transport: &DatagramTransport, datagram: &Datagram<'_>| {
            note.set(datagram.packet_info().copied());
            transport.reactor().stop();
        },
    );
    let server = match reactor.listen_udp(options, check) {
        Err(Error::Datagrams { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
            return None;
        }
        server => server.expect("it listens"),
    };
    send(&reactor, ip_of(&server));
    run_clean(&reactor);
    Some(told.get().expect("it was asked for"))
}

#[test]
fn packet_information_tells_where_a_datagram_was_sent() {
    let addresses = ["127.0.0.1:0", "[::1]:0"];
    for address in &addresses[..1 + usize::from(has_v6())] {
        let Some(info) = info_at(address) else { return };
        let ip = address.parse::<SocketAddr>().expect("an address").ip();
        assert_eq!(info.destination, Some(ip));
        assert!(info.interface.is_some());
        assert_eq!(info.ecn.unwrap_or(Ecn::NotCapable), Ecn::NotCapable);
    }
}

/// Goal: what the sender or the network wrote into a packet about congestion is told, in both families.
#[cfg(unix)]
#[test]
fn packet_information_tells_of_congestion() {
    if crate::SIMULATED {
        return;
    }
    let marks = [
        Ecn::NotCapable,
        Ecn::Capable1,
        Ecn::Capable0,
        Ecn::Congested,
    ];
    let addresses = ["127.0.0.1:0", "[::1]:0"];
    for address in &addresses[..1 + usize::from(has_v6())] {
        for (mark, class) in marks.into_iter().zip(0..) {
            let info = info_of(address, |_, server| {
                let sender = UdpSocket::bind(*address).expect("a free port");
                let options = socket2::SockRef::from(&sender);
                let marked = match server {
                    SocketAddr::V4(_) => options.set_tos_v4(class),
                    SocketAddr::V6(_) => options.set_tclass_v6(class),
                };
                marked.expect("any program may do that");
                sender.send_to(b"hello", server).expect("it is sent");
            });
            let info = info.expect("this system has datagrams");
            assert_eq!(info.ecn, Some(mark), "{address}");
        }
    }
}

#[test]
fn one_socket_serves_both_families() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    if !has_v6() {
        return;
    }
    let any: SocketAddr = "[::]:0".parse().expect("an address");
    let mut options = DatagramOptions::bound(any);
    options.only_v6 = false;
    let server = reactor.listen_udp(options, Echo).expect("it listens");
    let port = ip_of(&server).port();
    let client = Client::new(2);
    for ip in ["127.0.0.1", "::1"] {
        let ip: IpAddr = ip.parse().expect("an address");
        let peer = SocketAddr::new(ip, port);
        let transport = reactor.connect_udp(peer, client.clone());
        transport
            .expect("it connects")
            .send(ip.to_string().as_bytes());
    }
    run_clean(&reactor);
    let mut log = client.log.take();
    log.retain(|event| event.starts_with("received"));
    log.sort();
    assert_eq!(log, ["received 127.0.0.1", "received ::1"]);
}

/// A socket must be allowed to broadcast. Whether the network takes the datagram then is another matter.
#[test]
fn a_broadcast_must_be_allowed() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    if reactor.port_info().kind == PortKind::Sim {
        return;
    }
    let everybody: SocketAddr = "255.255.255.255:9".parse().expect("an address");
    let client = Client::new(1);
    let any: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let transport = reactor.listen_udp(any, client.clone());
    transport
        .expect("it listens")
        .send_to(b"all", &everybody.into());
    run_clean(&reactor);
    let told = &client.log.take()[1];
    let refused = ["error PermissionDenied", "error NetworkUnreachable"];
    assert!(refused.contains(&told.as_str()), "{told}");
}

/// Two sockets of one group on the loopback interface; `None` where the OS has no multicast there.
fn members(reactor: &Reactor, source: Option<IpAddr>) -> Option<(DatagramTransport, Client)> {
    let group = Ipv4Addr::new(232, 7, 8, 9).into();
    let loopback = NetworkInterface::Address(Ipv4Addr::LOCALHOST);
    let any: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let mut options = DatagramOptions::bound(any);
    options.reuse_address = true;
    let member = Client::new(2);
    let first = reactor.listen_udp(options.clone(), member.clone());
    let first = first.expect("it listens");
    let port = ip_of(&first).port();
    options.local = Some((Ipv4Addr::UNSPECIFIED, port).to_endpoint());
    let second = reactor
        .listen_udp(options, member.clone())
        .expect("it shares the address");
    for transport in [&first, &second] {
        let join = Multicast::Join {
            group,
            source,
            interface: loopback,
        };
        transport.set_multicast(join).ok()?;
    }
    Some((first, member))
}

fn reaches_members(source: Option<IpAddr>) {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let Some((first, member)) = members(&reactor, source) else {
        reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
        return run_clean(&reactor);
    };
    let loopback = NetworkInterface::Address(Ipv4Addr::LOCALHOST);
    let group = SocketAddr::from(([232, 7, 8, 9], ip_of(&first).port()));
    let sender = reactor.listen_udp(any_port(), Silent).expect("it listens");
    for change in [
        Multicast::Interface(loopback),
        Multicast::Loopback(true),
        Multicast::Hops(0),
    ] {
        sender.set_multicast(change).expect("the OS takes it");
    }
    sender.send_to(b"all members", &group.into());
    run_clean(&reactor);
    let mut log = member.log.take();
    log.retain(|event| event.starts_with("received"));
    assert_eq!(log, ["received all members"; 2]);
}

#[test]
fn a_multicast_datagram_reaches_all_members() {
    reaches_members(None);
}

#[test]
fn a_multicast_datagram_of_the_source_reaches_all_members() {
    reaches_members(Some(Ipv4Addr::LOCALHOST.into()));
}

#[test]
fn what_is_set_for_groups_is_told() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let socket = reactor.listen_udp(any_port(), Silent).expect("it listens");
    let told = socket.multicast_settings().expect("it is a UDP socket");
    assert_eq!(
        (told.loopback, told.hops, told.interface),
        (true, 1, NetworkInterface::Any)
    );
    let mut changes = vec![Multicast::Loopback(false), Multicast::Hops(7)];
    let loopback = NetworkInterface::Address(Ipv4Addr::LOCALHOST);
    // The index of the loopback interface, on Linux.
    let interfaces = [NetworkInterface::Index(1), loopback, NetworkInterface::Any];
    changes.extend(interfaces.map(Multicast::Interface));
    for change in changes {
        let set = socket.set_multicast(change);
        let told = socket.multicast_settings().expect("it is a UDP socket");
        match change {
            Multicast::Loopback(on) => assert_eq!(told.loopback, on),
            Multicast::Hops(count) => assert_eq!(told.hops, count),
            Multicast::Interface(interface) if set.is_ok() => {
                assert_eq!(told.interface, interface);
            }
            // Not every system has an interface of this number.
            _ => assert_eq!(change, Multicast::Interface(NetworkInterface::Index(1))),
        }
    }
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    run_clean(&reactor);
}

#[test]
fn a_group_is_left_once() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let (server, _) = echo(&reactor);
    let loopback = NetworkInterface::Address(Ipv4Addr::LOCALHOST);
    let group = Ipv4Addr::new(239, 1, 2, 3).into();
    if server.join_multicast(group, loopback).is_ok() {
        let again = server.join_multicast(group, loopback);
        again.expect_err("it has joined already");
        server.leave_multicast(group, loopback).expect("it joined");
        let again = server.leave_multicast(group, loopback);
        again.expect_err("it has left already");
    }
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    run_clean(&reactor);
}
