//! Chooses the backend to open.

use std::io;

use super::gate::Gate;
use super::{Driver, ParsePortKindError, Port, PortKind, PortOptions};
use crate::os::Origin;
use crate::process::Survey;

/// The environment variable that forces a backend.
const VARIABLE: &str = "TIDEWAITER_PORT";

impl Port {
    /// Opens the kind of port that `options` asks for, otherwise the kind that the environment
    /// variable `TIDEWAITER_PORT` names (`iocp`, `uring` or `poll`), otherwise the best that this
    /// machine allows: on Linux io_uring, or readiness if the kernel refuses io_uring.
    /// [`info`](Port::info) and the log report the kind and the reason.
    ///
    /// # Errors
    ///
    /// When the kind asked for cannot be opened (there is no silent replacement):
    /// [`Unsupported`](io::ErrorKind::Unsupported) if this OS does not have it, otherwise the OS's error.
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a `TIDEWAITER_PORT` that names no kind, for options
    /// out of range, and for [`PortKind::Sim`], whose ports come from a [`Sim`](super::sim::Sim).
    pub fn open(options: &PortOptions) -> io::Result<Port> {
        options.check()?;
        let (kind, reason) = match (options.kind, std::env::var_os(VARIABLE)) {
            (Some(kind), _) => (Some(kind), "asked for by the program".to_owned()),
            (None, Some(name)) if !name.is_empty() => {
                let kind =
                    name.to_string_lossy()
                        .parse()
                        .map_err(|problem: ParsePortKindError| {
                            io::Error::new(
                                io::ErrorKind::InvalidInput,
                                format!("{VARIABLE}: {problem}"),
                            )
                        })?;
                (Some(kind), format!("asked for by {VARIABLE}"))
            }
            (None, _) => (None, String::new()),
        };
        let driver = match kind {
            Some(kind) => open_kind(kind, options, reason.clone()).map_err(|error| {
                let message = format!("the {kind} port, {reason}, cannot be opened: {error}");
                io::Error::new(error.kind(), message)
            })?,
            None => open_best(options)?,
        };
        log::info!("port: {}", driver.status().info);
        Ok(Port::over(driver, Some(Origin::here()?)))
    }

    /// Wraps a driver; a port without an origin has no OS behind it.
    pub(super) fn over(driver: Box<dyn Driver>, origin: Option<Origin>) -> Port {
        Port {
            gate: Gate::new(driver, origin),
            survey: Survey::default(),
        }
    }
}

/// Opens the best backend of this OS that the machine allows.
#[cfg(target_os = "linux")]
pub(super) fn open_best(options: &PortOptions) -> io::Result<Box<dyn Driver>> {
    match super::uring::open(options, "the best on Linux".to_owned()) {
        Ok(driver) => Ok(driver),
        Err(refusal) => {
            log::warn!("io_uring was refused, using epoll instead: {refusal}");
            super::poll::open(options, format!("io_uring was refused: {refusal}"))
        }
    }
}

#[cfg(windows)]
pub(super) fn open_best(options: &PortOptions) -> io::Result<Box<dyn Driver>> {
    super::iocp::open(options, "the one on Windows".to_owned())
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn open_best(options: &PortOptions) -> io::Result<Box<dyn Driver>> {
    super::poll::open(options, "the one on this OS".to_owned())
}

fn open_kind(kind: PortKind, options: &PortOptions, reason: String) -> io::Result<Box<dyn Driver>> {
    match kind {
        #[cfg(target_os = "linux")]
        PortKind::Uring => super::uring::open(options, reason),
        #[cfg(unix)]
        PortKind::Poll => super::poll::open(options, reason),
        #[cfg(windows)]
        PortKind::Iocp => super::iocp::open(options, reason),
        PortKind::Sim => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a simulated port is opened from a `Sim`",
        )),
        #[allow(
            unreachable_patterns,
            reason = "which kinds are left depends on the OS"
        )]
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this OS has no such port",
        )),
    }
}
