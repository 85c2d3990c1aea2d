//! Starting and finishing operations on sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::windows::io::AsRawSocket;
use std::ptr;

use socket2::{Domain, SockAddr, Socket};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_NETPATH, ERROR_CONNECTION_ABORTED, ERROR_CONNECTION_REFUSED, ERROR_HOST_UNREACHABLE,
    ERROR_NETNAME_DELETED, ERROR_NETWORK_UNREACHABLE, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_PORT_UNREACHABLE, ERROR_REM_NOT_LIST, ERROR_SEM_TIMEOUT, ERROR_SUCCESS, HANDLE,
};
use windows_sys::Win32::Networking::WinSock::{
    SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT, SOCKADDR, SOL_SOCKET, WSABUF,
    WSAECONNABORTED, WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTUNREACH, WSAEINVAL, WSAEMFILE,
    WSAENETRESET, WSAENETUNREACH, WSAENOBUFS, WSAETIMEDOUT, WSAGetLastError, WSARecv, WSASend,
    setsockopt,
};

use super::extension::{SocketFunctions, internet_socket, raw};
use super::operation::{ADDRESS_BYTES, Finish, Lent, Record, Started};
use super::receive::ReceiveResult;
use crate::port::Failure;

/// The most pieces in one send.
const SEND_PIECES_MAX: usize = 64;
/// The most bytes in one send: Windows locks their pages until the peer acknowledges them.
const SEND_BYTES_MAX: usize = 1024 * 1024;

const NO_RESOURCES: i32 = ERROR_NO_SYSTEM_RESOURCES.cast_signed();

/// The result of an accept.
pub(super) enum Accepted {
    Connection(Socket, SocketAddr),
    /// The peer is gone; accept the next one.
    PeerGone,
    /// Windows lacks memory or sockets.
    Failed(io::Error),
}

/// Converts the socket for Windows's general functions.
pub(super) fn raw_handle(socket: &Socket) -> HANDLE {
    let number = usize::try_from(socket.as_raw_socket()).expect("sockets are words");
    ptr::without_provenance_mut(number)
}

/// Waits for a connection in a new socket.
pub(super) fn start_accept(
    functions: &SocketFunctions,
    listener: &Socket,
    family: Domain,
    mut record: Box<Record>,
) -> Result<Started, Failure> {
    let socket = internet_socket(family).map_err(|error| Failure::os("WSASocketW", error))?;
    let accepting = raw(&socket);
    record.socket = Some(socket);
    let accept = functions.accept.expect("loading checked it");
    let lent = record.lend();
    let mut bytes = 0;
    let address_bytes = u32::try_from(ADDRESS_BYTES).expect("addresses are small");
    // Receive no bytes together with the connection: a silent client would hold it back.
    // SAFETY: both sockets are open, and stay so until the packet: the record owns the one, the
    // handle's entry the other. The lent record holds the OVERLAPPED and room for both addresses.
    let succeeded = unsafe {
        accept(
            raw(listener),
            accepting,
            lent.addresses().cast(),
            0,
            address_bytes,
            address_bytes,
            &raw mut bytes,
            lent.overlapped(),
        )
    };
    match called(lent, succeeded != 0, false) {
        // An immediate failure is the listener's, unless its code is known to be the connection's:
        // trying again would fail again.
        Started::Finished(_, Finish { code, .. }) if !is_peers(&error(code)) => {
            Err(Failure::os("AcceptEx", error(code)))
        }
        started => Ok(started),
    }
}

pub(super) fn finish_accept(
    functions: &SocketFunctions,
    listener: &Socket,
    record: &mut Record,
    finish: Finish,
) -> Accepted {
    let socket = record
        .socket
        .take()
        .expect("accepting records hold a socket");
    if finish.code != ERROR_SUCCESS {
        // A later failure is the connection's, with more codes than can be listed; a broken
        // listener fails when the next accept starts.
        let error = error(finish.code);
        return match is_shortage(&error) {
            true => Accepted::Failed(error),
            false => Accepted::PeerGone,
        };
    }
    let context = raw(listener).to_ne_bytes();
    if update_context(&socket, SO_UPDATE_ACCEPT_CONTEXT, &context).is_err() {
        return Accepted::PeerGone;
    }
    match peer_address(functions, &record.addresses) {
        Some(peer) => Accepted::Connection(socket, peer),
        None => Accepted::PeerGone,
    }
}

/// Whether Windows is out of memory or sockets.
fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(
            error.raw_os_error(),
            Some(WSAENOBUFS | WSAEMFILE | NO_RESOURCES)
        )
}

/// Whether the connection caused an accept's immediate failure.
fn is_peers(error: &io::Error) -> bool {
    const PEERS: [i32; 6] = [
        WSAECONNRESET,
        WSAECONNABORTED,
        WSAENETRESET,
        WSAETIMEDOUT,
        WSAEHOSTUNREACH,
        WSAENETUNREACH,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| PEERS.contains(&code))
}

/// The peer's address: the second one that AcceptEx wrote.
fn peer_address(
    functions: &SocketFunctions,
    addresses: &[u8; 2 * ADDRESS_BYTES],
) -> Option<SocketAddr> {
    let parse = functions.accept_addresses.expect("loading checked it");
    let address_bytes = u32::try_from(ADDRESS_BYTES).expect("addresses are small");
    let (mut local, mut peer) = (ptr::null_mut::<SOCKADDR>(), ptr::null_mut::<SOCKADDR>());
    let (mut local_bytes, mut peer_bytes) = (0, 0);
    // SAFETY: AcceptEx filled the memory with these very sizes; the results point into it.
    unsafe {
        parse(
            addresses.as_ptr().cast(),
            0,
            address_bytes,
            address_bytes,
            &raw mut local,
            &raw mut local_bytes,
            &raw mut peer,
            &raw mut peer_bytes,
        );
    }
    let length = usize::try_from(peer_bytes).ok()?;
    let start = peer.addr().checked_sub(addresses.as_ptr().addr())?;
    socket_address(addresses.get(start..start.checked_add(length)?)?)
}

/// Reads an address in Windows's layout: ports are in network byte order, flow labels and scope ids
/// in native order.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
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

/// Connects; binds the socket first if needed.
pub(super) fn start_connect(
    functions: &SocketFunctions,
    socket: &Socket,
    peer: SocketAddr,
    record: Box<Record>,
    skip: bool,
) -> io::Result<Started> {
    bind_to_any(socket, peer)?;
    let peer = SockAddr::from(peer);
    let connect = functions.connect.expect("loading checked it");
    let lent = record.lend();
    let mut bytes = 0;
    // SAFETY: the socket stays open until the packet; the address outlives the call, which copies
    // it; the OVERLAPPED belongs to the lent record.
    let succeeded = unsafe {
        connect(
            raw(socket),
            peer.as_ptr().cast(),
            peer.len(),
            ptr::null(),
            0,
            &raw mut bytes,
            lent.overlapped(),
        )
    };
    Ok(called(lent, succeeded != 0, skip))
}

/// Binds the socket for ConnectEx, which requires that; leaves a bound socket as it is.
fn bind_to_any(socket: &Socket, peer: SocketAddr) -> io::Result<()> {
    let any = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    match socket.bind(&any.into()) {
        Err(error) if error.raw_os_error() == Some(WSAEINVAL) => Ok(()),
        result => result,
    }
}

pub(super) fn finish_connect(socket: &Socket, finish: Finish) -> io::Result<()> {
    match finish.code {
        // Without this, `getpeername` and `shutdown` would fail on the socket.
        ERROR_SUCCESS => update_context(socket, SO_UPDATE_CONNECT_CONTEXT, &[]),
        code => Err(error(code)),
    }
}

/// Receives into the record's memory; without memory, waits for bytes.
pub(super) fn start_receive(socket: &Socket, record: Box<Record>, skip: bool) -> Started {
    let memory = match &record.lease {
        Some(lease) => WSABUF {
            len: u32::try_from(lease.capacity()).unwrap_or(u32::MAX),
            buf: lease.as_ptr().as_ptr(),
        },
        None => WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        },
    };
    let lent = record.lend();
    let mut flags = 0;
    // SAFETY: the socket stays open until the packet; the call copies the list of one buffer; the
    // buffer's memory and the OVERLAPPED belong to the lent record.
    let failed = unsafe {
        WSARecv(
            raw(socket),
            &raw const memory,
            1,
            ptr::null_mut(),
            &raw mut flags,
            lent.overlapped(),
            None,
        )
    };
    called(lent, failed == 0, skip)
}

/// The result of a receive; `waited` means that it had no memory.
pub(super) fn finish_receive(finish: Finish, waited: bool) -> ReceiveResult {
    match (finish.code, finish.bytes) {
        (ERROR_SUCCESS, 0) if !waited => ReceiveResult::End,
        (ERROR_SUCCESS, bytes) => ReceiveResult::Bytes(bytes),
        (code, _) => ReceiveResult::Failed(error(code)),
    }
}

/// Sends the record's bytes, or the first of them.
pub(super) fn start_send(socket: &Socket, record: Box<Record>, skip: bool) -> Started {
    let mut pieces = [const {
        WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        }
    }; SEND_PIECES_MAX];
    let mut count = 0;
    let mut room = SEND_BYTES_MAX;
    for (piece, slice) in pieces.iter_mut().zip(record.chunks.slices()) {
        let bytes = slice.len().min(room);
        if bytes == 0 {
            break;
        }
        room -= bytes;
        piece.len = u32::try_from(bytes).expect("one send is small");
        piece.buf = slice.as_ptr().cast_mut();
        count += 1;
    }
    let lent = record.lend();
    // SAFETY: the socket stays open until the packet; the call copies the list; the bytes belong to
    // the lent record and are only read; the OVERLAPPED is the record's.
    let failed = unsafe {
        WSASend(
            raw(socket),
            pieces.as_ptr(),
            count,
            ptr::null_mut(),
            0,
            lent.overlapped(),
            None,
        )
    };
    called(lent, failed == 0, skip)
}

/// The number of bytes that Windows took.
pub(super) fn finish_send(finish: Finish) -> io::Result<usize> {
    match finish.code {
        ERROR_SUCCESS => Ok(finish.bytes),
        code => Err(error(code)),
    }
}

/// Interprets a Winsock call that took `lent`.
fn called(lent: Lent, succeeded: bool, skip: bool) -> Started {
    let code = match succeeded {
        true => ERROR_SUCCESS,
        // SAFETY: the call reads this thread's last error.
        false => unsafe { WSAGetLastError() }.cast_unsigned(),
    };
    // SAFETY: the code is that of the call just made with this record, and `skip` comes from the
    // socket's entry, which has it from `skip_on_success`.
    unsafe { lent.called(code, skip) }
}

fn update_context(socket: &Socket, option: i32, context: &[u8]) -> io::Result<()> {
    let length = i32::try_from(context.len()).expect("a handle is small");
    // SAFETY: the socket is open during the call, which reads `length` bytes.
    let failed = unsafe { setsockopt(raw(socket), SOL_SOCKET, option, context.as_ptr(), length) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Converts a code to an error. A general code that has a Winsock equivalent becomes that: it has
/// an `ErrorKind`, and it is the one that people search for.
fn error(code: u32) -> io::Error {
    let code = match code {
        ERROR_NETNAME_DELETED | ERROR_PORT_UNREACHABLE => WSAECONNRESET,
        ERROR_CONNECTION_REFUSED | ERROR_REM_NOT_LIST => WSAECONNREFUSED,
        ERROR_CONNECTION_ABORTED => WSAECONNABORTED,
        ERROR_HOST_UNREACHABLE | ERROR_BAD_NETPATH => WSAEHOSTUNREACH,
        ERROR_NETWORK_UNREACHABLE => WSAENETUNREACH,
        ERROR_SEM_TIMEOUT => WSAETIMEDOUT,
        code => code.cast_signed(),
    };
    io::Error::from_raw_os_error(code)
}

#[cfg(test)]
mod tests {
    use super::{
        ERROR_CONNECTION_REFUSED, ERROR_HOST_UNREACHABLE, ERROR_NETNAME_DELETED,
        ERROR_NETWORK_UNREACHABLE, ERROR_SEM_TIMEOUT, SockAddr, SocketAddr, error, socket_address,
    };
    use std::io::ErrorKind;

    #[test]
    fn errors_have_the_kind_that_portable_programs_look_at() {
        for (code, kind) in [
            (ERROR_NETNAME_DELETED, ErrorKind::ConnectionReset),
            (ERROR_CONNECTION_REFUSED, ErrorKind::ConnectionRefused),
            (ERROR_SEM_TIMEOUT, ErrorKind::TimedOut),
            (ERROR_HOST_UNREACHABLE, ErrorKind::HostUnreachable),
            (ERROR_NETWORK_UNREACHABLE, ErrorKind::NetworkUnreachable),
        ] {
            assert_eq!(error(code).kind(), kind, "code {code}");
        }
    }

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
