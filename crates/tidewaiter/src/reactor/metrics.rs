//! Plain counters of what a reactor did.

use std::cell::Cell;

use super::pace::{Pace, TurnTimes};

/// A counter that only the loop's thread changes.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The kinds of live objects on a reactor, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveKind {
    Transport,
    /// A transport that has reported its end to its protocol but is not closed yet.
    Lingering,
    Listener,
    Child,
    Datagrams,
    File,
    /// Any other kind: counted in the total only.
    Other,
}

const KINDS: usize = LiveKind::Other as usize + 1;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) completions: Counter,
    pub(crate) late: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) remote_calls: Counter,
    pub(crate) panics: Counter,
    pub(crate) accepted: Counter,
    pub(crate) adopted: Counter,
    pub(crate) connected: Counter,
    pub(crate) spawned: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(super) pace: Pace,
    /// The number of live objects of each kind.
    kinds: [Cell<usize>; KINDS],
}

impl Counters {
    pub(super) fn count_in(&self, kind: LiveKind) {
        let count = &self.kinds[kind as usize];
        count.set(count.get() + 1);
    }

    pub(super) fn count_out(&self, kind: LiveKind) {
        let count = &self.kinds[kind as usize];
        count.set(count.get() - 1);
    }

    pub(crate) fn recount(&self, from: LiveKind, to: LiveKind) {
        self.count_out(from);
        self.count_in(to);
    }

    fn living(&self, kind: LiveKind) -> usize {
        self.kinds[kind as usize].get()
    }

    pub(crate) fn snapshot(
        &self,
        delayed_calls: usize,
        live: usize,
        in_flight: usize,
        stale: u64,
    ) -> Metrics {
        Metrics {
            turns: self.turns.get(),
            completions: self.completions.get(),
            late_completions: self.late.get() + stale,
            timers_fired: self.timers_fired.get(),
            remote_calls: self.remote_calls.get(),
            panics: self.panics.get(),
            accepted: self.accepted.get(),
            adopted: self.adopted.get(),
            connected: self.connected.get(),
            spawned: self.spawned.get(),
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            live,
            living: Living {
                delayed_calls,
                transports: self.living(LiveKind::Transport),
                lingering: self.living(LiveKind::Lingering),
                listeners: self.living(LiveKind::Listener),
                children: self.living(LiveKind::Child),
                datagram_sockets: self.living(LiveKind::Datagrams),
                files: self.living(LiveKind::File),
            },
            in_flight,
            turn_times: self.pace.times(),
        }
    }
}

/// How many objects of each kind live on a reactor.
///
/// ```
/// let reactor = tidewaiter::Reactor::new()?;
/// let late = reactor.call_later(std::time::Duration::from_secs(60), |_| ());
/// assert_eq!(reactor.metrics().living.delayed_calls, 1);
/// assert_eq!(reactor.metrics().living.transports, 0);
/// # late.cancel();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Living {
    /// Delayed calls that are pending.
    pub delayed_calls: usize,
    /// Connections, and pipes to and from children.
    pub transports: usize,
    /// Connections and pipes that have reported their end but are not closed yet. The peer of a connection may
    /// still be sending (see [`Transport::lose_connection`](crate::Transport::lose_connection)); otherwise,
    /// this state lasts a moment.
    pub lingering: usize,
    /// Listeners.
    pub listeners: usize,
    /// Children that run, or whose pipes are open.
    pub children: usize,
    /// Datagram sockets.
    pub datagram_sockets: usize,
    /// Files that are being opened, open, or being closed.
    pub files: usize,
}

/// Counts of a reactor's activity since it was made, and of what is under way on it now. See
/// [`Reactor::metrics`](crate::Reactor::metrics).
///
/// ```
/// let reactor = tidewaiter::Reactor::new()?;
/// reactor.call_later(std::time::Duration::ZERO, tidewaiter::Reactor::stop);
/// reactor.run()?;
/// let metrics = reactor.metrics();
/// assert_eq!((metrics.timers_fired, metrics.panics, metrics.live), (1, 0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// Completions that the port delivered.
    pub completions: u64,
    /// Completions for objects that no longer exist: always zero, unless the OS or this library is at fault.
    pub late_completions: u64,
    /// Delayed calls that were made.
    pub timers_fired: u64,
    /// Calls from other threads that were made, including results of [work](crate::Reactor::defer_to_thread).
    pub remote_calls: u64,
    /// Callbacks that panicked.
    pub panics: u64,
    /// Connections accepted by this reactor's listeners, including those that they handed over.
    pub accepted: u64,
    /// Connections taken over by [`adopt_stream`](super::Reactor::adopt_stream) or an
    /// [`Adopter`](crate::Adopter). In a group that hands connections over, one that the first reactor
    /// accepted counts here on the reactor that serves it.
    pub adopted: u64,
    /// Connections that were made to others.
    pub connected: u64,
    /// Children that were started.
    pub spawned: u64,
    /// Bytes that protocols received, from sockets and pipes.
    pub bytes_received: u64,
    /// Bytes that the OS took to send, on sockets and pipes.
    pub bytes_sent: u64,
    /// Everything that lives on the reactor: listeners, connections, pipes, children, connections being made,
    /// watches and adopters.
    pub live: usize,
    /// The most important kinds of live objects, and delayed calls.
    pub living: Living,
    /// Operations under way at the port.
    pub in_flight: usize,
    /// How long the turns took.
    pub turn_times: TurnTimes,
}
