//! Sockets that a service manager opened for this process.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use super::{RawDescriptor, Resource};

/// A socket or pipe that a service manager passed to this process: see [`activated`](super::activated).
#[derive(Debug)]
#[non_exhaustive]
pub struct Activated {
    /// The name that the service manager gave it (`FileDescriptorName=` of systemd's socket units); `unknown` if it gave
    /// none.
    pub name: String,
    /// The socket or pipe. Dropping it closes it.
    pub resource: Resource,
}

/// Takes over the sockets and pipes that a service manager opened for this process: socket activation by the variables
/// `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`, as systemd, `systemd-socket-activate` and others set them. Returns
/// them in the manager's order; none if there is no such manager, or if the variables were meant for another process.
///
/// No child inherits them, except by [`Stdio`](crate::process::Stdio). The variables stay in the environment: a child
/// ignores them, because they name this process.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::port::{Resource, activated};
/// # use tidewaiter::{Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo {
/// #     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
/// #         transport.write(data);
/// #     }
/// # }
///
/// let reactor = Reactor::new()?;
/// # if cfg!(unix) {
/// for passed in activated()? {
///     match passed.resource {
///         Resource::Listener(socket) => drop(reactor.listen_on(socket, |_peer| Echo)?),
///         other => println!("{}: unexpected: {other:?}", passed.name),
///     }
/// }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) when a variable makes no sense, a descriptor is not open, or it is
/// something that no port adopts; the message names it. All descriptors that were taken over by then are closed.
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when this process has taken them over before.
/// [`Unsupported`](io::ErrorKind::Unsupported) on Windows.
pub fn activated() -> io::Result<Vec<Activated>> {
    system::activated()
}

/// Copies a socket or pipe that this process was started with, by its number: a descriptor on Unix; a socket on Windows,
/// where the number is one of an inheritable handle that the parent said. The original stays open. Both share one state:
/// see [`Port::adopt`](super::Port::adopt).
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::port::{Resource, inherited};
/// # use tidewaiter::{Protocol, Transport};
/// # struct Silent;
/// # impl Protocol for Silent {
/// #     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
/// # }
///
/// let reactor = Reactor::new()?;
/// match inherited(7) {
///     Ok(Resource::Listener(socket)) => drop(reactor.listen_on(socket, |_peer| Silent)?),
///     Ok(stream) => drop(reactor.adopt(stream, Silent)?),
///     Err(error) => println!("descriptor 7: {error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The OS's error, such as that of a number that is not open; [`InvalidInput`](io::ErrorKind::InvalidInput) for
/// something that no port adopts.
pub fn inherited(descriptor: RawDescriptor) -> io::Result<Resource> {
    system::copy_of(descriptor)?.try_into()
}
