//! The reactor and its transports, on I/O completion ports.
#![cfg(windows)]

use tidewaiter::port::PortKind;
use tidewaiter::process::ExitStatus;
use tidewaiter::{Reactor, ReactorBuilder};

mod support {
    pub(crate) mod alone;
    pub(crate) mod event;
    pub(crate) mod folder;
    pub(crate) mod number;
    pub(crate) mod random;
    pub(crate) mod real_child;
    pub(crate) mod reasons;
    pub(crate) mod roles;
    pub(crate) mod starting;
    pub(crate) mod stranger;
    pub(crate) mod unix_sockets;
}

#[path = "reactor/mod.rs"]
mod promises;

#[path = "reactor/adopting.rs"]
mod adopting;

#[path = "reactor/handles.rs"]
mod handles;

#[path = "reactor/for_programs.rs"]
mod for_programs;

#[path = "reactor/inheriting.rs"]
mod inheriting;

#[path = "reactor/named_pipes/mod.rs"]
mod named_pipes;

#[path = "reactor/directories.rs"]
mod directories;

#[path = "reactor/serial.rs"]
mod serial;

#[path = "reactor/socket_files.rs"]
mod socket_files;

#[path = "reactor/standard.rs"]
mod standard;

#[path = "reactor/leaving_handles.rs"]
mod leaving_handles;

#[path = "reactor/strangers.rs"]
mod strangers;

#[path = "reactor/terminals.rs"]
mod terminals;

#[path = "reactor/unix_sockets.rs"]
mod unix_sockets;

#[path = "reactor/watching.rs"]
mod watching;

#[path = "reactor/watching_sockets.rs"]
mod watching_sockets;

#[path = "reactor/watch_drops.rs"]
mod watch_drops;

use support::real_child::child;

/// The number of connections in tests that use many.
const MANY: usize = 100;

/// The number of bytes in tests that send much.
const MUCH: usize = 8 << 20;

/// Whether the port is simulated.
const SIMULATED: bool = false;

/// Whether our side of a duplex pipe can be ended alone.
const HALF_CLOSES: bool = false;

/// The exit status of a child that was killed.
const KILLED: ExitStatus = ExitStatus::Code(1);

/// Opens a reactor on I/O completion ports.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Iocp)
        .build()
        .expect("completion ports are on every Windows")
}
