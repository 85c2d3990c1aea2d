//! compio in the benchmarks.

mod children;
mod clocks;
mod streams;

use std::io;

use bench_common::{Workload, tell};

#[compio::main]
async fn main() -> io::Result<()> {
    match Workload::from_arguments() {
        Workload::Echo => streams::serve(streams::echo).await,
        Workload::Sink => streams::serve(streams::sink).await,
        Workload::Source => streams::serve(streams::source).await,
        Workload::Both => streams::serve(streams::both).await,
        Workload::Timers => clocks::timers().await,
        Workload::Threads => clocks::threads().await,
        Workload::Spawn { at_a_time } => children::spawn(at_a_time).await,
        Workload::ChildStdout => children::stdout().await,
        Workload::ChildStdoutSocket | Workload::Pipeline => {
            tell::unsupported();
            Ok(())
        }
        Workload::Children => children::echo().await,
    }
}
