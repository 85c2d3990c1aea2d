//! The interface between a port and its backends.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::calls::{Answer, Control, Offer, Open, Query, Watched, unsupported};
use super::completion::{Completion, Failure, Spawned};
use super::file::FileCalls;
use super::handle::{CloseMode, Handle, Operation, Token};
use super::options::PortInfo;
use super::request::Request;
use super::waker::Waker;
use super::watch::Interest;
use crate::process::{Spawn, SpawnError};

/// The most completions that one wait delivers; this bounds the work of a turn.
pub(super) const BATCH_MAX: usize = 256;

/// The interface of a backend, which keeps the promises at the head of the [port](super). Only the
/// [gate](super::gate) of a port calls it.
///
/// Backends report a failure to *start* an operation as its completion. They return errors only for
/// requests that are no operation at all: on a closed handle ([`io::ErrorKind::NotFound`]), and those that
/// [`admit`](super::admission::admit) refuses ([`io::ErrorKind::InvalidInput`]).
pub(crate) trait Driver: fmt::Debug {
    /// Reads the driver's own memory; makes no system call.
    fn status(&self) -> Status<'_>;
    /// The clock that measures timeouts.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Makes the calling thread the one that waits from now on. A driver that cannot wait may return
    /// another one that has taken everything over, to replace it.
    fn begin_waiting(&mut self) -> io::Result<Option<Box<dyn Driver>>> {
        Ok(None)
    }
    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation>;
    /// Sends as much of `offer` as the OS takes at once, and returns the number of bytes. Sends nothing if this
    /// gains nothing, for example because the backend submits sends in batches.
    fn send_now(&mut self, _handle: Handle, _offer: Offer<'_>) -> Result<usize, Failure> {
        Ok(0)
    }
    fn cancel(&mut self, operation: Operation) -> bool;
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;
    /// See [`Port::glance`](super::Port::glance). Cheaper than a wait only where each wait is a system call.
    fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.wait(Some(Duration::ZERO), completions)
    }
    fn open(&mut self, open: Open<'_>) -> io::Result<Handle>;
    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation>;
    fn watch(&mut self, watched: Watched<'_>, _token: Token) -> io::Result<Operation> {
        Err(unsupported(
            self.status().info.kind,
            "watch",
            watched.name(),
        ))
    }
    fn set_interest(&mut self, _watch: Operation, _interest: Interest) -> io::Result<()> {
        Err(unsupported(self.status().info.kind, "watch", "descriptors"))
    }
    fn spawn(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError>;
    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()>;
    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer>;
    /// Takes part in a fork of the process. Does nothing in a driver whose OS does not fork.
    fn fork(&mut self, _step: ForkStep) -> io::Result<()> {
        Ok(())
    }
}

/// The state of a driver, as far as it knows it without asking the OS.
pub(crate) struct Status<'a> {
    /// The backend, and why it was chosen.
    pub(super) info: &'a PortInfo,
    /// Ends the driver's waits from other threads.
    pub(super) waker: &'a Waker,
    /// The number of operations whose last completion has not been delivered.
    pub(super) in_flight: usize,
    /// The number of handles that are open or being closed.
    pub(super) open_handles: usize,
    /// The number of completions that the OS delivered for operations that were gone.
    pub(super) stale: u64,
    /// Whether to offer gathered bytes to [`Driver::send_now`] before submitting them.
    pub(super) sends_gathered_now: bool,
    /// Whether [`Driver::send_now`] may send bytes that are pressing.
    pub(super) sends_pressing: bool,
    /// The calls on files that the driver performs by itself.
    pub(super) file_calls: FileCalls,
}

/// A step of a driver in a fork of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkStep {
    /// Takes all operations back from the OS, which gets none until [`ForkStep::After`] or
    /// [`ForkStep::AfterInCopy`].
    Before,
    /// Continues in the process that forked.
    After,
    /// Continues in the copy that `fork` made.
    AfterInCopy,
    /// Abandons the driver in a copy: closes the copies of its descriptors. The driver is only dropped after
    /// that. Never fails.
    Disown,
}
