//! The parts that all users of UDP share.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::UdpSocket;

/// How long to wait for a datagram before those in flight count as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A socket that is connected to the server.
pub(crate) fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let unspecified: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((unspecified, 0).into())?;
    socket.connect(address)?;
    Ok(socket)
}

/// The number at the beginning of a datagram.
pub(crate) fn number_of(datagram: &[u8]) -> Option<u64> {
    datagram.first_chunk().copied().map(u64::from_le_bytes)
}
