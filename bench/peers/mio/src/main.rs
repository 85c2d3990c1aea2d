//! mio in the benchmarks: edge-triggered readiness. Users write the loop themselves. mio has no timers and no child
//! processes.

mod connection;
mod server;
mod threads;

use std::io;

use bench_common::{Workload, tell};

use crate::connection::Role;

fn main() -> io::Result<()> {
    match Workload::from_arguments() {
        Workload::Echo => server::serve(Role::Echo),
        Workload::Sink => server::serve(Role::Sink),
        Workload::Source => server::serve(Role::Source),
        Workload::Both => server::serve(Role::Both),
        Workload::Threads => threads::run(),
        _ => {
            tell::unsupported();
            Ok(())
        }
    }
}
