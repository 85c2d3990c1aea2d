//! The port's promises, kept by the readiness port.

#![cfg(unix)]

mod support {
    pub(crate) mod alone;
    pub(crate) mod carried;
    pub(crate) mod family;
    pub(crate) mod harness;
    pub(crate) mod random;
    pub(crate) mod reader;
    pub(crate) mod real_child;
    pub(crate) mod roles;
    pub(crate) mod system;
}

mod promises {
    mod belonging;
    mod child_descriptors;
    mod child_sockets;
    mod closing;
    mod data;
    mod descriptors;
    mod errors;
    mod exactly_once;
    mod foreign;
    mod forking;
    mod idle;
    mod keys;
    mod options;
    mod ownership;
    mod processes;
    mod signals;
    mod submitting;
    mod threads;
    mod wait;
}

use support::real_child::child;
use tidewaiter::port::{Port, PortKind, PortOptions};
use tidewaiter::process::ExitStatus;

/// How many connections are many.
const MANY: usize = 2000;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Whether there is no OS behind the port.
const SIMULATED: bool = false;

/// How a child ends that is killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

fn open(options: &PortOptions) -> Port {
    let mut options = options.clone();
    options.kind = Some(PortKind::Poll);
    Port::open(&options).expect("every Unix has a readiness port")
}
