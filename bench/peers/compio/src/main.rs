//! compio in the benchmarks.

mod children;
mod clocks;
mod datagrams;
mod local;
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
        Workload::UnixEcho => local::serve(streams::echo).await,
        Workload::UnixSink => local::serve(streams::sink).await,
        Workload::UnixSource => local::serve(streams::source).await,
        Workload::UdpEcho { sockets } => datagrams::echo(sockets).await,
        Workload::PipeEcho => local::pipe_echo().await,
        Workload::Timers => clocks::timers().await,
        Workload::Threads => clocks::threads().await,
        Workload::Spawn { at_a_time } => children::spawn(at_a_time).await,
        Workload::ChildStdout => children::stdout().await,
        Workload::Children => children::echo().await,
        Workload::ChildStdoutSocket
        | Workload::Pipeline
        | Workload::UdpSink
        | Workload::UdpSource
        | Workload::SendFile
        | Workload::Outputs
        | Workload::Task(_)
        | Workload::Redis
        | Workload::Proxy
        | Workload::Hyper { .. } => {
            tell::unsupported();
            Ok(())
        }
    }
}
