//! Names and their addresses.

use std::io;
use std::net::SocketAddr;

use super::waiting::value;
use crate::endpoint::{self, AddressKind, Endpoint, HostPort, Target, ToEndpoint};
use crate::error::Error;
use crate::os::Address;
use crate::reactor::{Lookup, Reactor};

/// Looks up the addresses of `host:port`, where the host is a name or an IP address, on a thread of the reactor's. They
/// are in the resolver's order, each once. [`Stream::connect`](super::Stream::connect) does so by itself. An IP address needs
/// no lookup.
///
/// The reactor's [resolver](crate::ReactorBuilder::resolver) looks them up if it has one, otherwise the OS's. Dropping the
/// future gives up.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if that is no host with a port, [`NotFound`](io::ErrorKind::NotFound) if
/// the host has no address, [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the reactor stops; otherwise the
/// kind of the resolver's error. The message names the host.
///
/// ```
/// let reactor = tidewaiter::Reactor::new()?;
/// let addresses = reactor.block_on(tidewaiter::io::lookup_host(&reactor, "127.0.0.1:80"))??;
/// assert_eq!(addresses, ["127.0.0.1:80".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn lookup_host(
    reactor: &Reactor,
    target: impl ToEndpoint,
) -> io::Result<Vec<SocketAddr>> {
    match target.to_endpoint().read(AddressKind::Ip)? {
        Target::Address(address) => {
            address.check_is_ip()?;
            Ok(address.socket_addr().into_iter().collect())
        }
        Target::Host(host) => look_up(reactor, host).await,
    }
}

/// The addresses that an endpoint of any kind stands for, at least one.
pub(super) async fn addresses(reactor: &Reactor, endpoint: &Endpoint) -> io::Result<Vec<Address>> {
    match endpoint.read(AddressKind::Any)? {
        Target::Address(address) => Ok(vec![address]),
        Target::Host(host) => {
            let found = look_up(reactor, host).await?;
            Ok(found.into_iter().map(Address::from).collect())
        }
    }
}

async fn look_up(reactor: &Reactor, target: HostPort) -> io::Result<Vec<SocketAddr>> {
    reactor.check_open()?;
    let (giver, addresses) = value();
    let (resolver, host) = (reactor.resolver(), target.clone());
    let lookup = reactor.look_up(
        move || match resolver {
            Some(resolver) => endpoint::look_up(&target, &*resolver),
            None => endpoint::look_up(&target, endpoint::ask_os),
        },
        move |_, addresses| giver.give(addresses),
    )?;
    let lookup = GivingUp(reactor, Some(lookup));
    let addresses = addresses.take().await;
    lookup.end();
    match addresses {
        Some(Ok(addresses)) => addresses.map_err(|source| endpoint::unresolved(&host, source)),
        Some(Err(lost)) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, lost)),
        None => Err(Error::Stopped.into()),
    }
}

/// A lookup that dropping gives up.
struct GivingUp<'a>(&'a Reactor, Option<Lookup>);

impl GivingUp<'_> {
    fn end(mut self) {
        self.1 = None;
    }
}

impl Drop for GivingUp<'_> {
    fn drop(&mut self) {
        if let Some(lookup) = self.1.take() {
            self.0.give_up(lookup);
        }
    }
}
