//! `tidewaiter serve`: a process per connection.
//!
//! The [`server`] accepts connections. Each connection becomes a [`session`], which joins a client to a child.

mod child;
mod client;
mod connection;
mod datagrams;
mod delivery;
mod environment;
mod limits;
mod listening;
mod orphans;
mod peer;
mod report;
mod server;
mod session;
mod terminal;
#[cfg(test)]
mod tests;
mod totals;

use std::process::ExitCode;
use std::rc::Rc;

use tidewaiter::endpoint::HostPort;
use tidewaiter::{Listener, Reactor, process};

use super::metrics;
use crate::failure::Failure;
use crate::plan::{self, ServePlan};
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
    let metrics_address = plan.metrics.clone();
    let server = Server::new(&reactor, plan);
    let opened = listening::open(&server)?;
    let clients_max = Some(server.clients_max).filter(|max| *max < usize::MAX);
    let clients_max = clients_max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
    for place in opened.places() {
        log::info!(address:% = place, port:% = reactor.port_info().kind, max_clients:% = clients_max; "listening");
    }
    server.set_listeners(opened.listeners);
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
    let respond = |address| {
        let server = Rc::clone(server);
        let responder = metrics::Responder::new(move || report::render(&server));
        reactor.listen_tcp(address, responder)
    };
    let listeners = listening::on_host(address, respond, Listener::local_addr)?;
    for listener in listeners {
        log::info!(address:% = listener.local_addr(); "serving metrics");
    }
    Ok(())
}
