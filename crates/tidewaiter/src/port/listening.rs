//! Listening sockets: how they are opened, the same for every OS.

use std::io;

use socket2::Socket;

use super::admission::{check_packets, check_streams_to};
use super::control::{open_socket, os_address, set_option};
use super::options::{ListenOptions, PortKind};
use super::socket::ListeningSocket;
use super::unix_socket::{self, SocketFile};
use crate::os::Address;

/// A listening socket. The fields are in this order, so that the file is removed before the socket is closed.
#[derive(Debug)]
pub(super) struct Listening {
    /// The file of a UNIX socket that we have made. Boxed, because few listeners have one.
    _file: Option<Box<SocketFile>>,
    pub(super) socket: Socket,
}

impl Listening {
    /// Opens a listening socket for a port of the kind `port`, non-blocking and not inherited by children.
    pub(super) fn open(port: PortKind, options: &ListenOptions) -> io::Result<Listening> {
        check_packets(port, options.sequenced_packets)?;
        let address = options.address()?;
        check_streams_to(port, "listen on", address)?;
        let socket = open_socket(address, options.sequenced_packets)?;
        match address {
            Address::Ip(address) => {
                if address.is_ipv6() {
                    socket.set_only_v6(options.only_v6)?;
                }
                claim_address(&socket)?;
                for option in &options.socket_options {
                    set_option(&socket, option.clone())?;
                }
                if options.reuse_port {
                    share_port(&socket)?;
                }
            }
            _ if options.reuse_port => return Err(not_shared("such an address")),
            _ => {}
        }
        let listening = Listening::bind(socket, options)?;
        let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
        listening.socket.listen(backlog)?;
        Ok(listening)
    }

    fn bind(socket: Socket, options: &ListenOptions) -> io::Result<Listening> {
        let file = match options.address()? {
            Address::Unix(address) => unix_socket::bind(&socket, address, &options.socket_file)?,
            address => {
                socket.bind(&os_address(address)?)?;
                None
            }
        };
        Ok(Listening {
            _file: file.map(Box::new),
            socket,
        })
    }
}

/// A socket that was made elsewhere: its file is not ours.
impl From<ListeningSocket> for Listening {
    fn from(socket: ListeningSocket) -> Listening {
        Listening {
            _file: None,
            socket: socket.socket,
        }
    }
}

/// Lets a restarted server listen again at once, although connections of the old one linger.
#[cfg(unix)]
fn claim_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Forbids other programs to take over the port. Windows reuses lingering addresses by itself;
/// `SO_REUSEADDR` would let any program take over the port while we listen.
#[cfg(windows)]
#[expect(unsafe_code, reason = "socket2 does not know this option")]
pub(super) fn claim_address(socket: &Socket) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{
        SO_EXCLUSIVEADDRUSE, SOCKET, SOL_SOCKET, setsockopt,
    };

    let on = 1_u32.to_ne_bytes();
    let raw = SOCKET::try_from(socket.as_raw_socket()).expect("sockets are words");
    // SAFETY: the socket is open during the call, which only reads the four bytes.
    let failed = unsafe { setsockopt(raw, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, on.as_ptr(), 4) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(target_os = "linux")]
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Fails: other kernels do not spread connections over the sockets that share a port.
#[cfg(not(target_os = "linux"))]
pub(super) fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(not_shared("a port"))
}

pub(super) fn not_shared(what: &str) -> io::Error {
    let message = format!("this OS does not spread connections over listeners that share {what}");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::super::control::local_addr;
    use super::{Address, ListenOptions, Listening, PortKind};
    use std::io;

    #[test]
    fn a_taken_port_is_refused() {
        let listen =
            |address: Address| Listening::open(PortKind::Poll, &ListenOptions::new(address));
        let first = listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = local_addr(&first.socket).expect("it is bound");
        let error = listen(address).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
