//! The promises of `Port`, tested on the readiness port.

#![cfg(unix)]

mod support {
    pub(crate) mod across_threads;
    pub(crate) mod alone;
    pub(crate) mod folder;
    pub(crate) mod harness;
    pub(crate) mod number;
    pub(crate) mod piped_child;
    pub(crate) mod random;
    pub(crate) mod reader;
    pub(crate) mod real_child;
    pub(crate) mod roles;
    pub(crate) mod starting;
    pub(crate) mod system;
    pub(crate) mod unix_pair;
    pub(crate) mod unix_sockets;
}

mod promises {
    mod addresses;
    mod admission;
    mod affinity;
    mod child_descriptors;
    mod child_sockets;
    mod child_unix;
    mod closing;
    mod data;
    mod datagrams;
    mod descriptors;
    mod duplex;
    mod errors;
    mod every_call;
    mod exactly_once;
    mod files;
    mod foreign;
    mod forking;
    mod idle;
    mod keys;
    mod limits;
    mod options;
    mod ownership;
    mod passing;
    mod pipelines;
    mod processes;
    mod refused_programs;
    mod signals;
    mod submitting;
    mod terminals;
    mod threads;
    mod unix_messages;
    mod unix_streams;
    mod wait;
    mod watches;
}

use support::real_child::child;
use tidewaiter::port::{Port, PortKind, PortOptions};
use tidewaiter::process::ExitStatus;

/// The number of connections in tests that use many.
const MANY: usize = 2000;

/// The number of bytes in tests that send much.
const MUCH: usize = 64 << 20;

/// Whether the port is simulated.
const SIMULATED: bool = false;

/// The exit status of a child that was killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

fn open(options: &PortOptions) -> Port {
    let mut options = options.clone();
    options.kind = Some(PortKind::Poll);
    Port::open(&options).expect("every Unix has a readiness port")
}
