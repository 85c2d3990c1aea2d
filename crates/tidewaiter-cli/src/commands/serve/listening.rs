//! Where the server listens: the listeners of a place on the command line.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidewaiter::endpoint::{self, HostPort};
use tidewaiter::port::{ListenOptions, ListeningSocket, Resource};
use tidewaiter::{Address, Error, Listener};

use super::client::Client;
use super::datagrams;
use super::server::Server;
use crate::failure::Failure;
use crate::place::{Place, take_descriptor, take_passed};
use crate::plan::Streams;

/// The sockets that the server serves.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) listeners: Vec<Listener>,
    /// The addresses of its datagram sockets.
    datagrams: Vec<Address>,
}

impl Opened {
    /// Where each socket is, for the log.
    pub(super) fn places(&self) -> impl Iterator<Item = String> {
        let listeners = self.listeners.iter().map(|it| it.local_addr().to_string());
        let datagrams = self.datagrams.iter().map(|address| match address {
            Address::Ip(address) => format!("udp:{address}"),
            address => address.to_string(),
        });
        listeners.chain(datagrams)
    }

    fn serve(&mut self, server: &Rc<Server>, place: &str, given: Resource) -> Result<(), Failure> {
        let failed = |error| Failure::Failed(format!("{place}: {error}"));
        match given {
            Resource::Listener(socket) => {
                let listener = on_socket(server, socket.one_at_a_time()).map_err(failed)?;
                self.listeners.push(listener);
                Ok(())
            }
            Resource::Datagrams(socket) if server.plan.streams != Streams::Connection => {
                let address = datagrams::adopt(server, socket).map_err(failed)?;
                self.datagrams.push(address);
                Ok(())
            }
            Resource::Datagrams(_) => Err(Failure::Failed(format!(
                "--inetd: {place} has no connection that COMMAND could have"
            ))),
            _ => {
                let message =
                    format!("{place} is neither a listening socket nor a datagram socket");
                Err(Failure::Failed(message))
            }
        }
    }
}

/// Opens what the server serves. The clients go to it.
pub(super) fn open(server: &Rc<Server>) -> Result<Opened, Failure> {
    let mut opened = Opened::default();
    let place = &server.plan.place;
    match place {
        Place::Tcp(host) => {
            opened.listeners = on_host(
                host,
                |address| on_address(server, address.into()),
                Listener::local_addr,
            )?;
        }
        Place::Udp(host) => {
            opened.datagrams = on_host(
                host,
                |address| datagrams::open(server, address.into()),
                Address::clone,
            )?;
        }
        Place::Local(address) => {
            let listener = on_address(server, address.clone());
            opened.listeners.push(listener.map_err(Failure::failed)?);
        }
        Place::Passed(name) => {
            for passed in take_passed(name.as_deref())? {
                let place = format!("systemd:{}", passed.name);
                opened.serve(server, &place, passed.resource)?;
            }
        }
        Place::Descriptor(number) => {
            let resource = take_descriptor(*number)?;
            opened.serve(server, &place.to_string(), resource)?;
        }
    }
    Ok(opened)
}

fn on_address(server: &Rc<Server>, address: Address) -> Result<Listener, Error> {
    let mut options = ListenOptions::new(address);
    // While the server is full, further connections stay in the kernel's backlog.
    options.one_at_a_time = true;
    options.socket_file.mode = server.plan.socket_mode;
    let (reactor, server) = (&server.reactor, Rc::clone(server));
    if server.plan.streams == Streams::Connection {
        return reactor.listen_for_programs(options, move |socket, peer| server.take(socket, peer));
    }
    reactor.listen(options, move |peer| Client::new(&server, peer))
}

fn on_socket(server: &Rc<Server>, socket: ListeningSocket) -> Result<Listener, Error> {
    let (reactor, server) = (&server.reactor, Rc::clone(server));
    if server.plan.streams == Streams::Connection {
        let take = move |socket, peer| server.take(socket, peer);
        return reactor.listen_on_for_programs(socket, take);
    }
    reactor.listen_on(socket, move |peer| Client::new(&server, peer))
}

/// Listens on every address of a host, and returns what `on` opened there. It is enough if one address of several can be
/// used. `bound_to` tells the address that a socket has got.
pub(super) fn on_host<B>(
    host: &HostPort,
    mut on: impl FnMut(SocketAddr) -> Result<B, Error>,
    bound_to: impl Fn(&B) -> Address,
) -> Result<Vec<B>, Failure> {
    let addresses = endpoint::resolve(host).map_err(Failure::failed)?;
    let mut bound: Vec<B> = Vec::new();
    let mut refused = None;
    for mut address in addresses {
        // With port 0, use the port that the OS chose for the first address on all others.
        if host.port == 0
            && let Some(first) = bound
                .first()
                .and_then(|first| bound_to(first).socket_addr())
        {
            address.set_port(first.port());
        }
        match on(address) {
            Ok(listener) => bound.push(listener),
            // A name may resolve to an address of a family that this machine does not support.
            Err(error) if is_not_ours(&error) => refused = Some(Failure::failed(error)),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    match refused {
        Some(failure) if bound.is_empty() => Err(failure),
        _ => Ok(bound),
    }
}

/// Whether the address is one that this machine does not have, be it for connections or for datagrams.
fn is_not_ours(error: &Error) -> bool {
    match error {
        Error::Listen { source, .. } | Error::Datagrams { source, .. } => {
            source.kind() == io::ErrorKind::AddrNotAvailable
        }
        _ => false,
    }
}
