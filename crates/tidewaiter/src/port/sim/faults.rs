//! Faults of a simulated world.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::random::Random;

/// The faults of a simulated world, and their probabilities. All are off by default.
///
/// Probabilities range from 0.0 (never) to 1.0 (always); values outside count as the nearer end. Chance
/// comes from the world's seed.
///
/// ```
/// use tidewaiter::port::sim::{Faults, Sim};
///
/// let mut faults = Faults::default();
/// faults.short_receives = 0.5;
/// faults.resets = 0.01;
/// let sim = Sim::builder(7).faults(faults).build();
/// # let _ = sim;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// The probability that a receive delivers only some of the available bytes.
    pub short_receives: f64,
    /// The probability that a send takes only some of the bytes that there is room for.
    pub short_sends: f64,
    /// The delay, by the simulated clock, between an operation's effect and the delivery of its
    /// completion.
    pub delay: RangeInclusive<Duration>,
    /// Whether completions that are due at the same time are delivered in random order. The
    /// completions of one operation stay in order.
    pub reorder: bool,
    /// The probability that a receive or send that could proceed finds its connection reset
    /// instead.
    pub resets: f64,
    /// The probability that a connect is refused although there is a listener.
    pub refusals: f64,
    /// The probability that a connect is never answered.
    pub silences: f64,
    /// The probability that accepting a connection fails for lack of descriptors. The connection
    /// stays in the backlog.
    pub accept_failures: f64,
    /// The probability that starting a process fails for lack of descriptors.
    pub spawn_failures: f64,
    /// The faults of datagrams.
    pub datagrams: DatagramFaults,
    /// The probability that opening a file fails for lack of descriptors.
    pub open_failures: f64,
    /// The probability that a read of a file returns only some of the bytes that are there.
    pub short_reads: f64,
    /// The probability that a write to a file takes only some of the bytes that there is room for.
    pub short_writes: f64,
    /// The probability that the disk fails a read, a write or a sync of a file.
    pub disk_failures: f64,
    /// The number of bytes that all files together may hold: no limit by default.
    pub disk_bytes: usize,
    /// The number of bytes that a connection (each way) or a pipe holds while nobody reads: 64 KiB
    /// by default; zero counts as 1. A change affects connections and pipes made later.
    pub capacity: usize,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            short_receives: 0.0,
            short_sends: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            reorder: false,
            resets: 0.0,
            refusals: 0.0,
            silences: 0.0,
            accept_failures: 0.0,
            spawn_failures: 0.0,
            datagrams: DatagramFaults::default(),
            open_failures: 0.0,
            short_reads: 0.0,
            short_writes: 0.0,
            disk_failures: 0.0,
            disk_bytes: usize::MAX,
            capacity: 64 * 1024,
        }
    }
}

impl Faults {
    /// Short receives, sends, reads and writes, delays of up to 20 ms, completions in any order, and buffers of 1 KiB:
    /// faults that a protocol must survive without losing its connection. Datagrams overtake each other, some arrive
    /// twice, and sends of them must wait at times.
    #[must_use]
    pub fn bumpy() -> Faults {
        Faults {
            short_receives: 0.5,
            short_sends: 0.5,
            short_reads: 0.5,
            short_writes: 0.5,
            delay: Duration::ZERO..=Duration::from_millis(20),
            reorder: true,
            datagrams: DatagramFaults::bumpy(),
            capacity: 1024,
            ..Faults::default()
        }
    }

    /// The faults of [`bumpy`](Faults::bumpy), and each of the others with a probability of 1 to 5 percent.
    #[must_use]
    pub fn stormy() -> Faults {
        Faults {
            resets: 0.01,
            refusals: 0.05,
            silences: 0.03,
            accept_failures: 0.05,
            spawn_failures: 0.05,
            datagrams: DatagramFaults::stormy(),
            open_failures: 0.05,
            disk_failures: 0.01,
            ..Faults::bumpy()
        }
    }

    /// The number of bytes to move, at most `most`: all of them, or with `probability` fewer, at
    /// least one.
    pub(super) fn shorten(most: usize, probability: f64, random: &mut Random) -> usize {
        if most > 1 && random.chance(probability) {
            1 + random.index(most - 1)
        } else {
            most
        }
    }
}

/// The faults of datagrams. All are off by default.
///
/// ```
/// use tidewaiter::port::sim::{DatagramFaults, Faults, Sim};
///
/// let mut datagrams = DatagramFaults::default();
/// datagrams.losses = 0.2;
/// let mut faults = Faults::default();
/// faults.datagrams = datagrams;
/// Sim::new(7).set_faults(faults);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DatagramFaults {
    /// The probability that the network loses a datagram. Datagrams of UNIX sockets are never lost.
    pub losses: f64,
    /// The probability that an IP datagram arrives twice.
    pub duplicates: f64,
    /// The time, by the simulated clock, that an IP datagram takes to arrive. Datagrams overtake others if it varies.
    pub delay: RangeInclusive<Duration>,
    /// The probability that an IP datagram takes 1 to 10 ms more, so that others overtake it.
    pub detours: f64,
    /// The probability that a datagram finds nobody, although there is a socket. Its sender is told, as by ICMP's "port
    /// unreachable".
    pub refusals: f64,
    /// The probability that the queue of the network interface is full when an IP datagram is sent. It has room again
    /// after 1 to 10 ms.
    pub full_interfaces: f64,
    /// The number of datagrams that a socket holds while nobody receives: 256 by default; zero counts as 1. Further IP
    /// datagrams are lost; a send to a UNIX socket waits.
    pub queue: usize,
}

impl Default for DatagramFaults {
    fn default() -> DatagramFaults {
        DatagramFaults {
            losses: 0.0,
            duplicates: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            detours: 0.0,
            refusals: 0.0,
            full_interfaces: 0.0,
            queue: 256,
        }
    }
}

impl DatagramFaults {
    /// Datagrams overtake each other, arrive twice, and wait at times before they are sent; but none is lost on its way.
    fn bumpy() -> DatagramFaults {
        DatagramFaults {
            duplicates: 0.1,
            delay: Duration::ZERO..=Duration::from_millis(20),
            detours: 0.2,
            full_interfaces: 0.1,
            queue: 64,
            ..DatagramFaults::default()
        }
    }

    /// The faults of `bumpy`, and losses.
    fn stormy() -> DatagramFaults {
        DatagramFaults {
            losses: 0.05,
            refusals: 0.05,
            queue: 8,
            ..DatagramFaults::bumpy()
        }
    }
}

/// A call that can be made to fail with [`Sim::fail_next`](super::Sim::fail_next).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`Port::listen`](crate::port::Port::listen).
    Listen,
    /// [`Port::open_stream`](crate::port::Port::open_stream).
    OpenStream,
    /// The next attempt to connect.
    Connect,
    /// The next accept of a connection that waits; the connection stays in the backlog.
    Accept,
    /// The next attempt to receive, whether or not there is something to receive.
    Receive,
    /// The next attempt to send, whether or not there is room.
    Send,
    /// [`Port::open_datagrams`](crate::port::Port::open_datagrams).
    OpenDatagrams,
    /// The next attempt to receive datagrams, whether or not some have arrived. The operation goes on.
    ReceiveDatagrams,
    /// The next attempt to send a datagram, which is then gone.
    SendDatagrams,
    /// The next attempt to open a file.
    OpenFile,
    /// The next read of a file.
    ReadFile,
    /// The next write to a file.
    WriteFile,
    /// The next sync of a file.
    SyncFile,
    /// [`Port::spawn`](crate::port::Port::spawn).
    Spawn,
    /// [`Port::signal`](crate::port::Port::signal) of a process that runs: none gets the signal.
    Signal,
    /// The next wait for the end of a process, which goes on as before.
    Exit,
}

/// The requested failures, oldest first.
#[derive(Debug, Default)]
pub(super) struct RequestedFailures {
    failures: BTreeMap<Call, Vec<io::ErrorKind>>,
}

impl RequestedFailures {
    pub(super) fn add(&mut self, call: Call, kind: io::ErrorKind) {
        self.failures.entry(call).or_default().push(kind);
    }

    /// Takes the failure requested for `call`, if any.
    pub(super) fn take(&mut self, call: Call) -> Option<io::Error> {
        let kinds = self.failures.get_mut(&call)?;
        let kind = kinds.remove(0);
        if kinds.is_empty() {
            self.failures.remove(&call);
        }
        Some(io::Error::new(kind, format!("{kind} (simulated)")))
    }
}

/// The error for running out of descriptors.
pub(super) fn too_many_open_files() -> io::Error {
    io::Error::new(
        io::ErrorKind::QuotaExceeded,
        "too many open files (simulated)",
    )
}
