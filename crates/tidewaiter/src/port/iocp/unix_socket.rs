//! UNIX sockets, on a Windows that has them: since Windows 10 version 1803. Wine has none.

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use windows_sys::Win32::Networking::WinSock::{
    AF_UNIX, SOCKADDR_UN, WSAEAFNOSUPPORT, WSAEPROTONOSUPPORT, WSAESOCKTNOSUPPORT,
};

use super::Iocp;
use super::extension::StreamFunctions;
use crate::os::Address;
use crate::port::PortKind;
use crate::port::calls::unsupported;

impl Iocp {
    /// Refuses to `verb` ("connect to") the address of a UNIX socket where Windows has no such sockets.
    pub(super) fn check_unix(&mut self, verb: &str, address: &Address) -> io::Result<()> {
        match address {
            Address::Unix(name) if !name.is_unnamed() => self
                .load_unix()
                .map_err(|error| explain(error, verb, address)),
            // The others are the same on every Windows.
            _ => Ok(()),
        }
    }

    /// Looks up Winsock's functions for UNIX sockets, the first time.
    pub(super) fn load_unix(&mut self) -> io::Result<()> {
        let functions = &mut self.functions.sockets.unix;
        if functions.is_none() {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            *functions = Some(StreamFunctions::load(&socket)?);
        }
        Ok(())
    }
}

/// Names what is missing, if it is UNIX sockets as a whole.
fn explain(error: io::Error, verb: &str, address: &Address) -> io::Error {
    match error.raw_os_error() {
        Some(WSAEAFNOSUPPORT | WSAEPROTONOSUPPORT | WSAESOCKTNOSUPPORT) => {
            let refused = unsupported(PortKind::Iocp, verb, address);
            let message =
                format!("{refused}: this Windows has no UNIX sockets (WSASocketW: {error})");
            io::Error::new(io::ErrorKind::Unsupported, message)
        }
        _ => error,
    }
}

/// The address that a client without a name is bound to: its path is empty.
pub(super) fn no_name() -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage may hold an address of this type, for which it has room, and zeros are one.
    let address = unsafe { storage.view_as::<SOCKADDR_UN>() };
    address.sun_family = AF_UNIX;
    // SAFETY: that many bytes are the family and the NUL of the empty path, both of which are set.
    unsafe { SockAddr::new(storage, 3) }
}

#[cfg(test)]
mod tests {
    use super::{Address, explain, no_name};
    use crate::os::UnixAddress;
    use crate::port::control;
    use socket2::Domain;
    use std::io::{Error, ErrorKind};
    use windows_sys::Win32::Networking::WinSock::{WSAEAFNOSUPPORT, WSAEMFILE};

    #[test]
    fn a_client_without_a_name_has_an_empty_path() {
        let address = no_name();
        assert_eq!((address.domain(), address.len()), (Domain::UNIX, 3));
        let read = control::address(&address).expect("a UNIX socket's");
        assert_eq!(read, UnixAddress::unnamed().into());
    }

    #[test]
    fn only_a_missing_family_is_explained() {
        let address = Address::from(UnixAddress::from_pathname("/a").expect("a good path"));
        let told = |code| explain(Error::from_raw_os_error(code), "listen on", &address);
        let missing = told(WSAEAFNOSUPPORT);
        assert_eq!(missing.kind(), ErrorKind::Unsupported);
        let start = "the iocp port does not listen on unix:/a: this Windows has no UNIX sockets";
        assert!(missing.to_string().starts_with(start), "{missing}");
        assert_eq!(told(WSAEMFILE).raw_os_error(), Some(WSAEMFILE));
    }
}
