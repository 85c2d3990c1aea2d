//! The reactor and its transports, on the simulated port.

use std::time::Duration;
use tidewaiter::port::sim::Sim;
use tidewaiter::{Reactor, ReactorBuilder};

#[path = "reactor/mod.rs"]
mod promises;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    let sim = Sim::builder(1).patience(Duration::from_secs(10)).build();
    builder
        .simulation(&sim)
        .build()
        .expect("a simulation needs nothing")
}
