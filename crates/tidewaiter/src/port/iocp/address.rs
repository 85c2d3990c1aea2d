//! Addresses of internet sockets, as Windows writes them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::Domain;

/// Reads an address in Windows's layout: ports are in network byte order, flow labels and scope ids
/// in native order.
pub(super) fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let half = |at: usize| bytes.get(at..at + 2)?.try_into().ok();
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
    let family = i32::from(u16::from_ne_bytes(half(0)?));
    let port = u16::from_be_bytes(half(2)?);
    if family == i32::from(Domain::IPV4) {
        let address: [u8; 4] = word(4)?;
        return Some(SocketAddr::from((Ipv4Addr::from(address), port)));
    }
    if family == i32::from(Domain::IPV6) {
        let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let flow = u32::from_ne_bytes(word(4)?);
        let scope = u32::from_ne_bytes(word(24)?);
        let address = std::net::SocketAddrV6::new(Ipv6Addr::from(address), port, flow, scope);
        return Some(address.into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{SocketAddr, socket_address};
    use socket2::SockAddr;

    #[test]
    fn addresses_are_read_as_the_system_writes_them() {
        for text in ["192.0.2.7:513", "[2001:db8::7]:513", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().expect("an address");
            let raw = SockAddr::from(address);
            let length = usize::try_from(raw.len()).expect("small");
            // SAFETY: the address has that many initialised bytes.
            let bytes = unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<u8>(), length) };
            assert_eq!(socket_address(bytes), Some(address));
            assert_eq!(socket_address(&bytes[..7]), None, "cut short");
        }
    }
}
