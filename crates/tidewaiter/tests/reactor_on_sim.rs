//! The reactor and its transports, on the simulated port.

use std::time::Duration;
use tidewaiter::port::sim::Sim;
use tidewaiter::process::ExitStatus;
use tidewaiter::{Reactor, ReactorBuilder};

mod support {
    pub(crate) mod messages;
    pub(crate) mod roles;
    pub(crate) mod sim_child;
}

#[path = "reactor/mod.rs"]
mod promises;

#[path = "reactor/simulated.rs"]
mod simulated;

use support::sim_child::{child, register};

/// How many connections are many.
const MANY: usize = 500;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Whether there is no OS behind the port.
const SIMULATED: bool = true;

/// How a child ends that is killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    let sim = Sim::builder(1).patience(Duration::from_secs(10)).build();
    register(&sim);
    builder
        .simulation(&sim)
        .build()
        .expect("a simulation needs nothing")
}
