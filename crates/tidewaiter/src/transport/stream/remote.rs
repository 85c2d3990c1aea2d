//! A connection, as other threads reach it.

use std::fmt;

use bytes::Bytes;

use super::Stream;
use super::transport::{Transport, TransportId};
use crate::error::Error;
use crate::port::Token;
use crate::reactor::Remote;

/// A handle through which other threads reach a connection or pipe. Clones are equivalent.
///
/// Its methods never block, as those of [`Remote`]: they have the reactor's thread call the method of the same name of
/// [`Transport`], in the order of sending. The handle may outlive the connection and the reactor: calls for a connection
/// that is gone do nothing.
///
/// ```
/// use std::thread;
/// use tidewaiter::{ConnectOptions, Protocol, Reactor, Reason, Transport};
///
/// struct Client;
///
/// impl Protocol for Client {
///     fn connection_made(&mut self, transport: &Transport) {
///         let remote = transport.remote();
///         thread::spawn(move || {
///             remote.write("from another thread\n")?;
///             remote.lose_connection()
///         });
///     }
///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
///     fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
///         assert!(reason.is_done());
///         transport.reactor().stop();
///     }
/// }
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let port = server.local_addr()?.port();
/// let reactor = Reactor::new()?;
/// reactor.connect(ConnectOptions::new("127.0.0.1", port), |_peer| Client);
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RemoteTransport {
    remote: Remote,
    token: Token,
}

impl Transport {
    /// Makes a handle of this connection for other threads.
    #[must_use]
    pub fn remote(&self) -> RemoteTransport {
        RemoteTransport {
            remote: self.reactor().remote(),
            token: self.stream().token.get(),
        }
    }
}

impl RemoteTransport {
    /// As [`Transport::id`].
    #[must_use]
    pub fn id(&self) -> TransportId {
        TransportId::of(self.token)
    }

    /// Has the reactor's loop call `callback` with the connection. If the connection is gone, the callback is dropped
    /// there uncalled.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn call(&self, callback: impl FnOnce(&Transport) + Send + 'static) -> Result<(), Error> {
        let token = self.token;
        self.remote.call(move |reactor| {
            if let Some(stream) = reactor.find::<Stream>(token) {
                callback(&Transport::of(&stream));
            }
        })
    }

    /// As [`Transport::write_bytes`].
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn write(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        self.call(move |transport| transport.write_bytes(data))
    }

    /// As [`Transport::lose_connection`].
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn lose_connection(&self) -> Result<(), Error> {
        self.call(Transport::lose_connection)
    }

    /// As [`Transport::abort_connection`].
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn abort_connection(&self) -> Result<(), Error> {
        self.call(Transport::abort_connection)
    }
}

impl fmt::Debug for RemoteTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTransport")
            .field("id", &self.id())
            .finish()
    }
}
