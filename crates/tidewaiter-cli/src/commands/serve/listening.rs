//! Where the server listens: the listeners of a place on the command line.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidewaiter::endpoint::{self, HostPort};
use tidewaiter::port::{ListenOptions, ListeningSocket, Resource};
use tidewaiter::{Address, Error, Listener};

use super::client::Client;
use super::server::Server;
use crate::failure::Failure;
use crate::place::{Place, take_descriptor, take_passed};
use crate::plan::Streams;

/// Opens the listeners of the server. Their connections go to it.
pub(super) fn open(server: &Rc<Server>) -> Result<Vec<Listener>, Failure> {
    let place = server.plan.place.clone();
    match &place {
        Place::Tcp(host) => on_host(host, |address| on_address(server, address.into())),
        Place::Local(address) => {
            let listener = on_address(server, address.clone());
            Ok(vec![listener.map_err(Failure::failed)?])
        }
        Place::Passed(name) => take_passed(name.as_deref())?
            .into_iter()
            .map(|passed| on_resource(server, passed.resource, &format!("systemd:{}", passed.name)))
            .collect(),
        Place::Descriptor(number) => {
            let listener = on_resource(server, take_descriptor(*number)?, &place.to_string());
            Ok(vec![listener?])
        }
        Place::Udp(_) => Err(Failure::usage(format!("{place}: UDP has no connections"))),
    }
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

fn on_resource(server: &Rc<Server>, resource: Resource, name: &str) -> Result<Listener, Failure> {
    let Resource::Listener(socket) = resource else {
        let message = format!("{name} is not a listening socket");
        return Err(Failure::Failed(message));
    };
    let listener = on_socket(server, socket.one_at_a_time());
    listener.map_err(|error| Failure::Failed(format!("{name}: {error}")))
}

fn on_socket(server: &Rc<Server>, socket: ListeningSocket) -> Result<Listener, Error> {
    let (reactor, server) = (&server.reactor, Rc::clone(server));
    if server.plan.streams == Streams::Connection {
        let take = move |socket, peer| server.take(socket, peer);
        return reactor.listen_on_for_programs(socket, take);
    }
    reactor.listen_on(socket, move |peer| Client::new(&server, peer))
}

fn ip_address(listener: &Listener) -> Option<SocketAddr> {
    listener.local_addr().socket_addr()
}

/// Listens on every address of a host. It is enough if one address of several can be used.
pub(super) fn on_host(
    host: &HostPort,
    mut on: impl FnMut(SocketAddr) -> Result<Listener, Error>,
) -> Result<Vec<Listener>, Failure> {
    let addresses = endpoint::resolve(host).map_err(Failure::failed)?;
    let mut listeners: Vec<Listener> = Vec::new();
    let mut refused = None;
    for mut address in addresses {
        // With port 0, use the port that the OS chose for the first address on all others.
        if host.port == 0
            && let Some(first) = listeners.first().and_then(ip_address)
        {
            address.set_port(first.port());
        }
        match on(address) {
            Ok(listener) => listeners.push(listener),
            // A name may resolve to an address of a family that this machine does not support.
            Err(Error::Listen { source, address })
                if source.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                refused = Some(Failure::failed(Error::Listen { address, source }));
            }
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    match refused {
        Some(failure) if listeners.is_empty() => Err(failure),
        _ => Ok(listeners),
    }
}
