//! The port's promises, kept by the simulation.

mod support {
    pub(crate) mod carried;
    pub(crate) mod family;
    pub(crate) mod harness;
    pub(crate) mod random;
    pub(crate) mod reader;
    pub(crate) mod roles;
    pub(crate) mod sim_child;
    pub(crate) mod system;
}

mod promises {
    mod belonging;
    mod child_sockets;
    mod closing;
    mod data;
    mod errors;
    mod exactly_once;
    mod idle;
    mod keys;
    mod options;
    mod ownership;
    mod processes;
    mod submitting;
    mod wait;
}

use support::sim_child::{child, register};
use tidewaiter::port::sim::Sim;
use tidewaiter::port::{Port, PortOptions};
use tidewaiter::process::ExitStatus;

/// How many connections are many.
const MANY: usize = 2000;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Whether there is no OS behind the port.
const SIMULATED: bool = true;

/// How a child ends that is killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

/// A port in a world of its own.
fn open(options: &PortOptions) -> Port {
    let sim = Sim::builder(1).receive_bytes(options.receive_bytes).build();
    register(&sim);
    sim.port()
}
