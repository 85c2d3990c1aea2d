//! The addresses of datagrams, as the kernel reads and writes them. No step allocates, but for the name of a UNIX socket.

use std::ffi::OsStr;
use std::mem::{MaybeUninit, offset_of};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

use libc::{sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_un, socklen_t};

use super::family::Family;
use crate::os::{Address, UnixAddress};

/// Room for the address of a peer.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) union Name {
    v4: sockaddr_in,
    v6: sockaddr_in6,
    unix: sockaddr_un,
    family: libc::sockaddr,
}

/// Where a path or an abstract name begins.
const PATH: usize = offset_of!(sockaddr_un, sun_path);

#[expect(clippy::cast_possible_truncation, reason = "names are small")]
const fn small(len: usize) -> socklen_t {
    len as socklen_t
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "families are small numbers"
)]
const fn family(number: libc::c_int) -> sa_family_t {
    number.cast_unsigned() as sa_family_t
}

impl Name {
    pub(super) const SIZE: socklen_t = small(size_of::<Name>());

    pub(super) const fn empty() -> Name {
        // SAFETY: zeros are a valid value of each of these structures, which are plain numbers.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// Writes an address that a socket of this family can send to; returns its length.
    pub(super) fn write(&mut self, address: &Address, family: Family) -> Option<socklen_t> {
        match (address, family) {
            (Address::Ip(SocketAddr::V4(address)), Family::V4) => Some(self.write_v4(address)),
            (Address::Ip(SocketAddr::V4(address)), Family::V6) => {
                let mapped = address.ip().to_ipv6_mapped();
                Some(self.write_v6(&SocketAddrV6::new(mapped, address.port(), 0, 0)))
            }
            (Address::Ip(SocketAddr::V6(address)), Family::V6) => Some(self.write_v6(address)),
            (Address::Unix(address), Family::Unix) => self.write_unix(address),
            _ => None,
        }
    }

    fn write_v4(&mut self, address: &SocketAddrV4) -> socklen_t {
        let mut name = Name::empty();
        // SAFETY: all bytes were zeroed, which is a valid value.
        let v4 = unsafe { &mut name.v4 };
        v4.sin_family = family(libc::AF_INET);
        v4.sin_port = address.port().to_be();
        v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
        *self = name;
        small(size_of::<sockaddr_in>())
    }

    fn write_v6(&mut self, address: &SocketAddrV6) -> socklen_t {
        let mut name = Name::empty();
        // SAFETY: all bytes were zeroed, which is a valid value.
        let v6 = unsafe { &mut name.v6 };
        v6.sin6_family = family(libc::AF_INET6);
        v6.sin6_port = address.port().to_be();
        v6.sin6_flowinfo = address.flowinfo();
        v6.sin6_addr.s6_addr = address.ip().octets();
        v6.sin6_scope_id = address.scope_id();
        *self = name;
        small(size_of::<sockaddr_in6>())
    }

    fn write_unix(&mut self, address: &UnixAddress) -> Option<socklen_t> {
        let (start, bytes) = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => (0, path.as_os_str().as_bytes()),
            (None, Some(name)) => (1, name),
            (None, None) => return None,
        };
        let mut name = Name::empty();
        // SAFETY: all bytes were zeroed, which is a valid value.
        let unix = unsafe { &mut name.unix };
        unix.sun_family = family(libc::AF_UNIX);
        let room = unix.sun_path.get_mut(start..start + bytes.len())?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = from.cast_signed() as libc::c_char;
        }
        *self = name;
        let ends = usize::from(start == 0);
        Some(small(PATH + start + bytes.len() + ends))
    }

    /// Reads an address of `len` bytes that the kernel wrote; nothing if the sender has none. `known` is the address
    /// read last: an equal one shares its name.
    pub(super) fn read(&self, len: socklen_t, known: Option<&Address>) -> Option<Address> {
        if (len as usize) < offset_of!(sockaddr_un, sun_path) {
            return None;
        }
        // SAFETY: each structure begins with its family, and all bytes are initialised.
        match i32::from(unsafe { self.family.sa_family }) {
            libc::AF_INET => {
                // SAFETY: the family says that it is this structure; all bytes are initialised.
                let v4 = unsafe { &self.v4 };
                let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(Address::Ip(SocketAddr::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that it is this structure; all bytes are initialised.
                let v6 = unsafe { &self.v6 };
                let (ip, port) = (v6.sin6_addr.s6_addr.into(), u16::from_be(v6.sin6_port));
                let address = SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id);
                Some(Address::Ip(address.into()))
            }
            libc::AF_UNIX => self.read_unix(len as usize, known),
            _ => None,
        }
    }

    fn read_unix(&self, len: usize, known: Option<&Address>) -> Option<Address> {
        // SAFETY: the family says that it is this structure; all bytes are initialised.
        let path = unsafe { &self.unix.sun_path };
        let path = &path[..len.saturating_sub(PATH).min(path.len())];
        // SAFETY: `c_char` is one byte, of which every value is valid.
        let path = unsafe { std::slice::from_raw_parts(path.as_ptr().cast::<u8>(), path.len()) };
        let name = match path {
            [] => return None,
            [0, name @ ..] => Err(name),
            path => Ok(path.split(|byte| *byte == 0).next().unwrap_or_default()),
        };
        if let Some(Address::Unix(known)) = known {
            let same = match name {
                Ok(path) => {
                    known.as_pathname().map(|path| path.as_os_str().as_bytes()) == Some(path)
                }
                Err(name) => known.as_abstract_name() == Some(name),
            };
            if same {
                return Some(Address::Unix(known.clone()));
            }
        }
        let address = match name {
            Ok(path) => UnixAddress::from_pathname(OsStr::from_bytes(path)),
            Err(name) => UnixAddress::from_abstract_name(name),
        };
        address.ok().map(Address::Unix)
    }
}
