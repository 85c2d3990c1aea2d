//! tokio in the benchmarks: `PROGRAM WORKLOAD [multi]`, on one thread or on its multi-threaded runtime.

mod children;
mod clocks;
mod datagrams;
mod http;
mod local;
mod proxy;
mod redis;
mod streams;
mod tasks;

use std::io;

use bench_common::{Workload, tell};
use tokio::runtime::Builder;

fn main() -> io::Result<()> {
    let workload = Workload::from_arguments();
    let mut builder = match std::env::args().nth(2).as_deref() {
        Some("multi") => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async {
        match workload {
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
            Workload::Pipeline => children::pipeline().await,
            Workload::Children => children::echo().await,
            Workload::Outputs => children::outputs().await,
            Workload::Task(operation) => tasks::measure(operation).await,
            Workload::Redis => redis::serve().await,
            Workload::Proxy => proxy::serve().await,
            Workload::Hyper { body_bytes } => http::serve(body_bytes).await,
            Workload::ChildStdoutSocket
            | Workload::UdpSink
            | Workload::UdpSource
            | Workload::SendFile => {
                tell::unsupported();
                Ok(())
            }
        }
    })
}
