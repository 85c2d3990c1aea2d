//! The reactor and its transports, on I/O completion ports.
#![cfg(windows)]

use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, ReactorBuilder};

#[path = "reactor/mod.rs"]
mod promises;

/// How much data is much, in bytes.
const MUCH: usize = 8 << 20;

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Iocp)
        .build()
        .expect("completion ports are on every Windows")
}
