//! Multicast groups.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use libc::c_int;
use socket2::{SockAddr, Socket};

use super::super::datagram::{MulticastCalls, NetworkInterface};
use super::option::set_option;

pub(super) const CALLS: MulticastCalls = MulticastCalls {
    change_source,
    set_interface_v4,
};

/// Joins or leaves a group for one source.
fn change_source(
    socket: &Socket,
    join: bool,
    group: IpAddr,
    source: IpAddr,
    interface: NetworkInterface,
) -> io::Result<()> {
    match (group, source, interface) {
        (IpAddr::V4(group), IpAddr::V4(source), NetworkInterface::Address(address)) => match join {
            true => socket.join_ssm_v4(&source, &group, &address),
            false => socket.leave_ssm_v4(&source, &group, &address),
        },
        _ => change_source_by_index(socket, join, group, source, interface),
    }
}

/// Joins or leaves a group for one source, by the interface's index.
fn change_source_by_index(
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
