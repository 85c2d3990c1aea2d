//! Where a socket or pipe is: an IP address and port, a UNIX socket's name, or a named pipe.

mod error;
mod escape;
mod pipe;
mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::option;
use std::str::FromStr;

pub use error::AddressError;
use error::Problem;
pub use pipe::PipeName;
pub use unix::UnixAddress;

/// Where something listens or is connected to. A clone is cheap: it shares the name.
///
/// A [`SocketAddr`] converts into one, and [`socket_addr`](Address::socket_addr) returns it. Which addresses work
/// depends on the [port](crate::port): for the others it returns [`Unsupported`](io::ErrorKind::Unsupported). All ports
/// listen on and connect to IP addresses and UNIX sockets, but not every Windows has UNIX sockets (Windows 10 has them since
/// version 1803, Wine has none). The ports of Windows and of simulations listen on and connect to named pipes as well.
///
/// # As text
///
/// [`FromStr`] reads these forms, and [`Display`](fmt::Display) writes them:
///
/// | Text | Address |
/// | --- | --- |
/// | `127.0.0.1:80`, `[::1]:80`, `[fe80::1%2]:80` | an IP address and port, with the number of the interface after `%` |
/// | `unix:/run/app.sock` | the path of a UNIX socket, absolute or relative |
/// | `unix:@app` | an abstract name of a UNIX socket (Linux) |
/// | `unix:` | a UNIX socket without a name |
/// | `pipe:app` | the named pipe `\\.\pipe\app` of this machine |
/// | `pipe:\\host\pipe\app` | the named pipe of another machine |
///
/// In the names of UNIX sockets and pipes, `%` with two hexadecimal digits stands for a byte: write `%25` for `%`, and
/// `%40` for an `@` at the beginning of a path. `Display` also writes control characters and bytes that are not UTF-8
/// in this way, so the text is one line. It leaves an IPv6 flow label out.
///
/// Reading an address looks no name up: for `localhost:80`, see [`HostPort`](crate::endpoint::HostPort).
///
/// ```
/// use tidewaiter::{Address, UnixAddress};
///
/// let server: Address = "[::1]:7000".parse()?;
/// assert_eq!(server.socket_addr().map(|ip| ip.port()), Some(7000));
///
/// let control: Address = UnixAddress::from_pathname("/run/app.sock")?.into();
/// assert_eq!(control.to_string(), "unix:/run/app.sock");
/// assert_eq!(control.socket_addr(), None);
/// # Ok::<(), tidewaiter::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// The address of a UNIX socket.
    Unix(UnixAddress),
    /// A named pipe of Windows.
    Pipe(PipeName),
}

impl Address {
    /// Returns the IP address and port; `None` for an address of another kind.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::Pipe(_) => None,
        }
    }

    /// Returns the port; `None` for an address of another kind.
    ///
    /// ```
    /// use tidewaiter::Address;
    ///
    /// let address: Address = "127.0.0.1:8080".parse()?;
    /// assert_eq!(address.port(), Some(8080));
    /// # Ok::<(), tidewaiter::AddressError>(())
    /// ```
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// Refuses an address of another kind.
    pub(crate) fn check_is_ip(&self) -> io::Result<()> {
        self.check(matches!(self, Address::Ip(_)), "an IP address")
    }

    /// Refuses an address of another kind.
    pub(crate) fn check_is_unix(&self) -> io::Result<()> {
        self.check(
            matches!(self, Address::Unix(_)),
            "the address of a UNIX socket",
        )
    }

    /// Refuses an address of another kind.
    pub(crate) fn check_is_pipe(&self) -> io::Result<()> {
        self.check(matches!(self, Address::Pipe(_)), "the name of a pipe")
    }

    fn check(&self, is_good: bool, kind: &str) -> io::Result<()> {
        if is_good {
            return Ok(());
        }
        let message = format!("{self} is not {kind}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// Whether a socket with one of these addresses may connect to the other.
    pub(crate) fn is_of_family_of(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Ip(one), Address::Ip(other)) => one.is_ipv4() == other.is_ipv4(),
            (Address::Unix(_), Address::Unix(_)) | (Address::Pipe(_), Address::Pipe(_)) => true,
            _ => false,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Address {
        Address::Ip(address.into())
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Address {
        Address::Unix(address)
    }
}

impl From<PipeName> for Address {
    fn from(name: PipeName) -> Address {
        Address::Pipe(name)
    }
}

/// The standard library's functions take an IP address in this form. Other addresses fail with
/// [`InvalidInput`](io::ErrorKind::InvalidInput).
impl ToSocketAddrs for Address {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.check_is_ip()?;
        Ok(self.socket_addr().into_iter())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => address.fmt(f),
            Address::Pipe(name) => name.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let parsed = if let Some(name) = text.strip_prefix(unix::PREFIX) {
            unix::parse(name).map(Address::Unix)
        } else if let Some(name) = text.strip_prefix(pipe::PREFIX) {
            pipe::parse(name).map(Address::Pipe)
        } else {
            text.parse().map(Address::Ip).map_err(|_| Problem::Form)
        };
        parsed.map_err(|problem| AddressError::new(text, problem))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
