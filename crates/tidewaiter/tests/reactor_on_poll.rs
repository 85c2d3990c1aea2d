//! The reactor and its transports, on the readiness port.
#![cfg(unix)]

use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, ReactorBuilder};

#[path = "reactor/mod.rs"]
mod promises;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Poll)
        .build()
        .expect("the readiness port is on every Unix")
}
