//! The simulated port: a kernel in memory, deterministic from a seed.
//!
//! A [`Sim`] is a small world: a network, a clock, programs that run as child processes, and
//! [`Faults`]. Its [ports](Sim::port) keep the same promises as the ports over an OS, so everything built on
//! a [`Port`] can be tested on them, quickly and without sleeping. A failure can be repeated: the same seed
//! and the same calls give the same completions in the same order.
//!
//! # The clock
//!
//! The clock moves only by [`Sim::advance`], or by a [`Port::wait`] that finds nothing to deliver. Such a wait moves the clock to the next event: a delayed completion, a process's timer or the
//! end of its own timeout. An hour passes in no time.
//!
//! A wait without a timeout for something that can never come fails with
//! [`Deadlock`](std::io::ErrorKind::Deadlock). If another thread is to end the wait with a
//! [`Waker`](crate::port::Waker), for instance a worker thread that has a result, tell the world by
//! [`Builder::patience`] how long that may take in real time. A wait with a timeout never takes real time.
//!
//! With several ports on one thread, let each of them deliver its completions (a wait with a timeout of
//! zero) before one of them moves the clock on.
//!
//! # The network
//!
//! All ports of a world are on one host that has every address, except those reserved for documentation
//! (such as `192.0.2.1`): a connect to such an address is never answered, and nothing can be bound to one.
//! Sockets, pipes and files of the OS cannot be adopted. Socket options do nothing.
//!
//! The names of UNIX sockets, paths and abstract ones, are the world's own: one socket has each, and a path must be free on
//! the world's disk, but its folder need not be there. Closing the socket frees the name. There are no users: modes, owners
//! and locks of [`SocketFileOptions`](super::SocketFileOptions) have no effect, and nobody has credentials. Descriptors can
//! be passed: they are those of the OS.
//!
//! Datagrams go from socket to socket, over UDP or between UNIX sockets. What [`DatagramFaults`] does to those of UDP, by
//! the world's seed: it loses, doubles, delays and reorders them, and lets senders wait or be refused. The host has one
//! network interface, with the number 1. Broadcasts to `255.255.255.255` and to a group reach every socket that a
//! network would let hear them.
//!
//! A reset drops the bytes in transit in both directions. It comes from [`Sim::reset`], from
//! [`Faults::resets`], or from closing a connection with received bytes unread.
//!
//! Named pipes are as on Windows: see [`PipeListenOptions`](super::PipeListenOptions). Access
//! lists have no effect, no connection over a pipe is reset, and a connect that [`Faults::refusals`] refuses finds no pipe.
//!
//! # Processes
//!
//! [`Sim::program`] gives a name to a [`Program`]; a [`Command`](crate::process::Command) of exactly
//! this name starts it. [`programs`] has ready-made ones. A process has only standard streams and inherits
//! nothing: [`Stdio::Inherit`](crate::process::Stdio::Inherit) is the null device.
//!
//! # Files
//!
//! The world has a disk of its own, with the root, the working directory and what [`Sim::write_file`] and
//! [`Sim::create_directory`] make. Paths are compared as they are written. [`Faults::disk_bytes`] makes the disk full.
//!
//! # Example
//!
//! An hour without a connection passes at once. See the head of [`port`](super) for a conversation.
//!
//! ```
//! use std::time::Duration;
//!
//! use tidewaiter::port::sim::Sim;
//! use tidewaiter::port::{ListenOptions, Request, Token};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut port = Sim::new(7).port();
//! let listener = port.listen(&ListenOptions::new(([127, 0, 0, 1], 0)))?;
//! port.submit(listener, Request::Accept, Token(1))?;
//!
//! let (begun, hour) = (port.now(), Duration::from_secs(3600));
//! let mut completions = Vec::new();
//! port.wait(Some(hour), &mut completions)?;
//! assert!(completions.is_empty());
//! assert_eq!(port.now() - begun, hour);
//!
//! let error = port.wait(None, &mut completions).expect_err("nobody is left to connect");
//! assert_eq!(error.kind(), std::io::ErrorKind::Deadlock);
//! # Ok(())
//! # }
//! ```

mod accept;
mod child;
mod connect;
mod driver;
mod entry;
mod faults;
mod file;
mod hang_up;
mod pending;
pub mod programs;
mod random;
mod receive;
mod receive_datagrams;
mod send;
mod send_datagrams;
mod shared_world;
mod socket;
#[cfg(test)]
mod tests;
mod thread_notify;
mod turn;
mod world;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::socket::SimSocket;
pub use faults::{Call, DatagramFaults, Faults};
pub use world::event::Event;
pub use world::program::{Output, Process, Program};

use self::driver::SimDriver;
use self::shared_world::SharedWorld;
use self::world::END;
use super::buffer::Pool;
use super::options::RECEIVE_BYTES_MAX;
use super::{Port, PortInfo, PortKind, PortOptions};
use crate::os::Address;

/// A simulated world. Clones are the same world. See the [module](self).
///
/// It can be shared with other threads, but a world used by several threads is not deterministic.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<SharedWorld>,
}

impl Sim {
    /// Makes a world without faults.
    #[must_use]
    pub fn new(seed: u64) -> Sim {
        Sim::builder(seed).build()
    }

    /// Sets up a world: its faults, its patience and the size of its receives.
    pub fn builder(seed: u64) -> Builder {
        let options = PortOptions::default();
        Builder {
            seed,
            faults: Faults::default(),
            patience: Duration::ZERO,
            receive_bytes: options.receive_bytes,
            surge_bytes: options.surge_bytes,
        }
    }

    /// Opens a new port of this world.
    #[must_use]
    pub fn port(&self) -> Port {
        let info = PortInfo {
            kind: PortKind::Sim,
            reason: format!("simulated, seed {}", self.shared.seed),
            features: Vec::new(),
        };
        let pool = Pool::new(self.shared.receive_bytes, 16);
        let driver = SimDriver::new(Arc::clone(&self.shared), info, pool);
        Port::over(Box::new(driver), None)
    }

    /// The time by the world's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// The time by which the world's clock has moved since the world was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().elapsed
    }

    /// Moves the clock forward by `duration`, to a thousand years after the world was made at most. The timers of
    /// processes that are due on the way fire.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidewaiter::port::sim::Sim;
    /// let sim = Sim::new(1);
    /// let start = sim.now();
    /// sim.advance(Duration::from_secs(3600));
    /// assert_eq!(sim.now() - start, Duration::from_secs(3600));
    /// ```
    pub fn advance(&self, duration: Duration) {
        self.shared.change(|world| {
            let target = world.after(duration);
            world.advance_to(target);
        });
    }

    /// Replaces the faults. Operations that are already decided are not affected.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.change(|world| world.faults = faults);
    }

    /// Makes the next `call` of any port of this world fail with an error of this kind. Several requests for
    /// the same call queue up.
    ///
    /// ```
    /// # use std::io;
    /// # use tidewaiter::port::ListenOptions;
    /// # use tidewaiter::port::sim::{Call, Sim};
    /// let sim = Sim::new(1);
    /// sim.fail_next(Call::Listen, io::ErrorKind::PermissionDenied);
    /// let options = ListenOptions::new(([127, 0, 0, 1], 80));
    /// let error = sim.port().listen(&options).unwrap_err();
    /// assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    /// ```
    pub fn fail_next(&self, call: Call, kind: io::ErrorKind) {
        self.shared
            .change(|world| world.requested_failures.add(call, kind));
    }

    /// Resets all connections of sockets that have an end at `address`, and returns their number.
    ///
    /// The address of a connecting socket names its one connection. The address that clients
    /// connected to names all their connections there, accepted or waiting in the backlog; for a
    /// listener on `0.0.0.0` or `[::]`, that is not the address it listens on.
    pub fn reset(&self, address: impl Into<Address>) -> usize {
        let address = address.into();
        self.shared.change(|world| world.reset_all(&address))
    }

    /// Registers a program: from now on, a command of this name runs what `make` returns, called once for
    /// each process. Replaces an earlier program of this name.
    ///
    /// ```
    /// use tidewaiter::port::sim::{Sim, programs};
    ///
    /// let sim = Sim::new(1);
    /// sim.program("cat", || programs::Cat);
    /// sim.program("false", || programs::Exit(1));
    /// ```
    pub fn program<P: Program + 'static>(
        &self,
        name: impl Into<OsString>,
        mut make: impl FnMut() -> P + Send + 'static,
    ) {
        let maker = Box::new(move || Box::new(make()) as Box<dyn Program>);
        let name = name.into();
        let replaced = self
            .shared
            .change(|world| world.programs.insert(name, maker));
        // Drop it without the lock: this runs the program's code.
        drop(replaced);
    }

    /// Stores a file on the world's disk, and makes the directories on its way. It replaces a file of that name; handles
    /// that have the old one open keep it.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.shared
            .change(|world| world.store_file(path.as_ref(), bytes));
    }

    /// The bytes of a file on the world's disk; `None` if there is no such file.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.shared.lock().stored_file(path.as_ref())
    }

    /// Removes a file from the world's disk; returns whether there was one. Handles that have it open keep it.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> bool {
        self.shared.change(|world| world.erase_file(path.as_ref()))
    }

    /// Makes a directory on the world's disk, and those on its way.
    pub fn create_directory(&self, path: impl AsRef<Path>) {
        self.shared
            .change(|world| world.create_directory(path.as_ref()));
    }

    /// The number of running processes, including those for which no port has a handle.
    #[must_use]
    pub fn running_processes(&self) -> usize {
        self.shared.lock().running_children()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.shared.seed)
            .field("world", &*self.shared.lock())
            .finish()
    }
}

/// Sets up a [`Sim`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    seed: u64,
    faults: Faults,
    patience: Duration,
    receive_bytes: usize,
    surge_bytes: usize,
}

impl Builder {
    /// Sets the faults: none by default.
    pub fn faults(mut self, faults: Faults) -> Builder {
        self.faults = faults;
        self
    }

    /// Sets how long, in real time, a wait without a timeout waits for other threads once the world
    /// has no further event of its own: zero by default.
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.patience = patience.min(END);
        self
    }

    /// Sets the most bytes that one [`Outcome::Received`](crate::port::Outcome::Received) holds: 16 KiB by
    /// default; at least 1, less than 2 GiB. What is outside counts as the nearer end.
    pub fn receive_bytes(mut self, receive_bytes: usize) -> Builder {
        self.receive_bytes = receive_bytes.clamp(1, RECEIVE_BYTES_MAX);
        self
    }

    /// Sets the most bytes in a sequenced packet that can be received, as
    /// [`PortOptions::surge_bytes`] does on other ports: 68 KiB by default; less than `receive_bytes` counts as that.
    pub fn surge_bytes(mut self, surge_bytes: usize) -> Builder {
        self.surge_bytes = surge_bytes;
        self
    }

    /// Makes the world.
    #[must_use]
    pub fn build(self) -> Sim {
        Sim {
            shared: Arc::new(SharedWorld::new(
                self.seed,
                self.faults,
                self.patience,
                self.receive_bytes,
                self.surge_bytes,
            )),
        }
    }
}
