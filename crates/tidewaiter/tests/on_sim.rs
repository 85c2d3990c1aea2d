//! The promises of `Port`, tested on the simulated port.

mod support {
    pub(crate) mod across_threads;
    pub(crate) mod folder;
    pub(crate) mod harness;
    pub(crate) mod piped_child;
    pub(crate) mod random;
    pub(crate) mod reader;
    pub(crate) mod roles;
    pub(crate) mod sim_child;
    pub(crate) mod system;
    pub(crate) mod unix_pair;
    pub(crate) mod unix_sockets;
}

mod promises {
    mod addresses;
    mod admission;
    mod affinity;
    mod child_sockets;
    mod closing;
    mod data;
    mod datagrams;
    mod duplex;
    mod errors;
    mod every_call;
    mod exactly_once;
    mod files;
    mod idle;
    mod keys;
    mod limits;
    mod named_pipes;
    mod options;
    mod ownership;
    mod passing;
    mod pipelines;
    mod processes;
    mod submitting;
    #[cfg(unix)]
    mod unix_messages;
    mod unix_streams;
    mod wait;
}

use support::sim_child::{child, register};
use tidewaiter::port::sim::Sim;
use tidewaiter::port::{Port, PortOptions};
use tidewaiter::process::ExitStatus;

/// The number of connections in tests that use many.
const MANY: usize = 2000;

/// The number of bytes in tests that send much.
const MUCH: usize = 64 << 20;

/// Whether the port is simulated.
const SIMULATED: bool = true;

/// The exit status of a child that was killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

/// Opens a port in a simulation of its own.
fn open(options: &PortOptions) -> Port {
    let sim = Sim::builder(1)
        .receive_bytes(options.receive_bytes)
        .surge_bytes(options.surge_bytes)
        .build();
    sim.create_directory(std::env::temp_dir());
    register(&sim);
    sim.port()
}
