//! A datagram socket of Windows, and the calls on it.
//!
//! Windows posts a packet for each call that does not fail outright, also for one that receives too large a datagram. The
//! mode that skips packets would make that unclear, so that such sockets do not use it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::{
    IP_PKTINFO, IP_RECVECN, IP_RECVTOS, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, IPV6_RECVECN,
    IPV6_RECVTCLASS, MSG_PEEK, WSABUF, WSAEMSGSIZE, WSAEWOULDBLOCK, WSAMSG, WSARecv, WSARecvFrom,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::call::{datagram_called, last_socket_error, set_option, socket_error};
use super::extension::{DatagramFunctions, raw};
use super::message::MessageMemory;
use super::multicast::{self, set_peer};
use super::record::{OsResult, Record, Started};
use crate::port::PortKind;
use crate::port::admission::invalid;
use crate::port::buffer::Lease;
use crate::port::calls::{Control, unsupported};
use crate::port::control::{Object, os_address};
use crate::port::datagram::{DatagramError, DatagramOptions, Message, MulticastSettings};
use crate::port::listening::{claim_address, share_port};

/// A datagram socket, and what belongs to the operations on it.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    pub(super) socket: Socket,
    functions: DatagramFunctions,
    pub(super) is_v6: bool,
    packet_info: bool,
    /// The number of records of the receive under way.
    pub(super) records: usize,
    /// How many of them receive into memory, and have not ended.
    pub(super) posted: usize,
    /// Errors that sends have met and that the receive tells.
    pub(super) errors: VecDeque<DatagramError>,
}

/// The result of a call that receives.
pub(super) enum Arrival {
    Datagram(Message),
    /// An error, and the peer of the datagram that it concerns if Windows tells.
    Failed(io::Error, Option<SocketAddr>),
    /// Nothing has arrived.
    Nothing,
}

impl DatagramSocket {
    /// Whether Windows cuts what is sent at once into several datagrams.
    pub(super) fn cuts_runs(&self) -> bool {
        self.functions.cuts_runs
    }

    /// Notes that Windows does not cut after all: what follows is sent one by one.
    pub(super) fn cut_no_more(&mut self) {
        self.functions.cuts_runs = false;
    }

    /// Opens a socket. Finds out what Windows offers for it, unless that is `known`.
    pub(super) fn open(
        options: &DatagramOptions,
        known: &mut Option<DatagramFunctions>,
    ) -> io::Result<DatagramSocket> {
        let Some(address) = options.address() else {
            return Err(invalid("a datagram socket needs a local address or a peer"));
        };
        let Some(ip) = address.socket_addr() else {
            return Err(unsupported(
                PortKind::Iocp,
                "exchange datagrams at",
                address,
            ));
        };
        let socket = Socket::new(Domain::for_address(ip), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        set_options(&socket, ip.is_ipv6(), options)?;
        if options.packet_info {
            ask_for_packet_info(&socket, ip.is_ipv6(), options.only_v6)?;
        }
        if let Some(local) = options.local_address() {
            socket.bind(&os_address(local)?)?;
        }
        if let Some(peer) = options.peer_address() {
            socket.connect(&os_address(peer)?)?;
        }
        let functions = *known.get_or_insert_with(|| DatagramFunctions::load(&socket));
        let is_v6 = ip.is_ipv6();
        Ok(DatagramSocket::new(
            socket,
            functions,
            is_v6,
            options.packet_info,
        ))
    }

    /// Takes over a socket that was made elsewhere. Leaves its options as they are.
    pub(super) fn adopt(
        socket: Socket,
        known: &mut Option<DatagramFunctions>,
    ) -> io::Result<DatagramSocket> {
        socket.set_nonblocking(true)?;
        let is_v6 = socket.local_addr()?.is_ipv6();
        let functions = *known.get_or_insert_with(|| DatagramFunctions::load(&socket));
        Ok(DatagramSocket::new(socket, functions, is_v6, false))
    }

    fn new(
        socket: Socket,
        functions: DatagramFunctions,
        is_v6: bool,
        packet_info: bool,
    ) -> DatagramSocket {
        DatagramSocket {
            socket,
            functions,
            is_v6,
            packet_info,
            records: 0,
            posted: 0,
            errors: VecDeque::new(),
        }
    }

    pub(super) fn control(&self, control: Control<'_>) -> io::Result<()> {
        match control {
            Control::SetPeer(peer) => set_peer(&self.socket, peer),
            Control::Multicast(change) => change.apply(&self.socket, self.is_v6, &multicast::CALLS),
            Control::ShutdownWrite | Control::HoldEnds(_) => {
                Err(invalid("the handle is not a stream socket"))
            }
            other => Object::Socket(&self.socket).control(other),
        }
    }

    pub(super) fn multicast_settings(&self) -> io::Result<MulticastSettings> {
        MulticastSettings::of(&self.socket, self.is_v6)
    }

    /// Waits for a datagram, or an error, without memory and without taking it.
    pub(super) fn post_wait(&self, record: Box<Record>) -> Started {
        let nothing = WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        };
        let lent = record.lend();
        let mut flags = MSG_PEEK.cast_unsigned();
        // SAFETY: the socket stays open until the packet; the call copies the list of one empty buffer; the OVERLAPPED
        // belongs to the lent record.
        let failed = unsafe {
            WSARecv(
                raw(&self.socket),
                &raw const nothing,
                1,
                ptr::null_mut(),
                &raw mut flags,
                lent.overlapped(),
                None,
            )
        };
        datagram_called(lent, failed == 0)
    }

    /// Receives a datagram into the record's memory.
    pub(super) fn post_receive(&self, mut record: Box<Record>) -> Started {
        let lease = record.lease.as_ref().expect("the caller leased memory");
        let memory = record.message.get_or_insert_default();
        let message = memory.describe_receive(lease, self.packet_info);
        let lent = record.lend();
        // SAFETY: the lent record owns the memory, the lease and the OVERLAPPED; the socket stays open until the packet.
        let succeeded = unsafe { self.receive(message, ptr::null_mut(), lent.overlapped()) };
        datagram_called(lent, succeeded)
    }

    /// Returns the datagram that [`post_receive`](DatagramSocket::post_receive) has received with this record.
    pub(super) fn arrival(&self, record: &Record, lease: Lease, result: OsResult) -> Arrival {
        let memory = record.message.as_deref();
        self.read(memory.expect("it described the datagram"), lease, result)
    }

    /// Receives a datagram that has arrived already.
    pub(super) fn receive_now(&self, lease: Lease) -> Arrival {
        let mut memory = MessageMemory::default();
        let message = memory.describe_receive(&lease, self.packet_info);
        let mut bytes = 0;
        // SAFETY: the memory and the lease live until the call is over, which does not wait.
        let succeeded = unsafe { self.receive(message, &raw mut bytes, ptr::null_mut()) };
        let code = match succeeded {
            true => ERROR_SUCCESS,
            false => last_socket_error(),
        };
        let bytes = usize::try_from(bytes).unwrap_or(0);
        match code.cast_signed() {
            WSAEWOULDBLOCK => Arrival::Nothing,
            _ => self.read(&memory, lease, OsResult { code, bytes }),
        }
    }

    /// Calls WSARecvMsg if there are control messages to receive, otherwise WSARecvFrom. Returns whether it succeeded.
    ///
    /// # Safety
    ///
    /// The message points to memory that lives until the call, or with an OVERLAPPED its operation, is over.
    unsafe fn receive(
        &self,
        message: *mut WSAMSG,
        bytes: *mut u32,
        overlapped: *mut OVERLAPPED,
    ) -> bool {
        let socket = raw(&self.socket);
        if let Some(receive) = self.functions.receive_message
            && self.packet_info
        {
            // SAFETY: the caller vouches for the memory.
            return unsafe { receive(socket, message, bytes, overlapped, None) } == 0;
        }
        // SAFETY: the caller vouches for the message, of which this is a copy.
        let WSAMSG {
            name,
            lpBuffers: buffers,
            ..
        } = unsafe { *message };
        // SAFETY: the address of a field of the message.
        let flags = unsafe { &raw mut (*message).dwFlags };
        // SAFETY: as above.
        let length = unsafe { &raw mut (*message).namelen };
        // SAFETY: the caller vouches for the memory; there is one buffer.
        let failed = unsafe {
            WSARecvFrom(
                socket, buffers, 1, bytes, flags, name, length, overlapped, None,
            )
        };
        failed == 0
    }

    /// Reads what a call has left in the memory.
    fn read(&self, memory: &MessageMemory, lease: Lease, result: OsResult) -> Arrival {
        match result.code {
            ERROR_SUCCESS => Arrival::Datagram(Message {
                memory: lease.filled(result.bytes),
                start: 0,
                segment: 0,
                sender: memory.sender().map(Into::into),
                info: self.packet_info.then(|| memory.packet_info()),
            }),
            // Winsock's code for a datagram that was too large.
            ERROR_MORE_DATA => {
                let error = io::Error::from_raw_os_error(WSAEMSGSIZE);
                Arrival::Failed(error, memory.sender())
            }
            code => Arrival::Failed(socket_error(code), memory.sender()),
        }
    }
}

fn set_options(socket: &Socket, is_v6: bool, options: &DatagramOptions) -> io::Result<()> {
    if is_v6 {
        socket.set_only_v6(options.only_v6)?;
    }
    match options.reuse_address {
        true => socket.set_reuse_address(true)?,
        false => claim_address(socket)?,
    }
    if options.reuse_port {
        share_port(socket)?;
    }
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Makes Windows tell where each datagram was sent to, and its mark of congestion if it can.
fn ask_for_packet_info(socket: &Socket, is_v6: bool, only_v6: bool) -> io::Result<()> {
    if is_v6 {
        set_flag(socket, IPPROTO_IPV6, IPV6_PKTINFO)?;
        let marks = set_flag(socket, IPPROTO_IPV6, IPV6_RECVECN);
        // Windows before 10, and Wine, know only the whole traffic class.
        let _ = marks.or_else(|_| set_flag(socket, IPPROTO_IPV6, IPV6_RECVTCLASS));
    }
    if !is_v6 || !only_v6 {
        set_flag(socket, IPPROTO_IP, IP_PKTINFO)?;
        let marks = set_flag(socket, IPPROTO_IP, IP_RECVECN);
        let _ = marks.or_else(|_| set_flag(socket, IPPROTO_IP, IP_RECVTOS));
    }
    Ok(())
}

fn set_flag(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    set_option(socket, level, option, &1_u32.to_ne_bytes())
}
