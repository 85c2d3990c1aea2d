//! `tidewaiter info`: shows which completion port is in use, and why.

use std::env::consts::{ARCH, OS};
use std::fmt::Write;
use std::process::ExitCode;

use tidewaiter::port::{Port, PortKind, PortOptions};

pub(crate) fn run(kind: Option<PortKind>) -> ExitCode {
    let mut options = PortOptions::default();
    options.kind = kind;
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("tidewaiter {version} on {OS}{} {ARCH}\n", release());
    let used = match Port::open(&options) {
        Ok(port) => {
            let info = port.info();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "port: {}\nwhy: {}", info.kind, info.reason);
            let _ = writeln!(text, "features: {}", info.features.join(", "));
            Some(info.kind)
        }
        Err(error) => {
            let _ = writeln!(text, "port: none\nwhy: {error}");
            None
        }
    };
    for other in [PortKind::Iocp, PortKind::Uring, PortKind::Poll] {
        if Some(other) == used {
            continue;
        }
        let _ = writeln!(text, "alternative {other}: {}", state(other));
    }
    let printed = super::print(&text);
    if used.is_none() {
        ExitCode::FAILURE
    } else {
        printed
    }
}

fn state(kind: PortKind) -> String {
    let exists = match kind {
        PortKind::Iocp => OS == "windows",
        PortKind::Uring => OS == "linux",
        _ => OS != "windows",
    };
    if !exists {
        return "not on this OS".to_owned();
    }
    let mut options = PortOptions::default();
    options.kind = Some(kind);
    match Port::open(&options) {
        Ok(_) => "available".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The kernel's release, on systems that have it in `/proc`.
fn release() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => format!(" {}", release.trim()),
        Err(_) => String::new(),
    }
}
