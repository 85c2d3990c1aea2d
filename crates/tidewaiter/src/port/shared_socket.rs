//! Sockets of Windows on their way to another process.

#![expect(unsafe_code, reason = "calls of Winsock")]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsRawSocket, AsSocket, FromRawSocket, OwnedSocket};

use windows_sys::Win32::Networking::WinSock::{
    FROM_PROTOCOL_INFO, INVALID_SOCKET, SOCKET, WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED,
    WSADATA, WSADuplicateSocketW, WSAGetLastError, WSAPROTOCOL_INFOW, WSASocketW, WSAStartup,
};

/// How many bytes describe a socket.
const BYTES: usize = size_of::<WSAPROTOCOL_INFOW>();

/// Windows: a copy of a socket for one other process, as bytes that any pipe or connection can carry there.
///
/// It works for listening sockets, connections and datagram sockets. Sender and receiver then share the socket: it is
/// closed once both have closed it. So close the sender's, but only after the receiver has said that it has
/// [opened](SharedSocket::open) its own.
///
/// A socket belongs to the first completion port that adopts it, in whichever process that is. So share a socket before
/// a reactor of this process adopts it: a listening socket, or a connection that
/// [`listen_handing_over`](crate::Reactor::listen_handing_over) accepted. A child that is yet to be started can be
/// given the socket itself: see [`Stdio::Descriptor`](crate::process::Stdio::Descriptor). On Unix, descriptors travel over
/// UNIX sockets instead.
///
/// ```no_run
/// use std::io::{self, Read, Write};
/// use std::net::TcpListener;
/// use std::process::ChildStdin;
///
/// use tidewaiter::port::{ListeningSocket, SharedSocket};
///
/// fn send(listener: &TcpListener, process: u32, input: &mut ChildStdin) -> io::Result<()> {
///     input.write_all(SharedSocket::new(listener, process)?.as_bytes())
/// }
///
/// fn receive() -> io::Result<ListeningSocket> {
///     let mut bytes = [0; SharedSocket::BYTES];
///     io::stdin().read_exact(&mut bytes)?;
///     // SAFETY: the process that started this one made the bytes for it.
///     Ok(unsafe { SharedSocket::open(&bytes) }?.into())
/// }
/// ```
pub struct SharedSocket([u8; BYTES]);

impl SharedSocket {
    /// How many bytes [`as_bytes`](SharedSocket::as_bytes) returns.
    pub const BYTES: usize = BYTES;

    /// Makes a copy of `socket` for the process with this number. The copy is open from here on, even if the process
    /// never takes it: Windows closes it when the process ends.
    ///
    /// # Errors
    ///
    /// Windows's error: there is no such process, or this one may not give it handles.
    pub fn new(socket: &impl AsSocket, process: u32) -> io::Result<SharedSocket> {
        let raw = socket.as_socket().as_raw_socket();
        let raw = SOCKET::try_from(raw).unwrap_or(INVALID_SOCKET);
        // Zeroed, so that no byte of it is padding that was never written.
        let mut info = MaybeUninit::<WSAPROTOCOL_INFOW>::zeroed();
        // SAFETY: the socket is open during the call, which fills in the record.
        if unsafe { WSADuplicateSocketW(raw, process, info.as_mut_ptr()) } != 0 {
            return Err(last_error());
        }
        // SAFETY: both types have this size, and each byte of the record is initialized: zeroed, then written over.
        Ok(SharedSocket(unsafe {
            info.as_ptr().cast::<[u8; BYTES]>().read()
        }))
    }

    /// The bytes to send to the process. Each value is good for one socket there.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Opens the copy that another process made for this one. No child inherits it.
    ///
    /// # Safety
    ///
    /// [`new`](SharedSocket::new) returned the bytes in a process that made them for this one, and they are opened once.
    /// The bytes hold the number of a handle, and Windows believes them: other bytes may name a handle that something
    /// else owns.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when there are not [`BYTES`](SharedSocket::BYTES) of them; Windows's
    /// error.
    pub unsafe fn open(bytes: &[u8]) -> io::Result<OwnedSocket> {
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| {
            let message = format!("{} bytes instead of {BYTES} for a socket", bytes.len());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        start_winsock()?;
        // SAFETY: the record consists of numbers, which may have any value.
        let info = unsafe { bytes.as_ptr().cast::<WSAPROTOCOL_INFOW>().read_unaligned() };
        let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
        let any = FROM_PROTOCOL_INFO;
        // SAFETY: the call reads the record, which describes a socket that belongs to this process (caller).
        let socket = unsafe { WSASocketW(any, any, any, &raw const info, 0, flags) };
        if socket == INVALID_SOCKET {
            return Err(last_error());
        }
        // SAFETY: the socket was just made, and nothing else refers to it.
        Ok(unsafe { OwnedSocket::from_raw_socket(socket as _) })
    }
}

impl fmt::Debug for SharedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSocket").finish_non_exhaustive()
    }
}

/// Starts Winsock, which a process that has had no socket yet has not done. It stays started until the process ends.
pub(super) fn start_winsock() -> io::Result<()> {
    const VERSION: u16 = 0x202;
    let mut data = MaybeUninit::<WSADATA>::uninit();
    // SAFETY: the call writes the record, which has room for it.
    match unsafe { WSAStartup(VERSION, data.as_mut_ptr()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn last_error() -> io::Error {
    // SAFETY: the call reads this thread's last error.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}
