//! Multicast: which groups a socket receives, and how it sends to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::{InterfaceIndexOrAddress, Socket};

/// A change to what a UDP socket receives from or sends to multicast groups: see
/// [`Port::set_multicast`](crate::port::Port::set_multicast).
///
/// ```
/// use tidewaiter::DatagramTransport;
/// use tidewaiter::port::{Multicast, MulticastSettings, NetworkInterface};
///
/// /// Takes part in multicast DNS.
/// fn join(transport: &DatagramTransport) -> std::io::Result<MulticastSettings> {
///     transport.join_multicast([224, 0, 0, 251].into(), NetworkInterface::Any)?;
///     transport.set_multicast(Multicast::Hops(255))?;
///     transport.set_multicast(Multicast::Loopback(false))?;
///     transport.multicast_settings()
/// }
/// ```
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

/// How a UDP socket sends to multicast groups: see
/// [`Port::multicast_settings`](crate::port::Port::multicast_settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MulticastSettings {
    /// As [`Multicast::Loopback`].
    pub loopback: bool,
    /// As [`Multicast::Hops`].
    pub hops: u8,
    /// As [`Multicast::Interface`]. Of an IPv4 socket that was [adopted](crate::port::Port::adopt), Linux tells no index.
    pub interface: NetworkInterface,
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

/// The calls of a system that socket2 lacks.
pub(in crate::port) struct MulticastCalls {
    /// Joins a group for one source of the same family (`true`), or leaves it.
    pub(in crate::port) change_source:
        fn(&Socket, bool, IpAddr, IpAddr, NetworkInterface) -> io::Result<()>,
    /// Sets the interface of an IPv4 socket.
    pub(in crate::port) set_interface_v4: fn(&Socket, NetworkInterface) -> io::Result<()>,
}

impl Multicast {
    /// Makes the change on a UDP socket.
    pub(in crate::port) fn apply(
        self,
        socket: &Socket,
        is_v6: bool,
        calls: &MulticastCalls,
    ) -> io::Result<()> {
        match self {
            Multicast::Join {
                group,
                source,
                interface,
            } => change_membership(socket, true, (group, source), interface, calls),
            Multicast::Leave {
                group,
                source,
                interface,
            } => change_membership(socket, false, (group, source), interface, calls),
            Multicast::Loopback(on) if is_v6 => socket.set_multicast_loop_v6(on),
            Multicast::Loopback(on) => socket.set_multicast_loop_v4(on),
            Multicast::Hops(count) if is_v6 => socket.set_multicast_hops_v6(count.into()),
            Multicast::Hops(count) => socket.set_multicast_ttl_v4(count.into()),
            Multicast::Interface(interface) if is_v6 => {
                socket.set_multicast_if_v6(interface.index()?)
            }
            Multicast::Interface(interface) => (calls.set_interface_v4)(socket, interface),
        }
    }
}

fn change_membership(
    socket: &Socket,
    join: bool,
    (group, source): (IpAddr, Option<IpAddr>),
    interface: NetworkInterface,
    calls: &MulticastCalls,
) -> io::Result<()> {
    match (group, source) {
        (_, Some(source)) if group.is_ipv4() != source.is_ipv4() => {
            let message = "the group and its source are of different families";
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
        (group, Some(source)) => (calls.change_source)(socket, join, group, source, interface),
        (IpAddr::V4(group), None) if join => {
            socket.join_multicast_v4_n(&group, &interface.for_v4())
        }
        (IpAddr::V4(group), None) => socket.leave_multicast_v4_n(&group, &interface.for_v4()),
        (IpAddr::V6(group), None) if join => socket.join_multicast_v6(&group, interface.index()?),
        (IpAddr::V6(group), None) => socket.leave_multicast_v6(&group, interface.index()?),
    }
}

impl MulticastSettings {
    /// Asks a UDP socket of the OS.
    pub(in crate::port) fn of(socket: &Socket, is_v6: bool) -> io::Result<MulticastSettings> {
        let (loopback, hops) = match is_v6 {
            true => (socket.multicast_loop_v6()?, socket.multicast_hops_v6()?),
            false => (socket.multicast_loop_v4()?, socket.multicast_ttl_v4()?),
        };
        let index = |index| match index {
            0 => NetworkInterface::Any,
            index => NetworkInterface::Index(index),
        };
        let interface = match is_v6 {
            true => index(socket.multicast_if_v6()?),
            false => match socket.multicast_if_v4()? {
                // Windows tells an index in this form.
                address if address.octets()[0] == 0 => index(address.to_bits()),
                address => NetworkInterface::Address(address),
            },
        };
        Ok(MulticastSettings {
            loopback,
            hops: u8::try_from(hops).unwrap_or(u8::MAX),
            interface,
        })
    }
}
