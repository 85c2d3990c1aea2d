//! The floor for completions: one io_uring with single issuer and deferred task work, multishot accept, and
//! multishot receive into a ring of buffers. Received data is sent directly from its buffer.

mod buffers;
mod clocks;
mod connection;
mod ring;
mod server;

use std::io;

use bench_common::{Workload, tell};

use crate::connection::Role;
use crate::server::Server;

fn main() -> io::Result<()> {
    let role = match Workload::from_arguments() {
        Workload::Echo => Role::Echo,
        Workload::Sink => Role::Sink,
        Workload::Source => Role::Source,
        Workload::Both => Role::Both,
        Workload::Timers => return clocks::timers(),
        Workload::Threads => return clocks::threads(),
        _ => {
            tell::unsupported();
            return Ok(());
        }
    };
    Server::listen(role)?.run()
}
