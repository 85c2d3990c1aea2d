//! The state that the handles, ports and sockets of one world share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::faults::Faults;
use super::thread_notify::ThreadNotify;
use super::world::World;

/// The state that the handles, ports and sockets of one world share.
pub(super) struct SharedWorld {
    pub(super) seed: u64,
    /// The start of the simulated clock, an arbitrary instant.
    start: Instant,
    pub(super) patience: Duration,
    pub(super) receive_bytes: usize,
    /// The most bytes of a sequenced packet.
    pub(super) surge_bytes: usize,
    world: Mutex<World>,
    ports: Mutex<Vec<Weak<ThreadNotify>>>,
}

impl SharedWorld {
    pub(super) fn new(
        seed: u64,
        faults: Faults,
        patience: Duration,
        receive_bytes: usize,
        surge_bytes: usize,
    ) -> SharedWorld {
        SharedWorld {
            seed,
            start: Instant::now(),
            patience,
            receive_bytes,
            surge_bytes: surge_bytes.max(receive_bytes),
            world: Mutex::new(World::new(seed, faults)),
            ports: Mutex::new(Vec::new()),
        }
    }

    /// Locks the world. A panic elsewhere does not poison it.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world, lets its programs react, and wakes ports that may sleep in other threads.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = {
            let mut world = self.lock();
            let result = change(&mut world);
            world.run_programs();
            result
        };
        // Only patient ports sleep.
        if !self.patience.is_zero() {
            self.recheck_ports();
        }
        result
    }

    fn recheck_ports(&self) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|port| match port.upgrade() {
            Some(port) => {
                port.recheck();
                true
            }
            None => false,
        });
    }

    pub(super) fn add_port(&self, port: &Arc<ThreadNotify>) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.push(Arc::downgrade(port));
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.lock().elapsed
    }
}

impl fmt::Debug for SharedWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedWorld(seed {})", self.seed)
    }
}
