//! `tidewaiter serve`: a process per connection.
//!
//! The [`server`] accepts connections. Each connection becomes a [`session`], which joins a client to a child.

mod child;
mod client;
mod connection;
mod delivery;
mod limits;
mod orphans;
mod report;
mod server;
mod session;
mod terminal;
#[cfg(test)]
mod tests;
mod totals;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use tidewaiter::endpoint::{self, HostPort};
use tidewaiter::port::ListenOptions;
use tidewaiter::{Error, Listener, Reactor, process};

use super::metrics;
use crate::failure::Failure;
use crate::plan::{self, ServePlan, Streams};
use server::Server;

/// Exit code when the server had to end children after the grace period.
const FORCED: u8 = 3;

pub(crate) fn run(plan: ServePlan) -> Result<ExitCode, Failure> {
    let reactor = plan::reactor(plan.port)?;
    limits::raise();
    // With SIGCHLD ignored, the kernel would discard the exit statuses of our children.
    if let Err(error) = process::stop_ignoring_sigchld() {
        log::warn!("exit statuses of children may be lost: {error}");
    }
    let (address, metrics_address) = (plan.address.clone(), plan.metrics.clone());
    let server = Server::new(&reactor, plan);
    let listeners = listen(&address, |address| {
        let server = Rc::clone(&server);
        let mut options = ListenOptions::new(address);
        // While the server is full, further connections stay in the kernel's backlog.
        options.one_at_a_time = true;
        if server.plan.streams == Streams::Connection {
            return reactor.listen_for_programs(options, move |socket, peer| {
                server.take(socket, peer);
            });
        }
        reactor.listen_tcp(options, move |peer| client::Client::new(&server, peer))
    })?;
    let clients_max = Some(server.clients_max).filter(|max| *max < usize::MAX);
    let clients_max = clients_max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
    for listener in &listeners {
        log::info!(address:% = listener.local_addr(), port:% = reactor.port_info().kind, max_clients:% = clients_max; "listening");
    }
    server.set_listeners(listeners);
    orphans::reap_if_first_process(&server);
    if let Some(address) = metrics_address {
        serve_metrics(&reactor, &server, &address)?;
    }
    let stopping = Rc::clone(&server);
    reactor.on_signal(move |_, signal| stopping.shut_down(signal));
    reactor.run().map_err(Failure::failed)?;
    log::info!("stopped");
    Ok(if server.forced() {
        ExitCode::from(FORCED)
    } else {
        ExitCode::SUCCESS
    })
}

fn serve_metrics(
    reactor: &Reactor,
    server: &Rc<Server>,
    address: &HostPort,
) -> Result<(), Failure> {
    let listeners = listen(address, |address| {
        let server = Rc::clone(server);
        reactor.listen_tcp(
            address,
            metrics::Responder::new(move || report::render(&server)),
        )
    })?;
    for listener in listeners {
        log::info!(address:% = listener.local_addr(); "serving metrics");
    }
    Ok(())
}

fn ip_address(listener: &Listener) -> Option<SocketAddr> {
    listener.local_addr().socket_addr()
}

/// Listens on every address of a host. It is enough if one address of several can be used.
fn listen(
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
