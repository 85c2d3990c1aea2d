//! What goes wrong in a simulated world.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::random::Random;

/// How rough a simulated world is. All faults are off by default.
///
/// Probabilities reach from 0.0 (never) to 1.0 (always) and are drawn from the world's seed.
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
    /// How likely a receive delivers only some of the bytes that are there.
    pub short_receives: f64,
    /// How likely a send takes only some of the bytes that there is room for.
    pub short_sends: f64,
    /// How long a completion is on its way after the operation took effect.
    pub delay: RangeInclusive<Duration>,
    /// Whether completions that could be delivered together come in any order. The completions of one
    /// operation keep theirs.
    pub reorder: bool,
    /// How likely a receive or send that could proceed finds its connection reset instead.
    pub resets: f64,
    /// How likely a connect is refused although somebody listens.
    pub refusals: f64,
    /// How likely a connect is never answered.
    pub silences: f64,
    /// How likely accepting fails for want of resources. The connection stays in the backlog.
    pub accept_failures: f64,
    /// How likely starting a process fails for want of resources.
    pub spawn_failures: f64,
    /// How many bytes a connection (each way) or a pipe takes while nobody reads: 64 KiB unless set,
    /// at least 1. Counts for those made from now on.
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
            capacity: 64 * 1024,
        }
    }
}

impl Faults {
    /// Short receives and sends, delays of up to 20 ms, any order, and buffers of 1 KiB: everything that a
    /// protocol has to bear without losing its connection.
    #[must_use]
    pub fn bumpy() -> Faults {
        Faults {
            short_receives: 0.5,
            short_sends: 0.5,
            delay: Duration::ZERO..=Duration::from_millis(20),
            reorder: true,
            capacity: 1024,
            ..Faults::default()
        }
    }

    /// [`bumpy`](Faults::bumpy), and a few per cent of everything else.
    #[must_use]
    pub fn stormy() -> Faults {
        Faults {
            resets: 0.01,
            refusals: 0.05,
            silences: 0.03,
            accept_failures: 0.05,
            spawn_failures: 0.05,
            ..Faults::bumpy()
        }
    }

    /// How many of `most` bytes are moved: all of them, or with `probability` fewer, at least one.
    pub(super) fn shorten(most: usize, probability: f64, random: &mut Random) -> usize {
        if most > 1 && random.chance(probability) {
            1 + random.index(most - 1)
        } else {
            most
        }
    }
}

/// What can be made to fail on demand, with [`Sim::fail_next`](super::Sim::fail_next).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`Port::listen`](crate::port::Port::listen).
    Listen,
    /// [`Port::open_stream`](crate::port::Port::open_stream).
    OpenStream,
    /// Connecting: the next attempt.
    Connect,
    /// Accepting, once a connection is there; it stays in the backlog.
    Accept,
    /// Receiving: the next attempt, whether or not there is something to receive.
    Receive,
    /// Sending: the next attempt, whether or not there is room.
    Send,
    /// [`Port::spawn`](crate::port::Port::spawn).
    Spawn,
}

/// The failures that were ordered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    failures: BTreeMap<Call, Vec<io::ErrorKind>>,
}

impl Ordered {
    pub(super) fn add(&mut self, call: Call, kind: io::ErrorKind) {
        self.failures.entry(call).or_default().push(kind);
    }

    /// The failure that this `call` is to have, if one was ordered.
    pub(super) fn take(&mut self, call: Call) -> Option<io::Error> {
        let kinds = self.failures.get_mut(&call)?;
        let kind = kinds.remove(0);
        if kinds.is_empty() {
            self.failures.remove(&call);
        }
        Some(io::Error::new(kind, format!("{kind} (simulated)")))
    }
}

/// What running out of descriptors looks like.
pub(super) fn too_many_open_files() -> io::Error {
    io::Error::new(
        io::ErrorKind::QuotaExceeded,
        "too many open files (simulated)",
    )
}
