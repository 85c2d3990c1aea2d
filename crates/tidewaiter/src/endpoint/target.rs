//! Where to connect to or to listen, as programs have it at hand.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{HostPort, literal, look_up};
use crate::os::{Address, PipeName, UnixAddress};

/// Where to connect to or to listen: an address, or a text or a host's name that stands for one. Made by [`ToEndpoint`].
///
/// ```
/// use tidewaiter::Address;
/// use tidewaiter::endpoint::{Endpoint, ToEndpoint};
///
/// let text = "localhost:8080".to_endpoint();
/// assert_eq!(text.to_string(), "localhost:8080");
/// assert_eq!(text.address(), None, "a call decides what it is");
/// let address = Address::from(([127, 0, 0, 1], 8080));
/// assert_eq!(Endpoint::from(address.clone()).address(), Some(&address));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Address(Address),
    Host(HostPort),
    /// The path of a UNIX socket, which may be too long for one.
    Path(PathBuf),
    /// A text that is read once it is known what kind of address it should be.
    Text(String),
}

/// Stands for an [`Endpoint`]: an address; a host and a port; or a text.
///
/// Calls for TCP read a text as [`HostPort`] does: `localhost:8080`, `[::1]:8080`. Calls for UNIX sockets read it as a path,
/// calls for named pipes as a name, both with or without the `unix:` or `pipe:` of [`Address`]. Calls for all kinds of
/// addresses, such as those of [`io`](crate::io), tell the kind by that prefix, and take what begins with `/`, `./` or `../`
/// for the path of a UNIX socket.
///
/// - **Connecting** looks a name up on another thread, and tries all its addresses.
/// - **Listening** looks a name up within the call, which blocks until the OS has answered, and listens on the first
///   address at which the OS allows it, as [`std::net::TcpListener::bind`] does. Names from the hosts file, such as
///   `localhost`, are there at once. An IP address needs no lookup.
///
/// A text that cannot be read and a name without an address fail with an error that names both the text and the cause.
///
/// ```
/// use tidewaiter::{Protocol, Reactor, Transport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let listener = reactor.listen_tcp("localhost:0", |_peer| Echo)?;
/// let error = reactor.listen_tcp("localhost", |_peer| Echo).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid address \"localhost\": the port is missing, as in localhost:7000"
/// );
/// # reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
/// # reactor.run()?;
/// # drop(listener);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToEndpoint {
    /// Makes the endpoint. Looks nothing up.
    fn to_endpoint(self) -> Endpoint;
}

/// Which addresses a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    Any,
    Ip,
    Unix,
    Pipe,
}

/// An endpoint that was read.
pub(crate) enum Target {
    Address(Address),
    Host(HostPort),
}

impl AddressKind {
    /// Refuses an address of another kind.
    pub(crate) fn check(self, address: &Address) -> io::Result<()> {
        match self {
            AddressKind::Any => Ok(()),
            AddressKind::Ip => address.check_is_ip(),
            AddressKind::Unix => address.check_is_unix(),
            AddressKind::Pipe => address.check_is_pipe(),
        }
    }
}

impl Endpoint {
    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match &self.0 {
            Form::Address(address) => Some(address),
            Form::Host(_) | Form::Path(_) | Form::Text(_) => None,
        }
    }

    /// The address, for a port, which reads no texts and looks no names up.
    pub(crate) fn expect_address(&self) -> io::Result<&Address> {
        self.address().ok_or_else(|| {
            let message = format!("a port reads no address such as {self}");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    }

    /// Reads a text for a call that takes addresses of `kind`. An address of another kind passes.
    pub(crate) fn read(&self, kind: AddressKind) -> io::Result<Target> {
        let host = match &self.0 {
            Form::Address(address) => return Ok(Target::Address(address.clone())),
            Form::Host(host) => host.clone(),
            Form::Path(path) => {
                let address = UnixAddress::from_pathname(path).map_err(invalid)?;
                return Ok(Target::Address(address.into()));
            }
            Form::Text(text) => match local_address(text, kind) {
                Some(address) => return address.map(Target::Address),
                None => text.parse().map_err(invalid)?,
            },
        };
        Ok(match literal(&host.host, host.port) {
            Some(address) => Target::Address(address.into()),
            None => Target::Host(host),
        })
    }

    /// The addresses that it stands for, at least one. Looks a name up with `resolver`.
    pub(crate) fn resolve(
        &self,
        kind: AddressKind,
        resolver: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<Vec<Address>> {
        match self.read(kind)? {
            Target::Address(address) => Ok(vec![address]),
            Target::Host(host) => {
                let found = look_up(&host, resolver)
                    .map_err(|source| super::resolve::unresolved(&host, source))?;
                Ok(found.into_iter().map(Address::from).collect())
            }
        }
    }
}

/// The address of a UNIX socket or a pipe, if `text` is for one.
fn local_address(text: &str, kind: AddressKind) -> Option<io::Result<Address>> {
    let prefixed = text.starts_with("unix:") || text.starts_with("pipe:");
    // A host cannot begin with any of these.
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|start| text.starts_with(start));
    Some(match kind {
        AddressKind::Ip => return None,
        AddressKind::Any if !prefixed && !is_path => return None,
        _ if prefixed => text.parse().map_err(invalid),
        AddressKind::Pipe if text.starts_with('\\') => {
            PipeName::new(text).map(Address::from).map_err(invalid)
        }
        AddressKind::Pipe => PipeName::local(text).map(Address::from).map_err(invalid),
        AddressKind::Unix | AddressKind::Any => UnixAddress::from_pathname(text)
            .map(Address::from)
            .map_err(invalid),
    })
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Address(address) => address.fmt(f),
            Form::Host(host) => host.fmt(f),
            Form::Path(path) => path.display().fmt(f),
            Form::Text(text) => text.fmt(f),
        }
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Endpoint {
        address.to_endpoint()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        address.to_endpoint()
    }
}

impl From<UnixAddress> for Endpoint {
    fn from(address: UnixAddress) -> Endpoint {
        address.to_endpoint()
    }
}

impl ToEndpoint for Endpoint {
    fn to_endpoint(self) -> Endpoint {
        self
    }
}

impl ToEndpoint for &Endpoint {
    fn to_endpoint(self) -> Endpoint {
        self.clone()
    }
}

/// The path of a UNIX socket, for any call.
impl ToEndpoint for &Path {
    fn to_endpoint(self) -> Endpoint {
        self.to_owned().to_endpoint()
    }
}

/// The path of a UNIX socket, for any call.
impl ToEndpoint for PathBuf {
    fn to_endpoint(self) -> Endpoint {
        Endpoint(Form::Path(self))
    }
}

impl ToEndpoint for &PathBuf {
    fn to_endpoint(self) -> Endpoint {
        self.as_path().to_endpoint()
    }
}

impl ToEndpoint for &Address {
    fn to_endpoint(self) -> Endpoint {
        self.clone().to_endpoint()
    }
}

impl ToEndpoint for &str {
    fn to_endpoint(self) -> Endpoint {
        self.to_owned().to_endpoint()
    }
}

impl ToEndpoint for String {
    fn to_endpoint(self) -> Endpoint {
        Endpoint(Form::Text(self))
    }
}

impl ToEndpoint for &String {
    fn to_endpoint(self) -> Endpoint {
        self.as_str().to_endpoint()
    }
}

impl ToEndpoint for HostPort {
    fn to_endpoint(self) -> Endpoint {
        Endpoint(Form::Host(self))
    }
}

impl ToEndpoint for (&str, u16) {
    fn to_endpoint(self) -> Endpoint {
        (self.0.to_owned(), self.1).to_endpoint()
    }
}

impl ToEndpoint for (String, u16) {
    fn to_endpoint(self) -> Endpoint {
        let (host, port) = self;
        HostPort { host, port }.to_endpoint()
    }
}

impl ToEndpoint for Address {
    fn to_endpoint(self) -> Endpoint {
        Endpoint(Form::Address(self))
    }
}

impl ToEndpoint for SocketAddr {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for &SocketAddr {
    fn to_endpoint(self) -> Endpoint {
        (*self).to_endpoint()
    }
}

impl ToEndpoint for UnixAddress {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for PipeName {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for (IpAddr, u16) {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for (Ipv4Addr, u16) {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for (Ipv6Addr, u16) {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for ([u8; 4], u16) {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}

impl ToEndpoint for ([u16; 8], u16) {
    fn to_endpoint(self) -> Endpoint {
        Address::from(self).to_endpoint()
    }
}
