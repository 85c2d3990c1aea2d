//! `tidewaiter info`: which port is used, and why.

use std::env::consts::{ARCH, OS};
use std::fmt::Write;
use std::process::ExitCode;

use tidewaiter::port::{Port, PortKind, PortOptions};

pub(crate) fn run(kind: Option<PortKind>) -> ExitCode {
    let mut options = PortOptions::default();
    options.kind = kind;
    let mut text = format!("tidewaiter {} on {OS} {ARCH}\n", env!("CARGO_PKG_VERSION"));
    let (used, failed) = match Port::open(&options) {
        Ok(port) => {
            let info = port.info();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "port: {}\nwhy: {}", info.kind, info.reason);
            let _ = writeln!(text, "features: {}", info.features.join(", "));
            (Some(info.kind), false)
        }
        Err(error) => {
            let _ = writeln!(text, "port: none\nwhy: {error}");
            (None, true)
        }
    };
    for other in [PortKind::Iocp, PortKind::Uring, PortKind::Poll] {
        if Some(other) == used {
            continue;
        }
        options.kind = Some(other);
        let state = match Port::open(&options) {
            Ok(_) => "available".to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(text, "alternative {other}: {state}");
    }
    let printed = super::print(&text);
    if failed { ExitCode::FAILURE } else { printed }
}
