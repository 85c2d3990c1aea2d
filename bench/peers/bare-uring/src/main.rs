//! The floor for completions: one io_uring with single issuer and deferred task work, multishot accept, and
//! multishot receive into a ring of buffers. Received data is sent directly from its buffer.

mod buffers;
mod clocks;
mod connection;
mod datagrams;
mod ring;
mod server;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use bench_common::{Workload, net, tell};

use crate::connection::Role;
use crate::server::Server;

fn main() -> io::Result<()> {
    match Workload::from_arguments() {
        Workload::Echo => Server::new(Role::Echo, tcp()?)?.run(),
        Workload::Sink => Server::new(Role::Sink, tcp()?)?.run(),
        Workload::Source => Server::new(Role::Source, tcp()?)?.run(),
        Workload::Both => Server::new(Role::Both, tcp()?)?.run(),
        Workload::UnixEcho => Server::new(Role::Echo, unix()?)?.run(),
        Workload::UnixSink => Server::new(Role::Sink, unix()?)?.run(),
        Workload::UnixSource => Server::new(Role::Source, unix()?)?.run(),
        Workload::UdpEcho { sockets } => datagrams::echo(sockets),
        Workload::Timers => clocks::timers(),
        Workload::Threads => clocks::threads(),
        _ => {
            tell::unsupported();
            Ok(())
        }
    }
}

fn tcp() -> io::Result<OwnedFd> {
    net::listener().map(OwnedFd::from)
}

fn unix() -> io::Result<OwnedFd> {
    let listener = UnixListener::bind(net::unix_path())?;
    net::tell_unix();
    Ok(listener.into())
}
