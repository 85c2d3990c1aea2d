//! Connections, listeners, children and files: one state machine each, over the reactor and its port.

mod adopter;
mod child;
mod connect;
mod datagram;
mod file;
mod group;
mod listener;
mod serial;
mod standard;
mod stream;

pub use adopter::Adopter;
pub use child::{
    ChildFd, CommandError, CommandFailure, CommandOptions, CommandOutput, CommandPool, CommandRun,
    Process, ProcessProtocol, RemoteProcess,
};
pub use connect::{ConnectOptions, Connector};
pub use datagram::{DatagramProtocol, DatagramTransport};
pub use file::{File, FileOperation};
pub use group::{GroupListener, ReactorGroup};
pub use listener::Listener;
pub use serial::SerialPort;
pub use standard::ResizeWatch;
pub(crate) use stream::SHARE_MIN;
pub use stream::{
    ConnectionTimeout, FileTransfer, IntoProducer, Pause, Producer, ProducerKind, Protocol,
    RemoteTransport, SourcePauser, Transport, TransportId,
};

use std::fmt;
use std::io;

use crate::endpoint::{AddressKind, Endpoint, ask_os};
use crate::error::{ConnectError, Error};
use crate::os::Address;
use crate::port::{CloseMode, Handle, Token};
use crate::reactor::Reactor;

/// Makes a protocol for each connection. The loop calls these methods.
///
/// A closure that takes the peer's address is a factory, with the defaults of the other methods. It returns a protocol, or
/// an `Option` or `Result` of one to [refuse](IntoProtocol) some connections. [`Connector::on_failure`] has a closure hear
/// that connecting failed.
///
/// If one of these calls panics, the panic is logged, and the connection it was for is closed.
///
/// [`Connector::on_failure`]: crate::Connector::on_failure
///
/// ```
/// use tidewaiter::{Address, ConnectError, Factory, Protocol, Reactor, Transport};
///
/// struct Session;
///
/// impl Protocol for Session {
///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
/// }
///
/// /// Serves a limited number of clients.
/// struct Seats(usize);
///
/// impl Factory for Seats {
///     fn build_protocol(&mut self, _peer: Address) -> Option<Box<dyn Protocol>> {
///         self.0 = self.0.checked_sub(1)?;
///         Some(Box::new(Session))
///     }
///
///     fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
///         eprintln!("{error}");
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let listener = reactor.listen_tcp("127.0.0.1:0", Seats(100))?;
/// # drop(listener);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Factory {
    /// Makes the protocol for a connection to or from `peer`; `None` closes the connection at once. One that we have made
    /// then fails with [`ConnectError::Declined`].
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>>;

    /// A connection could not be made, for this reason: see [`Reactor::connect_tcp`]. The default logs a warning.
    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        let _ = reactor;
        log::warn!("{error}");
    }

    /// A connection could not be accepted, most likely because descriptors or memory have run out. It waits in the
    /// backlog.
    ///
    /// The listener [tries again](Reactor::listen_tcp) after a pause, and this is called each time that it fails. The
    /// log tells of the first failure and of the recovery.
    fn accept_failed(&mut self, listener: &Listener, error: &io::Error) {
        let _ = (listener, error);
    }

    /// The listener's socket is closed, by [`Listener::stop_listening`] or because the reactor stops. Its address is
    /// free again. This is the last call; the factory is dropped after it.
    fn listener_closed(&mut self, listener: &Listener) {
        let _ = listener;
    }
}

impl<F, P> Factory for F
where
    F: FnMut(Address) -> P,
    P: IntoProtocol,
{
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        let made = self(peer.clone());
        made.into_protocol(&peer)
    }
}

/// The result of a closure that is a [`Factory`]: a [`Protocol`], or an `Option` or `Result` of one. `None` and `Err` refuse
/// the connection, which is closed at once; an error is logged.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use tidewaiter::{Protocol, Reactor, Transport};
///
/// struct Session;
///
/// impl Protocol for Session {
///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
/// }
///
/// let reactor = Reactor::new()?;
/// let left = Rc::new(Cell::new(2_u32));
/// reactor.listen_tcp("127.0.0.1:0", move |_peer| {
///     let now_left = left.get().checked_sub(1).ok_or("no more sessions today")?;
///     left.set(now_left);
///     Ok::<_, &str>(Session)
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoProtocol {
    /// Returns the protocol, or `None` if the connection to or from `peer` is refused.
    fn into_protocol(self, peer: &Address) -> Option<Box<dyn Protocol>>;
}

impl<P: Protocol> IntoProtocol for P {
    fn into_protocol(self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self))
    }
}

impl<P: Protocol> IntoProtocol for Option<P> {
    fn into_protocol(self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self?.into_protocol(peer)
    }
}

impl<P: Protocol, E: fmt::Display> IntoProtocol for Result<P, E> {
    fn into_protocol(self, peer: &Address) -> Option<Box<dyn Protocol>> {
        match self {
            Ok(protocol) => protocol.into_protocol(peer),
            Err(error) => {
                log::warn!("{peer}: the connection is refused: {error}");
                None
            }
        }
    }
}

/// Closes a handle that belongs to no object on the reactor. The completion goes to no one.
fn close_unawaited(reactor: &Reactor, handle: Handle) {
    let mode = CloseMode::Graceful;
    let closing = reactor.port_mut().close(handle, mode, Token::default());
    debug_assert!(
        closing.is_ok() || reactor.is_copied(),
        "nobody else closes it"
    );
}

impl Reactor {
    /// The addresses that the endpoint stands for, at least one. A lookup of a name blocks.
    pub(crate) fn resolve_now(
        &self,
        endpoint: &Endpoint,
        kind: AddressKind,
    ) -> Result<Vec<Address>, Error> {
        let resolver = self.resolver();
        let addresses = endpoint.resolve(kind, |host, port| match resolver {
            Some(resolver) => resolver(host, port),
            None => ask_os(host, port),
        });
        addresses.map_err(Error::Endpoint)
    }
}
