//! Datagrams on Linux: several in one call, runs that it cuts and joins, errors that name the peer.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use libc::{c_int, in_pktinfo, in6_pktinfo, mmsghdr, msghdr};
use socket2::Socket;

use super::control::{Control, Said, each_control, number, write_one};
use super::family::Family;
use super::name::Name;
use super::option::set_flag;
use crate::os::Address;
use crate::port::datagram::{DatagramError, Ecn, PacketInfo};

/// The most datagrams that the kernel cuts out of one run.
pub(super) const SEGMENTS_MAX: usize = 64;

/// The most bytes of a run: the largest IPv4 packet without its headers.
pub(super) const RUN_BYTES_MAX: usize = 65_507;

/// The kernel keeps the errors that peers report apart from the datagrams, with the peers' names.
pub(super) const QUEUES_ERRORS: bool = true;

/// One message of several that a call moves.
pub(super) type Header = mmsghdr;

/// Has the kernel say what the options ask for, join runs, and keep the errors that peers report.
pub(super) fn prepare(socket: &Socket, family: Family, packet_info: bool) -> io::Result<()> {
    let (v4, v6) = match family {
        Family::V4 => (true, false),
        Family::V6 => (!socket.only_v6()?, true),
        Family::Unix => return Ok(()),
    };
    if v4 {
        set_flag(socket, libc::SOL_IP, libc::IP_RECVERR)?;
    }
    if v6 {
        set_flag(socket, libc::SOL_IPV6, libc::IPV6_RECVERR)?;
    }
    if packet_info && v4 {
        set_flag(socket, libc::SOL_IP, libc::IP_PKTINFO)?;
        set_flag(socket, libc::SOL_IP, libc::IP_RECVTOS)?;
    }
    if packet_info && v6 {
        set_flag(socket, libc::SOL_IPV6, libc::IPV6_RECVPKTINFO)?;
        set_flag(socket, libc::SOL_IPV6, libc::IPV6_RECVTCLASS)?;
    }
    // Kernels before 5.0 do not join datagrams.
    let _ = set_flag(socket, libc::SOL_UDP, libc::UDP_GRO);
    Ok(())
}

/// Whether the kernel queues the errors that peers and the network report for this socket.
pub(super) fn queues_errors(socket: &Socket, family: Family) -> bool {
    match family {
        Family::V4 => is_set(socket, libc::SOL_IP, libc::IP_RECVERR),
        Family::V6 => is_set(socket, libc::SOL_IPV6, libc::IPV6_RECVERR),
        Family::Unix => false,
    }
}

/// Whether an option of the socket is on. If the system does not tell, it is off.
fn is_set(socket: &Socket, level: c_int, option: c_int) -> bool {
    let mut value: c_int = 0;
    let mut len = size_of_val(&value).try_into().expect("options are small");
    // SAFETY: the call writes at most `len` bytes to the value, which lives during it, and the number of them to `len`.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    failed == 0 && value != 0
}

/// Reads the kernel's words about a message.
///
/// # Safety
///
/// The kernel has filled the header, and its control data is still there.
pub(super) unsafe fn said(header: &msghdr) -> Said {
    let mut said = Said::default();
    // SAFETY: the caller's promise.
    unsafe {
        each_control(header, |level, kind, data| {
            note(&mut said, level, kind, data);
        });
    };
    said
}

/// The most bytes in the name of a UDP socket.
pub(in super::super) const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Reads the parts of a message of a UDP socket that an io_uring has received: its sender, the size of each datagram of a
/// run (0 for a single one), and the packet's other contents.
pub(in super::super) fn record(
    name: &[u8],
    control: &[u8],
) -> (Option<Address>, usize, PacketInfo) {
    // SAFETY: a msghdr of zeros is a valid one: null pointers and lengths of zero.
    let mut header: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len();
    // SAFETY: the header describes the control data, which the kernel wrote and which is only read.
    let said = unsafe { said(&header) };
    (ip_of(name), said.segment, said.info)
}

/// Reads an IP address from a name.
fn ip_of(name: &[u8]) -> Option<Address> {
    let family = u16::from_ne_bytes(name.first_chunk().copied()?);
    let port = u16::from_be_bytes(name.get(2..)?.first_chunk().copied()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..)?.first_chunk().copied()?;
            Some(Address::Ip(SocketAddr::new(ip.into(), port)))
        }
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(name.get(4..)?.first_chunk().copied()?);
            let ip: [u8; 16] = name.get(8..)?.first_chunk().copied()?;
            let scope = u32::from_ne_bytes(name.get(24..)?.first_chunk().copied()?);
            let address = SocketAddrV6::new(ip.into(), port, flow, scope);
            Some(Address::Ip(address.into()))
        }
        _ => None,
    }
}

/// Notes one thing that the kernel says about a message.
fn note(said: &mut Said, level: c_int, kind: c_int, data: &[u8]) {
    let info = &mut said.info;
    match (level, kind) {
        (libc::SOL_UDP, libc::UDP_GRO) => {
            let size = number(data).and_then(|size| usize::try_from(size).ok());
            said.segment = size.unwrap_or(0);
        }
        (libc::SOL_IP, libc::IP_PKTINFO) if data.len() >= size_of::<in_pktinfo>() => {
            // SAFETY: the kernel wrote this structure of plain numbers, maybe at an address that is not aligned.
            let packet = unsafe { data.as_ptr().cast::<in_pktinfo>().read_unaligned() };
            let address = Ipv4Addr::from(packet.ipi_addr.s_addr.to_ne_bytes());
            info.destination = Some(IpAddr::V4(address));
            info.interface = u32::try_from(packet.ipi_ifindex).ok();
        }
        (libc::SOL_IPV6, libc::IPV6_PKTINFO) if data.len() >= size_of::<in6_pktinfo>() => {
            // SAFETY: the kernel wrote this structure of plain numbers, maybe at an address that is not aligned.
            let packet = unsafe { data.as_ptr().cast::<in6_pktinfo>().read_unaligned() };
            let address = Ipv6Addr::from(packet.ipi6_addr.s6_addr);
            info.destination = Some(IpAddr::V6(address));
            info.interface = Some(packet.ipi6_ifindex);
        }
        (libc::SOL_IP, libc::IP_TOS) => {
            info.ecn = data.first().map(|class| Ecn::of_traffic_class(*class));
        }
        (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
            let class = number(data).and_then(|class| u8::try_from(class).ok());
            info.ecn = class.map(Ecn::of_traffic_class);
        }
        _ => {}
    }
}

/// Writes the control data that has the kernel cut a run into datagrams of `segment` bytes; returns its length.
pub(super) fn write_segment(control: &mut Control, segment: u16) -> usize {
    write_one(control, libc::SOL_UDP, libc::UDP_SEGMENT, segment)
}

/// Receives into the messages, without blocking. Returns how many were received.
///
/// # Safety
///
/// The headers point to memory that the kernel may write.
pub(super) unsafe fn receive(socket: &Socket, headers: &mut [Header]) -> io::Result<usize> {
    let (number, list, count) = (socket.as_raw_fd(), headers.as_mut_ptr(), count(headers));
    let flags = libc::MSG_DONTWAIT as _;
    // SAFETY: there are `count` headers, whose pointers the caller vouches for.
    let received = unsafe { libc::recvmmsg(number, list, count, flags, std::ptr::null_mut()) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Sends the messages, without blocking. Returns how many were sent.
///
/// # Safety
///
/// The headers point to memory that the kernel may read.
pub(super) unsafe fn send(socket: &Socket, headers: &mut [Header]) -> io::Result<usize> {
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
    let (number, list, count) = (socket.as_raw_fd(), headers.as_mut_ptr(), count(headers));
    // SAFETY: there are `count` headers, whose pointers the caller vouches for.
    let sent = unsafe { libc::sendmmsg(number, list, count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn count(headers: &[Header]) -> u32 {
    u32::try_from(headers.len()).expect("a call has few messages")
}

/// Takes an error that a peer or the network reported off the socket's queue of errors.
pub(super) fn take_error(socket: &Socket) -> Option<DatagramError> {
    loop {
        let (mut name, mut control) = (Name::empty(), Control::empty());
        // SAFETY: a msghdr of zeros is a valid one: null pointers and lengths of zero.
        let mut header: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = Name::SIZE;
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = Control::SIZE as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the header points to memory that lives during the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if received < 0 {
            return None;
        }
        let mut error = None;
        let note = |level, kind, data: &[u8]| {
            let is_one = matches!(
                (level, kind),
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
            );
            if is_one && data.len() >= size_of::<libc::sock_extended_err>() {
                let start = data.as_ptr().cast::<libc::sock_extended_err>();
                // SAFETY: the kernel wrote this structure of plain numbers, maybe at an address that is not aligned.
                error = Some(unsafe { start.read_unaligned() });
            }
        };
        // SAFETY: the kernel has filled the header, and `control` is still there.
        unsafe { each_control(&header, note) };
        // The call that caused an error of our own has returned it.
        let theirs = error.filter(|error| error.ee_origin != libc::SO_EE_ORIGIN_LOCAL);
        if let Some(error) = theirs {
            let peer: Option<Address> = name.read(header.msg_namelen, None);
            let source = io::Error::from_raw_os_error(error.ee_errno.cast_signed());
            return Some(DatagramError::new("recvmsg", peer, source));
        }
    }
}
