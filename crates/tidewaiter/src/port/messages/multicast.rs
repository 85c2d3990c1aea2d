//! Multicast groups.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use libc::c_int;
use socket2::{Domain, SockAddr, Socket};

use super::super::admission::invalid;
use super::super::datagram::{Multicast, NetworkInterface};
use super::option::set_option;

/// Makes the change on a UDP socket.
pub(super) fn set_multicast(socket: &Socket, change: Multicast) -> io::Result<()> {
    let domain = socket.local_addr()?.domain();
    let is_v6 = match domain {
        Domain::IPV6 => true,
        Domain::IPV4 => false,
        _ => return Err(invalid("only UDP sockets join multicast groups")),
    };
    match change {
        Multicast::Join {
            group,
            source,
            interface,
        } => change_membership(socket, true, group, source, interface),
        Multicast::Leave {
            group,
            source,
            interface,
        } => change_membership(socket, false, group, source, interface),
        Multicast::Loopback(on) if is_v6 => socket.set_multicast_loop_v6(on),
        Multicast::Loopback(on) => socket.set_multicast_loop_v4(on),
        Multicast::Hops(count) if is_v6 => socket.set_multicast_hops_v6(count.into()),
        Multicast::Hops(count) => socket.set_multicast_ttl_v4(count.into()),
        Multicast::Interface(interface) if is_v6 => socket.set_multicast_if_v6(interface.index()?),
        Multicast::Interface(interface) => set_interface_v4(socket, interface),
    }
}

fn change_membership(
    socket: &Socket,
    join: bool,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: NetworkInterface,
) -> io::Result<()> {
    match (group, source) {
        (_, Some(source)) if group.is_ipv4() != source.is_ipv4() => Err(invalid(
            "the group and its source are of different families",
        )),
        (IpAddr::V4(group), Some(IpAddr::V4(source))) => match interface {
            NetworkInterface::Address(address) if join => {
                socket.join_ssm_v4(&source, &group, &address)
            }
            NetworkInterface::Address(address) => socket.leave_ssm_v4(&source, &group, &address),
            other => change_source(socket, join, group.into(), source.into(), other),
        },
        (group, Some(source)) => change_source(socket, join, group, source, interface),
        (IpAddr::V4(group), None) => {
            let interface = interface.for_v4();
            if join {
                socket.join_multicast_v4_n(&group, &interface)
            } else {
                socket.leave_multicast_v4_n(&group, &interface)
            }
        }
        (IpAddr::V6(group), None) if join => socket.join_multicast_v6(&group, interface.index()?),
        (IpAddr::V6(group), None) => socket.leave_multicast_v6(&group, interface.index()?),
    }
}

/// Joins or leaves a group for one source, by the interface's index.
fn change_source(
    socket: &Socket,
    join: bool,
    group: IpAddr,
    source: IpAddr,
    interface: NetworkInterface,
) -> io::Result<()> {
    let level = if group.is_ipv4() {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    };
    let option: c_int = if join {
        libc::MCAST_JOIN_SOURCE_GROUP
    } else {
        libc::MCAST_LEAVE_SOURCE_GROUP
    };
    let request = libc::group_source_req {
        gsr_interface: interface.index()?,
        gsr_group: storage(group),
        gsr_source: storage(source),
    };
    set_option(socket, level, option, &request)
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(std::net::SocketAddr::new(address, 0));
    // SAFETY: zeros are a valid value of this structure, which is plain numbers.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let (from, to) = (
        address.as_ptr().cast::<u8>(),
        (&raw mut storage).cast::<u8>(),
    );
    // SAFETY: the address has `len` bytes, and a `sockaddr_storage` has room for each kind of address.
    unsafe { to.copy_from_nonoverlapping(from, address.len() as usize) };
    storage
}

fn set_interface_v4(socket: &Socket, interface: NetworkInterface) -> io::Result<()> {
    match interface {
        NetworkInterface::Any => socket.set_multicast_if_v4(&Ipv4Addr::UNSPECIFIED),
        NetworkInterface::Address(address) => socket.set_multicast_if_v4(&address),
        NetworkInterface::Index(index) => {
            let request = libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: 0 },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: index.cast_signed(),
            };
            set_option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
        }
    }
}
