//! Errors that concern single datagrams.

use std::fmt;
use std::io;

use crate::os::Address;

/// A datagram that could not be sent or received, or that the network reported as undeliverable. It never ends the
/// socket.
///
/// ```
/// use tidewaiter::port::{Datagram, DatagramError};
/// use tidewaiter::{DatagramProtocol, DatagramTransport};
///
/// struct Client;
///
/// impl DatagramProtocol for Client {
///     fn datagram_received(&mut self, _: &DatagramTransport, answer: &Datagram<'_>) {
///         println!("{} bytes", answer.len());
///     }
///
///     fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
///         println!("{error}"); // for instance, nobody listens there
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct DatagramError {
    /// The name of the system call that reported it.
    pub call: &'static str,
    /// The peer that the datagram was for or came from, as far as the OS tells.
    pub peer: Option<Address>,
    /// The OS's error. A peer that refuses datagrams has the kind
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) or, on Windows,
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset).
    pub source: io::Error,
}

impl DatagramError {
    pub(crate) fn new(
        call: &'static str,
        peer: Option<Address>,
        source: io::Error,
    ) -> DatagramError {
        DatagramError { call, peer, source }
    }
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatagramError { call, peer, source } = self;
        match peer {
            Some(peer) => write!(f, "{peer}: {call}: {source}"),
            None => write!(f, "{call}: {source}"),
        }
    }
}

impl std::error::Error for DatagramError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<DatagramError> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: DatagramError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_datagram_becomes_one_of_io_with_its_kind_and_message() {
        let peer = Some(Address::from(([127, 0, 0, 1], 9)));
        let refused = io::ErrorKind::ConnectionRefused;
        let error = DatagramError::new("send", peer, refused.into());
        let message = error.to_string();
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (refused, message));
    }
}
