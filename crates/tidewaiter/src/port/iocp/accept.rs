//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::ptr;

use socket2::{Domain, Socket as OsSocket};
use windows_sys::Win32::Foundation::{ERROR_NO_SYSTEM_RESOURCES, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::{
    SO_UPDATE_ACCEPT_CONTEXT, SOCKADDR, WSAECONNABORTED, WSAECONNRESET, WSAEHOSTUNREACH, WSAEMFILE,
    WSAENETRESET, WSAENETUNREACH, WSAENOBUFS, WSAETIMEDOUT,
};

use super::address::socket_address;
use super::call::{socket_called, socket_error, update_context};
use super::entry::{Listener, Source};
use super::extension::{SocketFunctions, overlapped_socket, raw, synchronous_socket};
use super::record::{ADDRESS_BYTES, OsResult, Record, Started, UNIX_ADDRESS_BYTES};
use super::{ACCEPTS_PER_LISTENER, Iocp};
use crate::os::{Address, UnixAddress};
use crate::port::control::peer_addr;
use crate::port::socket::{Socket, SocketRepr};
use crate::port::table::Key;
use crate::port::{Failure, Outcome};

const NO_RESOURCES: i32 = ERROR_NO_SYSTEM_RESOURCES.cast_signed();

/// The result of an accept.
enum Accepted {
    Connection(OsSocket, Address),
    /// The peer is gone; accept the next one.
    PeerGone,
    /// Windows lacks memory or sockets.
    Failed(io::Error),
}

impl Iocp {
    /// Starts to accept: all connections, or the next one with `once`.
    pub(super) fn start_accepting(&mut self, operation: Key, once: bool) {
        let pending = self.operations.get_mut(operation);
        pending.expect("it starts").once = once;
        if let (Source::PipeListener(_), _) = self.source_of(operation) {
            return self.accept_on_pipe(operation);
        }
        let count = if once { 1 } else { ACCEPTS_PER_LISTENER };
        for _ in 0..count {
            self.start_accept(operation);
        }
    }

    /// Posts one more accept.
    pub(super) fn start_accept(&mut self, operation: Key) {
        let pending = self.operations.get(operation);
        if pending.is_none_or(|pending| pending.ending.is_some()) {
            return;
        }
        let record = self.records.take(operation);
        let (Source::Listener(listener), _) = self.source_of(operation) else {
            unreachable!("only listeners accept");
        };
        match call_accept_ex(&self.functions.sockets, listener, record) {
            Ok(started) => self.note_started(operation, started),
            Err(failure) => self.fail(operation, failure),
        }
    }

    pub(super) fn finish_accept(&mut self, mut record: Box<Record>, os_result: OsResult) {
        let operation = record.operation;
        let (Source::Listener(listener), _) = self.source_of(operation) else {
            unreachable!("only listeners accept");
        };
        let is_plain = listener.overlapped
            && listener.family != Domain::UNIX
            && self.functions.sockets.plain_handles;
        let accepted = accept_result(&self.functions.sockets, listener, &mut record, os_result);
        self.records.put(record);
        match accepted {
            Accepted::Connection(socket, peer) => {
                let socket = match is_plain {
                    true => Socket(SocketRepr::Plain(socket)),
                    // Adopting it asks whether it is.
                    false => Socket(SocketRepr::Os(socket)),
                };
                let outcome = Outcome::Accepted { socket, peer };
                if self
                    .operations
                    .get(operation)
                    .is_some_and(|pending| pending.once)
                {
                    return self.end(operation, Ok(outcome));
                }
                self.report(operation, outcome);
            }
            Accepted::PeerGone => {}
            Accepted::Failed(error) => self.fail(operation, Failure::os("AcceptEx", error)),
        }
        self.start_accept(operation);
        self.end_if_idle(operation);
    }
}

/// Waits for a connection in a new socket.
fn call_accept_ex(
    functions: &SocketFunctions,
    listener: &Listener,
    mut record: Box<Record>,
) -> Result<Started, Failure> {
    let made = match listener.overlapped {
        true => overlapped_socket(listener.family),
        false => synchronous_socket(listener.family),
    };
    let socket = made.map_err(|error| Failure::os("WSASocketW", error))?;
    let accepting = raw(&socket);
    record.socket = Some(socket);
    let accept = functions.of(listener.family).accept;
    let accept = accept.expect("loading checked it");
    let is_unix = listener.family == Domain::UNIX;
    if is_unix {
        record.memory.reserve(2 * UNIX_ADDRESS_BYTES);
    }
    let unix_addresses = record.memory.as_mut_ptr();
    let lent = record.lend();
    let (addresses, address_bytes) = match is_unix {
        true => (unix_addresses, UNIX_ADDRESS_BYTES),
        false => (lent.addresses(), ADDRESS_BYTES),
    };
    let mut bytes = 0;
    let address_bytes = u32::try_from(address_bytes).expect("addresses are small");
    // Receive no bytes together with the connection: a silent client would hold it back.
    // SAFETY: both sockets are open, and stay so until the packet: the record owns the one, the
    // handle's entry the other. The lent record holds the OVERLAPPED and room for both addresses.
    let succeeded = unsafe {
        accept(
            raw(&listener.listening.socket),
            accepting,
            addresses.cast(),
            0,
            address_bytes,
            address_bytes,
            &raw mut bytes,
            lent.overlapped(),
        )
    };
    match socket_called(lent, succeeded != 0, false) {
        // An immediate failure is the listener's, unless its code is known to be the connection's:
        // trying again would fail again.
        Started::Finished(_, OsResult { code, .. }) if !is_peers(&socket_error(code)) => {
            Err(Failure::os("AcceptEx", socket_error(code)))
        }
        started => Ok(started),
    }
}

fn accept_result(
    functions: &SocketFunctions,
    listener: &Listener,
    record: &mut Record,
    os_result: OsResult,
) -> Accepted {
    let socket = record
        .socket
        .take()
        .expect("accepting records hold a socket");
    if os_result.code != ERROR_SUCCESS {
        // A later failure is the connection's, with more codes than can be listed; a broken
        // listener fails when the next accept starts.
        let error = socket_error(os_result.code);
        return match is_shortage(&error) {
            true => Accepted::Failed(error),
            false => Accepted::PeerGone,
        };
    }
    let context = raw(&listener.listening.socket).to_ne_bytes();
    if update_context(&socket, SO_UPDATE_ACCEPT_CONTEXT, &context).is_err() {
        return Accepted::PeerGone;
    }
    if listener.family == Domain::UNIX {
        let peer = peer_addr(&socket).unwrap_or_else(|_| UnixAddress::unnamed().into());
        return Accepted::Connection(socket, peer);
    }
    match peer_address(functions, &record.addresses) {
        Some(peer) => Accepted::Connection(socket, peer.into()),
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
