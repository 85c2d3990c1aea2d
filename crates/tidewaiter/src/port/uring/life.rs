//! The ring's life from the first wait to the last, and the thread and process it belongs to.
//!
//! The port submits nothing before the first wait, because a ring belongs to the thread that
//! submits first. Before a fork, the port takes every operation back from the kernel: the
//! operations stay in their table, and the next wait starts them again. The parent keeps its ring;
//! the child makes a new one.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use io_uring::types;

use super::super::table::{Key, Table};
use super::super::{Completion, Driver, Failure};
use super::child::Children;
use super::pending::{Pending, Work};
use super::ring::{Ring, Wait, poll_repeatedly};
use super::watch::ForeignPoll;
use super::{BufferRing, Rc, Uring, WAKE};

/// The longest time that dropping a port waits for its cancelled operations.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The longest pause between attempts to create a ring for which there is no memory. Each pause is
/// twice the one before; after the last one, the port gives up.
const PATIENCE_MAX: Duration = Duration::from_millis(128);

/// Whether the port submits operations to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not before the next wait; the kernel has no operation in hand.
    Held,
    Active,
    /// Not any more: the port is taking back the kernel's operations.
    Suspending,
}

impl Uring {
    /// Returns the ring, which exists unless the phase is `Held`.
    pub(super) fn ring_mut(&mut self) -> &mut Ring {
        self.ring.as_mut().expect("the kernel is not asked without")
    }

    /// Makes this thread the ring's owner, and submits all pending operations.
    pub(super) fn activate(&mut self) -> io::Result<()> {
        if !self.ring.as_ref().is_some_and(Ring::is_ours) {
            self.ring = None;
            self.bell.watched = false;
            self.foreign_poll = ForeignPoll::Idle;
            let ring = self.set_up_patiently()?;
            self.buffers = BufferRing::register(&ring, &self.setup.options)?;
            self.datagrams.forget_buffers();
            self.ring = Some(ring);
        }
        self.phase = Phase::Active;
        self.watch_waker();
        self.start_all();
        Ok(())
    }

    /// Creates a ring. The kernel counts a ring's memory as locked by this user, for some
    /// milliseconds even after the ring is closed, so a lack of memory may soon be over.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel does not report when it releases memory"
    )]
    fn set_up_patiently(&self) -> io::Result<Ring> {
        let mut pause = Duration::from_millis(1);
        loop {
            match Ring::set_up(&self.setup.options, self.setup.task_work) {
                Err(error)
                    if error.kind() == io::ErrorKind::OutOfMemory && pause <= PATIENCE_MAX =>
                {
                    log::debug!("retrying io_uring in {pause:?}: {error}");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                result => return result,
            }
        }
    }

    /// Submits the operations that the kernel does not have, and ends those that were cancelled
    /// meanwhile.
    fn start_all(&mut self) {
        self.end_cancelled();
        for key in self.keys_held(|pending| !matches!(pending.work, Work::Watch | Work::Close)) {
            self.start(key);
        }
    }

    /// Completes cancelled operations that the kernel does not have.
    pub(super) fn end_cancelled(&mut self) {
        for key in self.keys_held(|pending| pending.cancelled) {
            let pending = self.operations.get_mut(key).expect("it was just listed");
            let completion = pending.last(key, Err(Failure::Cancelled));
            self.due.push_back(completion);
            self.retire(key);
        }
    }

    /// Ends requests on files, which no other port continues.
    pub(super) fn end_file_work(&mut self) {
        let is_file_work =
            |pending: &Pending| matches!(pending.work, Work::OpenFile(_) | Work::File(_));
        for key in self.keys_held(is_file_work) {
            let pending = self.operations.get_mut(key).expect("it was just listed");
            let refusal = Failure::os(pending.work.call(), std::io::ErrorKind::Unsupported.into());
            self.due.push_back(pending.last(key, Err(refusal)));
            self.retire(key);
        }
    }

    /// Returns the operations that the kernel does not have.
    fn keys_held(&self, is_one: impl Fn(&Pending) -> bool) -> Vec<Key> {
        let held = self.operations.iter();
        let held = held.filter(|(_, pending)| !pending.lent && is_one(pending));
        held.map(|(key, _)| key).collect()
    }

    /// Takes every operation back from the kernel, so that the kernel no longer writes to the
    /// buffers that a forked child keeps.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.name_children()?;
        if self.phase == Phase::Active {
            self.phase = Phase::Suspending;
            let taken = self.take_back();
            if let Err(error) = taken {
                self.phase = Phase::Active;
                self.start_all();
                return Err(error);
            }
        }
        self.phase = Phase::Held;
        self.await_named();
        self.datagrams.wipe_in_children(false)?;
        self.buffers.wipe_in_children(false)
    }

    /// Cancels the operations that the kernel has, and keeps the completions that arrive anyway.
    fn take_back(&mut self) -> io::Result<()> {
        let lent = self.operations.iter().filter(|(_, pending)| pending.lent);
        let lent: Vec<Key> = lent.map(|(key, _)| key).collect();
        for key in lent {
            self.push_cancel(key);
        }
        let deadline = Instant::now() + DRAIN_MAX;
        let mut kept: Vec<Completion> = self.due.drain(..).collect();
        let mut result = Ok(());
        while result.is_ok() && self.operations.iter().any(|(_, pending)| pending.lent) {
            let left = deadline.saturating_duration_since(Instant::now());
            result = match self.ring_mut().enter(Wait::UpTo(left)) {
                Ok(_) if left.is_zero() => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "io_uring does not give its operations back",
                )),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            while let Some(cqe) = self.ring_mut().next() {
                self.finish(cqe, usize::MAX, &mut kept);
                kept.extend(self.due.drain(..));
            }
        }
        self.due = kept.into();
        result
    }

    /// Prepares a forked copy of the process, for which the original's ring, event and set do not
    /// report.
    pub(super) fn move_in(&mut self) -> io::Result<()> {
        self.disown_ring();
        self.foreign.move_in()?;
        self.bell.event.renew()
    }

    /// Abandons the driver in a forked copy of the process: closes the copies of its descriptors.
    pub(super) fn disown(&mut self) {
        self.phase = Phase::Held;
        self.disown_ring();
        // Drops unsent data together with the port, because dropping it may run the program's code.
        self.handles = Table::default();
        self.children = Children::default();
    }

    fn disown_ring(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.disown();
        }
    }

    /// Lets the next wait restart the operations that were taken back.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.datagrams.wipe_in_children(true)?;
        self.buffers.wipe_in_children(true)?;
        // A wake-up may have gone to the old event, or been lost with it, so end the next wait.
        self.bell.waker.acknowledge();
        self.bell.waker.wake();
        Ok(())
    }

    /// Waits for the last completion of every operation, delivering none; returns whether all came.
    fn drain(&mut self) -> bool {
        if self.phase != Phase::Active {
            return true;
        }
        let keys: Vec<Key> = self.operations.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.cancel_key(key);
        }
        let deadline = Instant::now() + DRAIN_MAX;
        let mut undelivered = Vec::new();
        while !self.operations.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait(Some(left), &mut undelivered).is_err() {
                return false;
            }
            undelivered.clear();
        }
        true
    }
}

impl Uring {
    /// Polls the waker's event, unless the kernel polls it already.
    pub(super) fn watch_waker(&mut self) {
        if std::mem::replace(&mut self.bell.watched, true) {
            return;
        }
        let event = types::Fd(self.bell.event.as_fd().as_raw_fd());
        let entry = poll_repeatedly(event, libc::POLLIN).user_data(WAKE);
        // SAFETY: polling has no addresses.
        unsafe { self.ring_mut().push(entry) };
    }
}

impl Drop for Uring {
    #[expect(
        clippy::disallowed_methods,
        reason = "memory that the kernel may still access is never freed"
    )]
    fn drop(&mut self) {
        if self.drain() {
            return;
        }
        // The thread that entered the ring, or workers that end with it, perform the remaining
        // operations. Without that thread the kernel can only cancel them, which does not touch our
        // memory.
        let abandoned = self.ring.as_ref().is_some_and(Ring::outlives_its_thread);
        self.ring = None;
        if !abandoned {
            log::error!(
                "io_uring does not give back {} operations: their memory, and that of the buffers, is lost",
                self.operations.len()
            );
            std::mem::forget(std::mem::take(&mut self.operations));
            std::mem::forget(Rc::clone(&self.buffers));
            std::mem::forget(std::mem::take(&mut self.datagrams));
        }
    }
}
