//! Control messages: what Windows tells about a datagram besides its bytes and sender, and what it is told.
//!
//! A list of them is plain memory: each message has a header (its length, a level and a type) and data, and begins at a
//! multiple of the size of a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windows_sys::Win32::Networking::WinSock::{
    CMSGHDR, IN_PKTINFO, IN6_PKTINFO, IP_ECN, IP_PKTINFO, IP_TOS, IPPROTO_IP, IPPROTO_IPV6,
    IPPROTO_UDP, IPV6_ECN, IPV6_PKTINFO, IPV6_TCLASS, UDP_SEND_MSG_SIZE,
};

use crate::port::datagram::{Ecn, PacketInfo};

/// The size of a message's header. Its data follows at once: the header ends at a multiple of a word.
const HEADER_BYTES: usize = size_of::<CMSGHDR>();
const WORD_BYTES: usize = size_of::<usize>();

const _: () = assert!(HEADER_BYTES.is_multiple_of(WORD_BYTES));

/// Room for all that Windows tells about one datagram. A socket for both families may get the messages of both.
pub(super) const RECEIVED_BYTES: usize =
    space(size_of::<IN_PKTINFO>()) + space(size_of::<IN6_PKTINFO>()) + 2 * space(size_of::<i32>());

/// The bytes that a message with this much data takes.
const fn space(data: usize) -> usize {
    HEADER_BYTES + data.next_multiple_of(WORD_BYTES)
}

/// Reads the control messages of a received datagram. Ignores messages of other types, and all that follows a broken one.
pub(super) fn read(mut list: &[u8]) -> PacketInfo {
    let mut info = PacketInfo::default();
    while let Some((header, _)) = list.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from_ne_bytes(part(header, 0));
        let level = i32::from_ne_bytes(part(header, WORD_BYTES));
        let kind = i32::from_ne_bytes(part(header, WORD_BYTES + 4));
        let Some(data) = list.get(HEADER_BYTES..length) else {
            break;
        };
        note(&mut info, level, kind, data);
        let next = length.next_multiple_of(WORD_BYTES);
        list = list.get(next..).unwrap_or_default();
    }
    info
}

/// Notes what one message tells.
fn note(info: &mut PacketInfo, level: i32, kind: i32, data: &[u8]) {
    match (level, kind) {
        (IPPROTO_IP, IP_PKTINFO) => {
            if let Some((address, interface)) = address_and_interface::<4>(data) {
                info.destination = Some(IpAddr::from(Ipv4Addr::from(address)));
                info.interface = Some(interface);
            }
        }
        (IPPROTO_IPV6, IPV6_PKTINFO) => {
            if let Some((address, interface)) = address_and_interface::<16>(data) {
                info.destination = Some(IpAddr::from(Ipv6Addr::from(address)));
                info.interface = Some(interface);
            }
        }
        // The newer message has two bits, the older one the byte that ends with them.
        (IPPROTO_IP, IP_ECN | IP_TOS) | (IPPROTO_IPV6, IPV6_ECN | IPV6_TCLASS) => {
            if let Some([class, ..]) = number(data).map(u32::to_le_bytes) {
                info.ecn = Some(Ecn::of_traffic_class(class));
            }
        }
        _ => {}
    }
}

/// The address and the interface of a packet information.
fn address_and_interface<const N: usize>(data: &[u8]) -> Option<([u8; N], u32)> {
    let (&address, rest) = data.split_first_chunk()?;
    Some((address, number(rest)?))
}

fn number(data: &[u8]) -> Option<u32> {
    data.first_chunk().map(|&bytes| u32::from_ne_bytes(bytes))
}

/// The `N` bytes of a header that begin at `at`.
fn part<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let bytes = header[at..].first_chunk();
    *bytes.expect("the header has these fields")
}

/// The size of the message of [`segments`].
pub(super) const SEGMENTS_BYTES: usize = space(size_of::<u32>());

/// The control message that makes Windows cut what is sent into datagrams of `bytes` bytes, of which the last may be
/// smaller.
pub(super) fn segments(bytes: u32) -> [u8; SEGMENTS_BYTES] {
    let mut list = [0; SEGMENTS_BYTES];
    let length = HEADER_BYTES + size_of::<u32>();
    list[..WORD_BYTES].copy_from_slice(&length.to_ne_bytes());
    list[WORD_BYTES..][..4].copy_from_slice(&IPPROTO_UDP.to_ne_bytes());
    list[WORD_BYTES + 4..][..4].copy_from_slice(&UDP_SEND_MSG_SIZE.to_ne_bytes());
    list[HEADER_BYTES..][..4].copy_from_slice(&bytes.to_ne_bytes());
    list
}

#[cfg(test)]
mod tests {
    use super::{
        HEADER_BYTES, IP_ECN, IP_PKTINFO, IP_TOS, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP,
        IPV6_PKTINFO, IPV6_TCLASS, RECEIVED_BYTES, UDP_SEND_MSG_SIZE, WORD_BYTES, read, segments,
    };
    use crate::port::datagram::{Ecn, PacketInfo};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn add(list: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
        list.resize(list.len().next_multiple_of(WORD_BYTES), 0xEE);
        list.extend((HEADER_BYTES + data.len()).to_ne_bytes());
        list.extend(level.to_ne_bytes());
        list.extend(kind.to_ne_bytes());
        list.extend(data);
    }

    fn packet_info(address: &[u8], interface: u32) -> Vec<u8> {
        [address, &interface.to_ne_bytes()].concat()
    }

    #[test]
    fn every_message_of_a_list_is_read() {
        let mut list = Vec::new();
        let destination = packet_info(&[127, 0, 0, 1], 7);
        add(&mut list, IPPROTO_IP, IP_PKTINFO, &destination);
        assert!(list.len() <= RECEIVED_BYTES);
        add(&mut list, 99, 1, b"of no interest");
        add(&mut list, IPPROTO_IP, IP_ECN, &2_i32.to_ne_bytes());
        let info = read(&list);
        assert_eq!(info.destination, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!((info.interface, info.ecn), (Some(7), Some(Ecn::Capable0)));
    }

    #[test]
    fn the_messages_of_ipv6_are_read_and_a_class_counts_by_its_last_bits() {
        let mut list = Vec::new();
        let destination = packet_info(&Ipv6Addr::LOCALHOST.octets(), 3);
        add(&mut list, IPPROTO_IPV6, IPV6_PKTINFO, &destination);
        add(
            &mut list,
            IPPROTO_IPV6,
            IPV6_TCLASS,
            &0xAF_i32.to_ne_bytes(),
        );
        let info = read(&list);
        assert_eq!(info.destination, Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!((info.interface, info.ecn), (Some(3), Some(Ecn::Congested)));
    }

    #[test]
    fn a_broken_list_tells_what_stands_before_the_break() {
        let mut list = Vec::new();
        add(&mut list, IPPROTO_IP, IP_TOS, &1_i32.to_ne_bytes());
        let whole = list.len();
        let destination = packet_info(&[127, 0, 0, 1], 7);
        add(&mut list, IPPROTO_IP, IP_PKTINFO, &destination);
        for length in whole..list.len() {
            let info = read(&list[..length]);
            let told = (info.ecn, info.destination);
            assert_eq!(told, (Some(Ecn::Capable1), None), "{length} bytes");
        }
        for length in [0, 1, HEADER_BYTES - 1, usize::MAX] {
            list[..WORD_BYTES].copy_from_slice(&length.to_ne_bytes());
            let info = read(&list);
            assert_eq!(info, PacketInfo::default(), "a message of {length} bytes");
        }
        let mut short = Vec::new();
        add(&mut short, IPPROTO_IP, IP_PKTINFO, &[127, 0, 0]);
        add(&mut short, IPPROTO_IP, IP_ECN, &[]);
        assert_eq!(read(&short), PacketInfo::default(), "too little data");
    }

    #[test]
    fn a_size_of_segments_is_a_message_of_one_number() {
        let mut expected = Vec::new();
        let size = 1200_u32.to_ne_bytes();
        add(&mut expected, IPPROTO_UDP, UDP_SEND_MSG_SIZE, &size);
        expected.resize(expected.len().next_multiple_of(WORD_BYTES), 0);
        assert_eq!(segments(1200)[..], expected);
    }
}
