//! The reactor and its transports, on the simulated port.

use std::time::Duration;
use tidewaiter::port::sim::Sim;
use tidewaiter::process::ExitStatus;
use tidewaiter::{Reactor, ReactorBuilder};

mod support {
    #[cfg(unix)]
    pub(crate) mod alone;
    pub(crate) mod folder;
    pub(crate) mod messages;
    pub(crate) mod number;
    pub(crate) mod reasons;
    pub(crate) mod roles;
    pub(crate) mod sim_child;
    #[cfg(unix)]
    pub(crate) mod starting;
    #[cfg(unix)]
    pub(crate) mod system;
    pub(crate) mod unix_sockets;
}

#[path = "reactor/mod.rs"]
mod promises;

#[path = "reactor/named_pipes/mod.rs"]
mod named_pipes;

#[path = "reactor/simulated.rs"]
mod simulated;

#[path = "reactor/simulated_files.rs"]
mod simulated_files;

#[path = "reactor/simulated_tasks.rs"]
mod simulated_tasks;

#[cfg(unix)]
#[path = "reactor/unix_datagrams.rs"]
mod unix_datagrams;

#[cfg(unix)]
#[path = "reactor/unix_messages.rs"]
mod unix_messages;

#[path = "reactor/unix_sockets.rs"]
mod unix_sockets;

use support::sim_child::{child, register};

/// The number of connections in tests that use many.
const MANY: usize = 500;

/// The number of bytes in tests that send much.
const MUCH: usize = 64 << 20;

/// Whether the port is simulated.
const SIMULATED: bool = true;

/// Whether our side of a duplex pipe can be ended alone.
const HALF_CLOSES: bool = true;

/// The exit status of a child that was killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

/// Opens a reactor on the simulated port.
fn open(builder: ReactorBuilder) -> Reactor {
    let sim = Sim::builder(1).patience(Duration::from_secs(10)).build();
    register(&sim);
    sim.create_directory(std::env::temp_dir());
    builder
        .simulation(&sim)
        .build()
        .expect("a simulation needs nothing")
}
