//! The reactor and its transports, on I/O completion ports.
#![cfg(windows)]

use tidewaiter::port::PortKind;
use tidewaiter::process::ExitStatus;
use tidewaiter::{Reactor, ReactorBuilder};

mod support {
    pub(crate) mod alone;
    pub(crate) mod event;
    pub(crate) mod number;
    pub(crate) mod random;
    pub(crate) mod real_child;
    pub(crate) mod roles;
    pub(crate) mod stranger;
}

#[path = "reactor/mod.rs"]
mod promises;

#[path = "reactor/handles.rs"]
mod handles;

#[path = "reactor/strangers.rs"]
mod strangers;

use support::real_child::child;

/// How many connections are many.
const MANY: usize = 100;

/// How much data is much, in bytes.
const MUCH: usize = 8 << 20;

/// Whether there is no OS behind the port.
const SIMULATED: bool = false;

/// How a child ends that is killed.
const KILLED: ExitStatus = ExitStatus::Code(1);

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Iocp)
        .build()
        .expect("completion ports are on every Windows")
}
