//! UDP sockets, and one-way streams of datagrams.
//!
//! A one-way stream loses nothing: the receiver acknowledges each batch, and the sender has at most two batches in flight.
//! An acknowledgement is a datagram with the number of all datagrams received so far. The load program begins a
//! stream from us by the acknowledgement of none.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::{system, tell};

/// The name of the workload that echoes datagrams, before the number of its sockets.
pub(crate) const ECHO_NAME: &str = "udp-echo-";
/// Size of a datagram of a one-way stream: what fits everywhere on the Internet, as QUIC assumes.
pub const DATAGRAM_BYTES: usize = 1200;
/// Number of datagrams that are sent, and acknowledged, at once.
pub const BATCH: usize = 40;
/// Number of datagrams in flight. As many fit into the default receive buffer of Linux, even one by one.
const WINDOW: u64 = 2 * BATCH as u64;
/// Size of a buffer for the largest datagram, or for several that the kernel has coalesced.
pub const COALESCED_BYTES: usize = 64 * 1024;

pub(crate) fn sockets_of(name: &str) -> u32 {
    let number = name.strip_prefix(ECHO_NAME);
    let number = number.and_then(|number| number.parse().ok());
    number.expect("the workload names the number of sockets")
}

/// Chooses the addresses of a server's sockets: one port, and for each socket an address of the loopback.
#[derive(Debug)]
pub struct Addresses {
    port: u16,
    before_kib: f64,
}

impl Addresses {
    /// To be called before the first socket is opened, whose address this returns too.
    #[must_use]
    pub fn begin() -> (Addresses, SocketAddr) {
        let addresses = Addresses {
            port: 0,
            before_kib: system::bytes() / 1024.0,
        };
        (addresses, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The addresses of the further sockets, given that of the first one. Reports that the server listens, when the
    /// iterator has ended.
    pub fn further(mut self, first: SocketAddr, sockets: u32) -> impl Iterator<Item = SocketAddr> {
        self.port = first.port();
        (1..=sockets).map_while(move |number| {
            if number == sockets {
                tell::sockets(&format!("udp:{first}"), self.before_kib);
                return None;
            }
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number);
            Some((ip, self.port).into())
        })
    }
}

/// Opens the sockets of a server, and reports its address.
///
/// # Errors
///
/// Errors of the OS.
pub fn sockets(count: u32) -> io::Result<Vec<UdpSocket>> {
    let (addresses, first) = Addresses::begin();
    let first = bound(first)?;
    let further = addresses.further(first.local_addr()?, count);
    let further: io::Result<Vec<_>> = further.map(bound).collect();
    let mut sockets = vec![first];
    sockets.extend(further?);
    Ok(sockets)
}

fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The receiving end of a one-way stream.
#[derive(Debug, Default)]
pub struct Received {
    datagrams: u64,
}

impl Received {
    /// Counts a received datagram. Returns the acknowledgement to send, if there is to be one now.
    pub fn add(&mut self, datagram: &[u8]) -> Option<[u8; 8]> {
        // The load program may still send acknowledgements of nothing.
        self.datagrams += u64::from(datagram.len() == DATAGRAM_BYTES);
        self.datagrams
            .is_multiple_of(BATCH as u64)
            .then(|| self.datagrams.to_le_bytes())
    }
}

/// The sending end of a one-way stream.
#[derive(Debug, Default)]
pub struct Window {
    sent: u64,
    acknowledged: u64,
}

impl Window {
    /// Handles an acknowledgement.
    pub fn acknowledge(&mut self, datagram: &[u8]) {
        let number = datagram.first_chunk().copied().map(u64::from_le_bytes);
        self.acknowledged = self.acknowledged.max(number.unwrap_or(0));
    }

    /// Whether to send another batch. Counts it as sent if so.
    pub fn takes_a_batch(&mut self) -> bool {
        let takes = self.sent + BATCH as u64 <= self.acknowledged + WINDOW;
        if takes {
            self.sent += BATCH as u64;
        }
        takes
    }
}
