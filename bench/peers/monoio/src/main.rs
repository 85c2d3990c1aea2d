//! monoio in the benchmarks. It does not support child processes.

mod clocks;
mod streams;

use std::io;

use bench_common::{Workload, tell};

#[monoio::main(timer_enabled = true)]
async fn main() -> io::Result<()> {
    match Workload::from_arguments() {
        Workload::Echo => streams::serve(streams::echo).await,
        Workload::Sink => streams::serve(streams::sink).await,
        Workload::Source => streams::serve(streams::source).await,
        Workload::Both => streams::serve(streams::both).await,
        Workload::Timers => clocks::timers().await,
        Workload::Threads => clocks::threads().await,
        _ => {
            tell::unsupported();
            Ok(())
        }
    }
}
