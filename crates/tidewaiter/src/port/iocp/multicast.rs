//! Multicast groups, and the peer of a datagram socket, on Windows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket};
use windows_sys::Win32::Networking::WinSock::{
    IP_MULTICAST_IF, IPPROTO_IP, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP,
};

use super::call::set_option;
use crate::os::Address;
use crate::port::control::os_address;
use crate::port::datagram::{MulticastCalls, NetworkInterface};

/// Connects the socket to `peer`, or takes back the connection.
pub(super) fn set_peer(socket: &Socket, peer: Option<&Address>) -> io::Result<()> {
    let address = match peer {
        Some(peer) => os_address(peer)?,
        // The zero address takes the connection back.
        None if is_v6(socket)? => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into(),
        None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
    };
    socket.connect(&address)
}

pub(super) const CALLS: MulticastCalls = MulticastCalls {
    change_source,
    set_interface_v4,
};

fn set_interface_v4(socket: &Socket, interface: NetworkInterface) -> io::Result<()> {
    let bytes = v4_number(interface).octets();
    set_option(socket, IPPROTO_IP, IP_MULTICAST_IF, &bytes)
}

/// The interface as Windows tells it: an index is told from an address by its first byte, which is zero.
fn v4_number(interface: NetworkInterface) -> Ipv4Addr {
    match interface {
        NetworkInterface::Any => Ipv4Addr::UNSPECIFIED,
        NetworkInterface::Address(address) => address,
        NetworkInterface::Index(index) => Ipv4Addr::from(index),
    }
}

fn is_v6(socket: &Socket) -> io::Result<bool> {
    Ok(socket.local_addr()?.domain() == Domain::IPV6)
}

/// Joins or leaves a group for one source.
fn change_source(
    socket: &Socket,
    join: bool,
    group: IpAddr,
    source: IpAddr,
    interface: NetworkInterface,
) -> io::Result<()> {
    match (group, source) {
        (IpAddr::V4(group), IpAddr::V4(source)) => {
            let interface = v4_number(interface);
            match join {
                true => socket.join_ssm_v4(&source, &group, &interface),
                false => socket.leave_ssm_v4(&source, &group, &interface),
            }
        }
        (IpAddr::V6(group), IpAddr::V6(source)) => {
            let option = match join {
                true => MCAST_JOIN_SOURCE_GROUP,
                false => MCAST_LEAVE_SOURCE_GROUP,
            };
            let request = source_request(interface.index()?, group, source);
            set_option(socket, IPPROTO_IPV6, option.cast_signed(), &request)
        }
        _ => unreachable!("the group and its source are of one family"),
    }
}

/// The size of a `SOCKADDR_STORAGE`.
const STORAGE_BYTES: usize = 128;
/// The interface's number, and the padding behind it.
const INTERFACE_BYTES: usize = 8;

/// A `GROUP_SOURCE_REQ`: an interface, a group and a source.
fn source_request(
    interface: u32,
    group: Ipv6Addr,
    source: Ipv6Addr,
) -> [u8; INTERFACE_BYTES + 2 * STORAGE_BYTES] {
    let mut request = [0; INTERFACE_BYTES + 2 * STORAGE_BYTES];
    request[..4].copy_from_slice(&interface.to_ne_bytes());
    for (at, ip) in [(0, group), (1, source)] {
        let storage = &mut request[INTERFACE_BYTES + at * STORAGE_BYTES..];
        let family = u16::try_from(i32::from(Domain::IPV6)).expect("families are small");
        storage[..2].copy_from_slice(&family.to_ne_bytes());
        storage[8..24].copy_from_slice(&ip.octets());
    }
    request
}

#[cfg(test)]
mod tests {
    use super::{INTERFACE_BYTES, STORAGE_BYTES, source_request};
    use std::mem::offset_of;
    use std::net::Ipv6Addr;
    use windows_sys::Win32::Networking::WinSock::{AF_INET6, GROUP_SOURCE_REQ, SOCKADDR_IN6};

    #[test]
    fn a_request_for_a_source_has_the_systems_layout() {
        assert_eq!(offset_of!(GROUP_SOURCE_REQ, gsr_group), INTERFACE_BYTES);
        let source = INTERFACE_BYTES + STORAGE_BYTES;
        assert_eq!(offset_of!(GROUP_SOURCE_REQ, gsr_source), source);
        let request = source_request(7, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        assert_eq!(request.len(), size_of::<GROUP_SOURCE_REQ>());
        assert_eq!(request[..4], 7_u32.to_ne_bytes());
        let family = INTERFACE_BYTES + offset_of!(SOCKADDR_IN6, sin6_family);
        assert_eq!(request[family..][..2], AF_INET6.to_ne_bytes());
        let address = INTERFACE_BYTES + offset_of!(SOCKADDR_IN6, sin6_addr);
        assert_eq!(request[address..][..16], Ipv6Addr::LOCALHOST.octets());
    }
}
