//! How ports and sockets are set up, and what a port says of itself.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// The kinds of completion port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortKind {
    /// Windows I/O completion ports.
    Iocp,
    /// Linux io_uring.
    Uring,
    /// Readiness (epoll, kqueue), with the operations performed when ready.
    Poll,
    /// The simulation: no OS at all.
    Sim,
}

impl PortKind {
    /// Its short name: `iocp`, `uring`, `poll` or `sim`. `TIDEWAITER_PORT` knows the first three.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PortKind::Iocp => "iocp",
            PortKind::Uring => "uring",
            PortKind::Poll => "poll",
            PortKind::Sim => "sim",
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PortKind {
    type Err = String;

    fn from_str(name: &str) -> Result<PortKind, String> {
        match name {
            "iocp" => Ok(PortKind::Iocp),
            "uring" => Ok(PortKind::Uring),
            "poll" => Ok(PortKind::Poll),
            _ => Err(format!(
                "unknown port {name:?}: expected `iocp`, `uring` or `poll`"
            )),
        }
    }
}

/// How to open a port.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortOptions {
    /// Which port to open. `None`: what the environment variable `TIDEWAITER_PORT` says, otherwise the
    /// best that this machine allows.
    pub kind: Option<PortKind>,
    /// The most bytes that one [`Outcome::Received`](super::Outcome::Received) holds: 16 KiB unless set. The
    /// readiness port takes up to a sixteenth more from a connection, and Windows's port from all: so they see of a
    /// message of that length that nothing is behind it.
    pub receive_bytes: usize,
    /// The same, if that is more, for what surges: a pipe that has been full, and a connection that brings much at
    /// once: 64 KiB unless set. On Unix these are read directly, and on Linux such pipes get more room.
    pub surge_bytes: usize,
    /// How many receive buffers the port keeps ready at most; a power of two up to 32768: 256 unless set.
    /// It begins with fewer. On Windows, busy connections have further ones to wait with, up to 16 MiB.
    pub receive_buffers: u16,
    /// Entries in io_uring's submission queue; a power of two up to 32768: 1024 unless set.
    pub submission_entries: u32,
    /// Entries in io_uring's completion queue: 8192 unless set. More completions than that are kept by
    /// the kernel and fetched later: nothing is lost, it only takes longer.
    pub completion_entries: u32,
}

impl Default for PortOptions {
    fn default() -> Self {
        PortOptions {
            kind: None,
            receive_bytes: 16 * 1024,
            surge_bytes: 64 * 1024,
            receive_buffers: 256,
            submission_entries: 1024,
            completion_entries: 8192,
        }
    }
}

/// What a port is, and why it was chosen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortInfo {
    /// The backend.
    pub kind: PortKind,
    /// Why this one: "asked for by TIDEWAITER_PORT", "io_uring was refused: io_uring_setup: …".
    pub reason: String,
    /// What it makes use of, a name each: "multishot receive", "deferred task work", …
    pub features: Vec<String>,
}

impl fmt::Display for PortInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.reason)
    }
}

/// Where and how to listen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// The address; port 0 lets the OS choose one.
    pub address: SocketAddr,
    /// How many connections may wait to be accepted; the OS may cap it. 1024 unless set.
    pub backlog: u32,
    /// Let several sockets listen on the same address, the kernel spreading connections over them
    /// (Linux). An error of the kind [`Unsupported`](std::io::ErrorKind::Unsupported) elsewhere.
    pub reuse_port: bool,
    /// On an IPv6 address, take no IPv4 connections: true unless set.
    pub only_v6: bool,
}

impl ListenOptions {
    /// Listen on `address`, everything else as usual.
    #[must_use]
    pub fn new(address: SocketAddr) -> ListenOptions {
        ListenOptions {
            address,
            backlog: 1024,
            reuse_port: false,
            only_v6: true,
        }
    }
}

impl From<SocketAddr> for ListenOptions {
    fn from(address: SocketAddr) -> ListenOptions {
        ListenOptions::new(address)
    }
}

/// An option of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// Send small segments at once instead of gathering them (`TCP_NODELAY`).
    NoDelay(bool),
    /// Probe an idle connection, first after this long (`None`: not at all). Whole seconds count.
    KeepAlive(Option<Duration>),
}
