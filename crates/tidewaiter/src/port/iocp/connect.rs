//! Connecting.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use socket2::{SockAddr, Socket};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::Networking::WinSock::{SO_UPDATE_CONNECT_CONTEXT, WSAEINVAL};

use super::Iocp;
use super::call::{socket_called, socket_error, update_context};
use super::entry::Source;
use super::extension::{SocketFunctions, raw};
use super::record::{OsResult, Record, Started};
use super::unix_socket::no_name;
use crate::os::Address;
use crate::port::control::os_address;
use crate::port::table::Key;
use crate::port::{Failure, Outcome};

impl Iocp {
    pub(super) fn start_connect(&mut self, operation: Key, peer: &Address) {
        let record = self.records.take(operation);
        let (Source::Stream(socket), skip) = self.source_of(operation) else {
            unreachable!("only streams connect");
        };
        match call_connect_ex(&self.functions.sockets, socket, peer, record, skip) {
            Ok(started) => self.note_started(operation, started),
            Err(error) => self.end(operation, Err(Failure::os("bind", error))),
        }
    }

    pub(super) fn finish_connect(&mut self, record: Box<Record>, os_result: OsResult) {
        let operation = record.operation;
        let (Source::Stream(socket), _) = self.source_of(operation) else {
            unreachable!("only streams connect");
        };
        let result = connect_result(socket, os_result);
        self.records.put(record);
        let result = result.map(|()| Outcome::Connected);
        self.end(
            operation,
            result.map_err(|error| Failure::os("ConnectEx", error)),
        );
    }
}

/// Connects; binds the socket first if needed.
fn call_connect_ex(
    functions: &SocketFunctions,
    socket: &Socket,
    peer: &Address,
    record: Box<Record>,
    skip: bool,
) -> io::Result<Started> {
    bind_to_any(socket, peer)?;
    let peer = os_address(peer)?;
    let functions = functions.of(peer.domain());
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
    Ok(socket_called(lent, succeeded != 0, skip))
}

/// Binds the socket for ConnectEx, which requires that; leaves a bound socket as it is.
fn bind_to_any(socket: &Socket, peer: &Address) -> io::Result<()> {
    let any_ip = |any: IpAddr| SockAddr::from(SocketAddr::from((any, 0)));
    let any = match peer {
        Address::Ip(SocketAddr::V4(_)) => any_ip(Ipv4Addr::UNSPECIFIED.into()),
        Address::Ip(SocketAddr::V6(_)) => any_ip(Ipv6Addr::UNSPECIFIED.into()),
        _ => no_name(),
    };
    match socket.bind(&any) {
        Err(error) if error.raw_os_error() == Some(WSAEINVAL) => Ok(()),
        result => result,
    }
}

fn connect_result(socket: &Socket, os_result: OsResult) -> io::Result<()> {
    match os_result.code {
        // Without this, `getpeername` and `shutdown` would fail on the socket.
        ERROR_SUCCESS => update_context(socket, SO_UPDATE_CONNECT_CONTEXT, &[]),
        code => Err(socket_error(code)),
    }
}
