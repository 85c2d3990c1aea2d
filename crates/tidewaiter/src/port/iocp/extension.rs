//! Functions of Windows that are looked up at run time.

use std::ffi::{CStr, c_void};
use std::io;
use std::os::windows::io::{AsRawSocket, FromRawSocket, RawSocket};
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS};
use windows_sys::Win32::Networking::WinSock::{
    INVALID_SOCKET, IPPROTO_UDP, LPFN_ACCEPTEX, LPFN_CONNECTEX, LPFN_GETACCEPTEXSOCKADDRS,
    LPFN_TRANSMITFILE, LPFN_WSARECVMSG, SIO_GET_EXTENSION_FUNCTION_POINTER, SO_PROTOCOL_INFOW,
    SOCKET, SOCKET_ERROR, SOL_SOCKET, UDP_SEND_MSG_SIZE, WSA_FLAG_NO_HANDLE_INHERIT,
    WSAID_ACCEPTEX, WSAID_CONNECTEX, WSAID_GETACCEPTEXSOCKADDRS, WSAID_TRANSMITFILE,
    WSAID_WSARECVMSG, WSAIoctl, WSAPROTOCOL_INFOW, WSASocketW, XP1_IFS_HANDLES, getsockopt,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::{
    OSVERSIONINFOEXW, VER_PRODUCT_TYPE, VerSetConditionMask, VerifyVersionInfoW,
};
use windows_sys::Win32::System::SystemServices::{VER_EQUAL, VER_NT_WORKSTATION};
use windows_sys::core::GUID;

use crate::port::file::{FileCall, FileCalls};

/// A function pointer before its conversion to its real type.
type Untyped = unsafe extern "system" fn() -> isize;

/// The functions that are looked up.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) sockets: SocketFunctions,
    pub(super) packets: Option<PacketFunctions>,
}

impl Functions {
    pub(super) fn load() -> io::Result<Functions> {
        Ok(Functions {
            sockets: SocketFunctions::load()?,
            packets: PacketFunctions::load(),
        })
    }
}

/// Winsock's extension functions.
#[derive(Clone, Copy)]
pub(super) struct SocketFunctions {
    /// Those for internet sockets.
    pub(super) internet: StreamFunctions,
    /// Those for UNIX sockets: looked up when they are needed, as not every Windows has such sockets.
    pub(super) unix: Option<StreamFunctions>,
    pub(super) accept_addresses: LPFN_GETACCEPTEXSOCKADDRS,
    pub(super) transmit: LPFN_TRANSMITFILE,
    /// The calls on files that the port performs by itself.
    pub(super) file_calls: FileCalls,
    /// Whether sockets are Windows handles, with no provider layered over them.
    pub(super) plain_handles: bool,
    /// Looked up for the first datagram socket.
    pub(super) datagrams: Option<DatagramFunctions>,
}

impl SocketFunctions {
    pub(super) fn load() -> io::Result<SocketFunctions> {
        // A machine may have only one of the two families; a provider's functions serve both.
        let socket =
            overlapped_socket(Domain::IPV4).or_else(|_| overlapped_socket(Domain::IPV6))?;
        let accept_addresses = extension(&socket, &WSAID_GETACCEPTEXSOCKADDRS)?;
        let transmit = extension(&socket, &WSAID_TRANSMITFILE)?;
        let plain_handles = [Domain::IPV4, Domain::IPV6]
            .into_iter()
            .filter_map(|family| overlapped_socket(family).ok())
            .all(|socket| has_plain_handle(&socket));
        Ok(SocketFunctions {
            internet: StreamFunctions::load(&socket)?,
            unix: None,
            // SAFETY: Winsock gave this pointer for the identifier of GetAcceptExSockaddrs, so it has its type.
            accept_addresses: unsafe {
                std::mem::transmute::<Untyped, LPFN_GETACCEPTEXSOCKADDRS>(accept_addresses)
            },
            // SAFETY: as above, for TransmitFile.
            transmit: unsafe { std::mem::transmute::<Untyped, LPFN_TRANSMITFILE>(transmit) },
            file_calls: file_calls(),
            plain_handles,
            datagrams: None,
        })
    }

    /// The functions for stream sockets of a family.
    pub(super) fn of(&self, family: Domain) -> &StreamFunctions {
        match family {
            Domain::UNIX => self.unix.as_ref().expect("`Iocp::load_unix` was called"),
            _ => &self.internet,
        }
    }
}

/// Winsock's extensions for stream sockets of one provider.
#[derive(Clone, Copy)]
pub(super) struct StreamFunctions {
    pub(super) accept: LPFN_ACCEPTEX,
    pub(super) connect: LPFN_CONNECTEX,
}

impl StreamFunctions {
    /// Asks a socket of the provider.
    pub(super) fn load(socket: &Socket) -> io::Result<StreamFunctions> {
        let accept = extension(socket, &WSAID_ACCEPTEX)?;
        let connect = extension(socket, &WSAID_CONNECTEX)?;
        Ok(StreamFunctions {
            // SAFETY: Winsock gave this pointer for AcceptEx's identifier, so it has AcceptEx's type.
            accept: unsafe { std::mem::transmute::<Untyped, LPFN_ACCEPTEX>(accept) },
            // SAFETY: as above, for ConnectEx.
            connect: unsafe { std::mem::transmute::<Untyped, LPFN_CONNECTEX>(connect) },
        })
    }
}

/// Winsock's extensions for datagram sockets.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramFunctions {
    /// Receives a datagram together with its control messages. Other than its counterpart that sends, it is not among
    /// the basic functions.
    pub(super) receive_message: LPFN_WSARECVMSG,
    /// Whether Windows cuts what is sent at once into datagrams: since Windows 10 version 2004.
    pub(super) cuts_runs: bool,
}

impl DatagramFunctions {
    /// Asks an internet socket.
    pub(super) fn load(socket: &Socket) -> DatagramFunctions {
        let receive = extension(socket, &WSAID_WSARECVMSG).ok();
        DatagramFunctions {
            // SAFETY: Winsock gave this pointer for WSARecvMsg's identifier, so it has WSARecvMsg's type.
            receive_message: receive.and_then(|receive| unsafe {
                std::mem::transmute::<Untyped, LPFN_WSARECVMSG>(receive)
            }),
            cuts_runs: option(socket, IPPROTO_UDP, UDP_SEND_MSG_SIZE, &mut [0; 4]),
        }
    }
}

/// Reads an option into `value`; returns whether the socket has it.
fn option(socket: &Socket, level: i32, option: i32, value: &mut [u8]) -> bool {
    let mut room = i32::try_from(value.len()).expect("an option is small");
    // SAFETY: the socket is open, and the call writes the value within its size.
    let failed = unsafe {
        getsockopt(
            raw(socket),
            level,
            option,
            value.as_mut_ptr(),
            &raw mut room,
        )
    };
    failed == 0
}

fn file_calls() -> FileCalls {
    let mut calls = FileCalls::of(&[FileCall::Read, FileCall::Write]);
    if sends_many_files() {
        calls.insert(FileCall::Send);
    }
    calls
}

/// Whether Windows sends more than two files at a time: only its servers do. On the others, two peers that do not read
/// would hold up all other files.
fn sends_many_files() -> bool {
    let mut wanted = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).expect("it is small"),
        wProductType: u8::try_from(VER_NT_WORKSTATION).expect("it is small"),
        ..OSVERSIONINFOEXW::default()
    };
    let equal = u8::try_from(VER_EQUAL).expect("it is small");
    // SAFETY: the call takes numbers.
    let mask = unsafe { VerSetConditionMask(0, VER_PRODUCT_TYPE, equal) };
    // SAFETY: the call reads the description, whose size is set.
    let is_workstation = unsafe { VerifyVersionInfoW(&raw mut wanted, VER_PRODUCT_TYPE, mask) };
    is_workstation == 0
}

/// Creates a socket: overlapped, and not inherited by children (socket2 requests both).
pub(super) fn overlapped_socket(family: Domain) -> io::Result<Socket> {
    Socket::new(family, Type::STREAM, protocol(family))
}

/// The protocol of stream sockets of a family; UNIX sockets have none.
fn protocol(family: Domain) -> Option<Protocol> {
    (family != Domain::UNIX).then_some(Protocol::TCP)
}

/// Creates a socket that is not overlapped, as ordinary programs need it, and not inherited by children.
pub(super) fn synchronous_socket(family: Domain) -> io::Result<Socket> {
    // SAFETY: the call takes no memory of ours.
    let socket = unsafe {
        WSASocketW(
            family.into(),
            Type::STREAM.into(),
            protocol(family).map_or(0, i32::from),
            ptr::null(),
            0,
            WSA_FLAG_NO_HANDLE_INHERIT,
        )
    };
    if socket == INVALID_SOCKET {
        return Err(io::Error::last_os_error());
    }
    let number = RawSocket::try_from(socket).expect("sockets are words");
    // SAFETY: we just made the socket, and own it.
    Ok(unsafe { Socket::from_raw_socket(number) })
}

/// Converts the socket for Winsock's functions.
pub(super) fn raw(socket: &Socket) -> SOCKET {
    SOCKET::try_from(socket.as_raw_socket()).expect("sockets are words")
}

/// Converts the socket for Windows's general functions.
pub(super) fn raw_handle(socket: &Socket) -> HANDLE {
    let number = usize::try_from(socket.as_raw_socket()).expect("sockets are words");
    ptr::without_provenance_mut(number)
}

fn extension(socket: &Socket, identifier: &GUID) -> io::Result<Untyped> {
    let mut function: Option<Untyped> = None;
    let mut bytes = 0;
    let room = u32::try_from(size_of_val(&function)).expect("a pointer is small");
    let identifier_bytes = u32::try_from(size_of::<GUID>()).expect("an identifier is small");
    // SAFETY: the socket is open; the call reads the identifier and writes the pointer within their
    // sizes; all of it outlives the call, which is synchronous without an OVERLAPPED.
    let failed = unsafe {
        WSAIoctl(
            raw(socket),
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            ptr::from_ref(identifier).cast(),
            identifier_bytes,
            (&raw mut function).cast(),
            room,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    if failed == SOCKET_ERROR {
        return Err(io::Error::last_os_error());
    }
    function.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Whether the socket is a Windows handle, with no layered provider behind it.
pub(super) fn has_plain_handle(socket: &Socket) -> bool {
    let mut protocol = WSAPROTOCOL_INFOW::default();
    let mut room = i32::try_from(size_of_val(&protocol)).expect("a description is small");
    // SAFETY: the socket is open, and the call writes the description within its size.
    let failed = unsafe {
        getsockopt(
            raw(socket),
            SOL_SOCKET,
            SO_PROTOCOL_INFOW,
            (&raw mut protocol).cast(),
            &raw mut room,
        )
    };
    failed == 0 && protocol.dwServiceFlags1 & XP1_IFS_HANDLES != 0
}

type CreatePacket =
    unsafe extern "system" fn(*mut HANDLE, access: u32, attributes: *const c_void) -> NTSTATUS;
type AssociatePacket = unsafe extern "system" fn(
    packet: HANDLE,
    port: HANDLE,
    object: HANDLE,
    key: usize,
    context: usize,
    status: NTSTATUS,
    information: usize,
    signalled: *mut u8,
) -> NTSTATUS;
type CancelPacket = unsafe extern "system" fn(packet: HANDLE, remove_signalled: u8) -> NTSTATUS;

/// Wait completion packets: a signalled object posts to the port without any thread's help.
///
/// Windows has them since version 8, but not in its headers.
#[derive(Clone, Copy)]
pub(super) struct PacketFunctions {
    pub(super) create: CreatePacket,
    pub(super) associate: AssociatePacket,
    pub(super) cancel: CancelPacket,
}

impl PacketFunctions {
    /// Looks up the three functions; `None` if this Windows lacks one.
    pub(super) fn load() -> Option<PacketFunctions> {
        let create = system_function(c"NtCreateWaitCompletionPacket")?;
        let associate = system_function(c"NtAssociateWaitCompletionPacket")?;
        let cancel = system_function(c"NtCancelWaitCompletionPacket")?;
        Some(PacketFunctions {
            // SAFETY: this is the type of the function with that name.
            create: unsafe { std::mem::transmute::<Untyped, CreatePacket>(create) },
            // SAFETY: as above.
            associate: unsafe { std::mem::transmute::<Untyped, AssociatePacket>(associate) },
            // SAFETY: as above.
            cancel: unsafe { std::mem::transmute::<Untyped, CancelPacket>(cancel) },
        })
    }
}

fn system_function(name: &CStr) -> Option<Untyped> {
    let library = windows_sys::w!("ntdll.dll");
    // SAFETY: the name is zero-terminated; this library is in every process and never unloaded.
    let library = unsafe { GetModuleHandleW(library) };
    if library.is_null() {
        return None;
    }
    // SAFETY: the library is loaded, and the name is zero-terminated.
    unsafe { GetProcAddress(library, name.as_ptr().cast()) }
}
