//! The reactor and its transports, on io_uring.
#![cfg(target_os = "linux")]

use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, ReactorBuilder};

#[path = "reactor/mod.rs"]
mod promises;

/// How much data is much, in bytes.
const MUCH: usize = 64 << 20;

/// Opens the port that this file is about.
fn open(builder: ReactorBuilder) -> Reactor {
    builder
        .port(PortKind::Uring)
        .build()
        .expect("these tests need a kernel that allows io_uring")
}
