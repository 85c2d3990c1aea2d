//! The address of a server.

use std::fmt;
use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a server, and the kind of its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Udp(SocketAddr),
}

impl FromStr for Address {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Address, AddrParseError> {
        match text.split_once(':') {
            Some(("unix", path)) => Ok(Address::Unix(path.into())),
            Some(("udp", address)) => address.parse().map(Address::Udp),
            _ => text.parse().map(Address::Tcp),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Udp(address) => write!(f, "udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed_as_it_is_shown() {
        for text in [
            "127.0.0.1:80",
            "[::1]:80",
            "unix:/tmp/a:b",
            "udp:127.0.0.1:53",
        ] {
            let address: Address = text.parse().expect("it is an address");
            assert_eq!(address.to_string(), text);
        }
        assert!("udp:/tmp/a".parse::<Address>().is_err());
    }
}
