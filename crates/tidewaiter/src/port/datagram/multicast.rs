//! Multicast: which groups a socket receives, and how it sends to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::InterfaceIndexOrAddress;

/// A change to what a UDP socket receives from or sends to multicast groups: see
/// [`Port::set_multicast`](crate::port::Port::set_multicast).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Multicast {
    /// Receives what is sent to the group, on an interface.
    Join {
        /// The group's address.
        group: IpAddr,
        /// Only what this host sends (source-specific multicast); `None`: all senders.
        source: Option<IpAddr>,
        /// The interface to receive on.
        interface: NetworkInterface,
    },
    /// Undoes a `Join` of the same fields.
    Leave {
        /// The group's address.
        group: IpAddr,
        /// The source of the join.
        source: Option<IpAddr>,
        /// The interface of the join.
        interface: NetworkInterface,
    },
    /// Whether sockets on this machine receive what this one sends to groups that they joined: true by default. On
    /// Windows, the receiving socket's choice counts.
    Loopback(bool),
    /// How many networks a datagram to a group may pass: 1 by default, which leaves it in the local network.
    Hops(u8),
    /// The interface on which datagrams to groups leave.
    Interface(NetworkInterface),
}

/// A network interface of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkInterface {
    /// The one that the OS chooses by its routes.
    #[default]
    Any,
    /// The one with this index.
    Index(u32),
    /// The one with this address; for IPv4 groups only.
    Address(Ipv4Addr),
}

impl NetworkInterface {
    /// The index for a call that takes no address; 0 stands for any interface.
    pub(in crate::port) fn index(self) -> io::Result<u32> {
        match self {
            NetworkInterface::Any => Ok(0),
            NetworkInterface::Index(index) => Ok(index),
            NetworkInterface::Address(_) => {
                let message = "only IPv4 groups take the address of an interface";
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The interface for a call on an IPv4 group.
    pub(in crate::port) fn for_v4(self) -> InterfaceIndexOrAddress {
        match self {
            NetworkInterface::Any => InterfaceIndexOrAddress::Index(0),
            NetworkInterface::Index(index) => InterfaceIndexOrAddress::Index(index),
            NetworkInterface::Address(address) => InterfaceIndexOrAddress::Address(address),
        }
    }
}
