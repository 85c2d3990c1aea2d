//! The reactor and its transports, on the readiness port.
#![cfg(unix)]

use tidewaiter::port::PortKind;
use tidewaiter::process::ExitStatus;
use tidewaiter::{Reactor, ReactorBuilder};

mod support {
    pub(crate) mod alone;
    pub(crate) mod folder;
    pub(crate) mod messages;
    pub(crate) mod number;
    pub(crate) mod random;
    pub(crate) mod real_child;
    pub(crate) mod reasons;
    pub(crate) mod roles;
    pub(crate) mod starting;
    pub(crate) mod stranger;
    pub(crate) mod system;
    pub(crate) mod terminal;
    pub(crate) mod unix_sockets;
}

#[path = "reactor/mod.rs"]
mod promises;

#[path = "reactor/adopting.rs"]
mod adopting;

#[path = "reactor/children.rs"]
mod children;
#[path = "reactor/descriptors.rs"]
mod descriptors;

#[cfg(target_os = "linux")]
#[path = "reactor/file_faults.rs"]
mod file_faults;

#[cfg(target_os = "linux")]
#[path = "reactor/forking.rs"]
mod forking;

#[cfg(target_os = "linux")]
#[path = "reactor/forking_others.rs"]
mod forking_others;

#[cfg(target_os = "linux")]
#[path = "reactor/full_table.rs"]
mod full_table;

#[path = "reactor/inheriting.rs"]
mod inheriting;

#[cfg(target_os = "linux")]
#[path = "reactor/leaving_behind.rs"]
mod leaving_behind;

#[path = "reactor/for_programs.rs"]
mod for_programs;

#[cfg(target_os = "linux")]
#[path = "reactor/large_pieces.rs"]
mod large_pieces;

#[cfg(target_os = "linux")]
#[path = "reactor/linux_trees.rs"]
mod linux_trees;

#[cfg(target_os = "linux")]
#[path = "reactor/lost_interface.rs"]
mod lost_interface;

#[cfg(target_os = "linux")]
#[path = "reactor/meddling.rs"]
mod meddling;

#[path = "reactor/unawaited_sends.rs"]
mod unawaited_sends;

#[path = "reactor/unix_datagrams.rs"]
mod unix_datagrams;

#[path = "reactor/signals.rs"]
mod signals;

#[path = "reactor/socket_files.rs"]
mod socket_files;

#[path = "reactor/socket_files_unix.rs"]
mod socket_files_unix;

#[cfg(target_os = "linux")]
#[path = "reactor/directories.rs"]
mod directories;

#[path = "reactor/serial.rs"]
mod serial;

#[path = "reactor/standard.rs"]
mod standard;

#[path = "reactor/standard_unix.rs"]
mod standard_unix;

#[cfg(target_os = "linux")]
#[path = "reactor/storms.rs"]
mod storms;

#[path = "reactor/strangers.rs"]
mod strangers;

#[path = "reactor/terminals.rs"]
mod terminals;

#[path = "reactor/unix_messages.rs"]
mod unix_messages;

#[path = "reactor/unix_peers.rs"]
mod unix_peers;

#[path = "reactor/unix_sockets.rs"]
mod unix_sockets;

#[path = "reactor/watching.rs"]
mod watching;

#[path = "reactor/watching_descriptors.rs"]
mod watching_descriptors;

#[path = "reactor/watch_drops.rs"]
mod watch_drops;

#[path = "reactor/watch_peers.rs"]
mod watch_peers;

use support::real_child::child;

/// The number of connections in tests that use many.
const MANY: usize = 500;

/// The number of bytes in tests that send much.
const MUCH: usize = 64 << 20;

/// Whether the port is simulated.
const SIMULATED: bool = false;

/// Whether our side of a duplex pipe can be ended alone.
const HALF_CLOSES: bool = true;

/// The exit status of a child that was killed.
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core_dumped: false,
};

/// Opens a reactor on the readiness port.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Poll)
        .build()
        .expect("the readiness port is on every Unix")
}
