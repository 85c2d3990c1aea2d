//! tidewaiter in the benchmarks; `TIDEWAITER_PORT` chooses the port.

mod children;
mod clocks;
mod datagrams;
mod pipes;
mod send_file;
mod streams;

use bench_common::{Workload, tell};
use tidewaiter::Reactor;
use tidewaiter::process::Stdio;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workload = Workload::from_arguments();
    let reactor = Reactor::new()?;
    match workload {
        Workload::Echo => streams::serve(&reactor, || streams::Echo)?,
        Workload::Sink => streams::serve(&reactor, || streams::Sink)?,
        // A stream always reads, so a source also drops everything that it receives.
        Workload::Source | Workload::Both => streams::serve(&reactor, || streams::Source)?,
        Workload::UnixEcho => streams::serve_unix(&reactor, || streams::Echo)?,
        Workload::UnixSink => streams::serve_unix(&reactor, || streams::Sink)?,
        Workload::UnixSource => streams::serve_unix(&reactor, || streams::Source)?,
        Workload::UdpEcho { sockets } => datagrams::echo(&reactor, sockets)?,
        Workload::UdpSink => datagrams::sink(&reactor)?,
        Workload::UdpSource => datagrams::source(&reactor)?,
        Workload::Timers => clocks::timers(&reactor),
        Workload::Threads => clocks::threads(&reactor),
        Workload::Spawn { at_a_time } => children::spawn(&reactor, at_a_time)?,
        Workload::ChildStdout => children::stdout(&reactor, Stdio::Pipe)?,
        Workload::ChildStdoutSocket => children::stdout(&reactor, Stdio::Socket)?,
        Workload::Pipeline => children::pipeline(&reactor)?,
        Workload::Children => children::echo(&reactor)?,
        Workload::SendFile => send_file::serve(&reactor)?,
        Workload::PipeEcho => pipes::echo(&reactor)?,
        // See the peer `tasks`.
        Workload::Outputs
        | Workload::Task(_)
        | Workload::Redis
        | Workload::Proxy
        | Workload::Hyper { .. } => {
            tell::unsupported();
            return Ok(());
        }
    }
    reactor.run()?;
    Ok(())
}
