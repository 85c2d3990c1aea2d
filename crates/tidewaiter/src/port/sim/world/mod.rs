//! The simulated world: its clock, and everything in it.

pub(super) mod channel;
pub(super) mod children;
pub(super) mod datagrams;
pub(super) mod event;
pub(super) mod files;
pub(super) mod network;
pub(super) mod pipes;
pub(super) mod program;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use self::channel::Channel;
use self::children::{Child, ProgramMaker};
use self::datagrams::DatagramNetwork;
use self::event::Delivery;
use self::files::Disk;
use self::network::Network;
use self::pipes::Pipes;
use super::faults::{Faults, RequestedFailures};
use super::random::Random;
use crate::port::table::{Key, Table};

/// The clock comes no further: a thousand years, which is in range for every OS's clock.
pub(super) const END: Duration = Duration::from_secs(1000 * 365 * 86_400);

pub(super) struct World {
    /// The time by which the clock has moved since the world was made.
    pub(super) elapsed: Duration,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) requested_failures: RequestedFailures,
    channels: Table<Channel>,
    network: Network,
    pipes: Pipes,
    datagrams: DatagramNetwork,
    pub(super) programs: BTreeMap<OsString, ProgramMaker>,
    disk: Disk,
    children: Table<Child>,
    last_pid: u32,
    /// Events and signals to deliver to processes, in order.
    deliveries: VecDeque<(Key, Delivery)>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        World {
            elapsed: Duration::ZERO,
            random: Random::new(seed),
            faults,
            requested_failures: RequestedFailures::default(),
            channels: Table::default(),
            network: Network::default(),
            pipes: Pipes::default(),
            datagrams: DatagramNetwork::default(),
            programs: BTreeMap::new(),
            disk: Disk::default(),
            children: Table::default(),
            last_pid: 1000,
            deliveries: VecDeque::new(),
        }
    }

    /// Moves the clock to `target`, delivering due timers of processes and datagrams on the way.
    pub(super) fn advance_to(&mut self, target: Duration) {
        while let Some(next) = self.next_event().filter(|&next| next <= target) {
            self.elapsed = self.elapsed.max(next);
            self.fire_timers();
            self.deliver_datagrams();
        }
        self.elapsed = self.elapsed.max(target);
    }

    /// When something happens next by itself.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let timer = self.next_timer();
        timer.into_iter().chain(self.next_datagram_event()).min()
    }

    /// The delivery time of a completion that is decided now.
    pub(super) fn delivery(&mut self) -> Duration {
        let delay = self.faults.delay.clone();
        let delay = self.random.duration(&delay);
        self.after(delay)
    }

    /// When `delay` will be over: at the end of time at the latest.
    pub(super) fn after(&self, delay: Duration) -> Duration {
        self.elapsed.saturating_add(delay).min(END)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("elapsed", &self.elapsed)
            .field("faults", &self.faults)
            .field("connections", &self.network.connections.len())
            .field("listeners", &self.network.listeners.len())
            .field("datagram_sockets", &self.datagrams.sockets.len())
            .field("children", &self.children.len())
            .field("programs", &self.programs.keys())
            .finish_non_exhaustive()
    }
}
