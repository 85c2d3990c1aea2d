//! tidewaiter in the benchmarks, with tasks instead of callbacks; `TIDEWAITER_PORT` chooses the port.

mod http;
mod proxy;
mod redis;
mod streams;
mod tasks;

use std::error::Error;

use bench_common::{Workload, tell};
use tidewaiter::Reactor;

fn main() -> Result<(), Box<dyn Error>> {
    let workload = Workload::from_arguments();
    let reactor = Reactor::new()?;
    reactor.block_on(async {
        match workload {
            Workload::Echo => streams::serve(&reactor, streams::echo).await,
            Workload::Task(operation) => tasks::measure(&reactor, operation).await,
            Workload::Redis => redis::serve(&reactor).await,
            Workload::Proxy => proxy::serve(&reactor).await,
            Workload::Hyper { body_bytes } => http::serve(&reactor, body_bytes).await,
            _ => {
                tell::unsupported();
                Ok(())
            }
        }
    })?
}
