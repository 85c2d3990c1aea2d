//! Looks up the addresses of a name with the OS's resolver.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use super::HostPort;

/// Why a host has no usable address.
#[derive(Debug)]
struct ResolveError {
    host: String,
    source: io::Error,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {:?}: {}", self.host, self.source)
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Returns the address if `host` is an IP address rather than a name: then no lookup is needed.
///
/// An IPv6 address may be in brackets, and may end in `%` and the number of its interface. If it ends in the
/// *name* of an interface, the OS has to look it up.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let host = without_brackets(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    let (address, scope) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let scope: u32 = scope.parse().ok()?;
    Some(SocketAddrV6::new(address, port, 0, scope).into())
}

/// Looks up the addresses of a host with the OS's resolver. An IP address needs no lookup.
///
/// This blocks for as long as the OS takes: many seconds if a name server is silent. A reactor that connects
/// looks names up by itself, without blocking.
///
/// The addresses are in the OS's order of preference (RFC 6724), each once.
///
/// # Errors
///
/// The OS's error, with the host's name; [`NotFound`](io::ErrorKind::NotFound) when the host has no address.
///
/// ```
/// use tidewaiter::endpoint::resolve;
///
/// let addresses = resolve(&"127.0.0.1:80".parse()?)?;
/// assert_eq!(addresses, ["127.0.0.1:80".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resolve(target: &HostPort) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = literal(&target.host, target.port) {
        return Ok(vec![address]);
    }
    look_up(target, ask_os).map_err(|source| unresolved(target, source))
}

/// The error of a failed lookup, with the host's name.
pub(crate) fn unresolved(target: &HostPort, source: io::Error) -> io::Error {
    let host = target.host.clone();
    io::Error::new(source.kind(), ResolveError { host, source })
}

/// Asks the OS's resolver.
pub(crate) fn ask_os(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Returns the addresses that `resolver` finds for a host, each once. The error is the resolver's own and does
/// not name the host.
pub(crate) fn look_up(
    target: &HostPort,
    resolver: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = resolver(without_brackets(&target.host), target.port)?;
    let mut seen = HashSet::new();
    addresses.retain(|&address| seen.insert(address));
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host has no address",
        ));
    }
    Ok(addresses)
}

/// Removes the brackets around an IPv6 address, and leaves any other text as it is.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inside| inside.contains(':'))
        .unwrap_or(host)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{HostPort, literal, resolve};
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

    fn target(host: &str, port: u16) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn addresses_need_no_look_up() {
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(literal(host, 80), Some(address));
            assert_eq!(resolve(&target(host, 80)).unwrap(), [address]);
        }
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let scoped = SocketAddrV6::new(link_local, 80, 0, 3);
        assert_eq!(literal("fe80::1%3", 80), Some(scoped.into()));
        assert_eq!(literal("[fe80::1%3]", 80), Some(scoped.into()));
    }

    #[test]
    fn names_are_not_taken_for_addresses() {
        for host in [
            "localhost",
            "",
            "[127.0.0.1]",
            "[localhost]",
            "fe80::1%eth0",
            "127.0.0.1%1",
        ] {
            assert_eq!(literal(host, 80), None, "{host}");
        }
    }

    #[test]
    fn localhost_has_loopback_addresses_each_once() {
        let addresses = resolve(&target("localhost", 7000)).unwrap();
        for (place, address) in addresses.iter().enumerate() {
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(address.port(), 7000);
            assert!(!addresses[..place].contains(address), "{addresses:?}");
        }
        assert!(!addresses.is_empty());
    }

    /// No name has a label longer than 63 bytes, so the resolver asks no server.
    #[test]
    fn errors_name_the_host() {
        let host = "x".repeat(64);
        let error = resolve(&target(&host, 80)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("cannot resolve {host:?}: ")),
            "{message}"
        );
    }
}
