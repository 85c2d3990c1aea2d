//! From the first wait to the last: which thread and which process the ring belongs to.
//!
//! The kernel is asked for nothing before the first wait, because the thread that asks first is the one
//! that the ring belongs to. Before a fork, everything is taken back from the kernel: the operations stay in
//! their table, and the next wait starts them again. The process that has the ring keeps it for that; a copy
//! of the process makes a ring of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::super::table::Key;
use super::super::{Completion, Driver, Failure};
use super::foreign::ForeignPoll;
use super::operation::{Pending, Work};
use super::ring::{Ring, Wait};
use super::{BufferRing, Rc, Uring, WAKE};

/// How long dropping a port waits for its cancelled operations.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The last pause, of twice the one before each, before a ring is given up that there is no memory for.
const PATIENCE_MAX: Duration = Duration::from_millis(128);

/// Whether the kernel is to be asked for what operations want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not before the next wait: it has nothing in hand.
    Held,
    Active,
    /// No more: what it has in hand is being taken back.
    Suspending,
}

impl Uring {
    /// The ring, which there is while the phase is not `Held`.
    pub(super) fn ring_mut(&mut self) -> &mut Ring {
        self.ring.as_mut().expect("the kernel is not asked without")
    }

    /// Makes this thread the ring's, and asks the kernel for all that was submitted so far.
    pub(super) fn activate(&mut self) -> io::Result<()> {
        if !self.ring.as_ref().is_some_and(Ring::is_ours) {
            self.ring = None;
            self.bell.watched = false;
            self.foreign_poll = ForeignPoll::Idle;
            let ring = self.set_up_patiently()?;
            self.buffers = BufferRing::register(&ring, &self.setup.options)?;
            self.ring = Some(ring);
        }
        self.phase = Phase::Active;
        self.watch_waker();
        self.start_all();
        Ok(())
    }

    /// Makes a ring. The kernel counts its memory as locked by this user, and goes on counting that of a ring
    /// that was given up for some milliseconds: so a lack of memory may be over soon.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel tells nobody when it gives memory back"
    )]
    fn set_up_patiently(&self) -> io::Result<Ring> {
        let mut pause = Duration::from_millis(1);
        loop {
            match Ring::set_up(&self.setup.options, self.setup.task_work) {
                Err(error)
                    if error.kind() == io::ErrorKind::OutOfMemory && pause <= PATIENCE_MAX =>
                {
                    log::debug!("io_uring is tried again in {pause:?}: {error}");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                result => return result,
            }
        }
    }

    /// Starts what the kernel does not have, save what was cancelled meanwhile.
    fn start_all(&mut self) {
        self.end_cancelled();
        for key in self.keys_held(|pending| !matches!(pending.work, Work::Watch | Work::Close)) {
            self.start(key);
        }
    }

    /// Ends what was cancelled and the kernel does not have.
    pub(super) fn end_cancelled(&mut self) {
        for key in self.keys_held(|pending| pending.cancelled) {
            let pending = self.operations.get_mut(key).expect("it was just listed");
            let completion = pending.last(key, Err(Failure::Cancelled));
            self.due.push_back(completion);
            self.retire(key);
        }
    }

    /// Those of the operations that the kernel does not have.
    fn keys_held(&self, is_one: impl Fn(&Pending) -> bool) -> Vec<Key> {
        let held = self.operations.iter();
        let held = held.filter(|(_, pending)| !pending.lent && is_one(pending));
        held.map(|(key, _)| key).collect()
    }

    /// Takes everything back from the kernel, so that it writes to none of the buffers that the program
    /// still holds.
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
        self.buffers.wipe_in_children(false)
    }

    /// Cancels what the kernel has in hand, and keeps what has completed all the same.
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

    /// This process is a copy: what the original's ring, event and set report is not for it.
    pub(super) fn move_in(&mut self) -> io::Result<()> {
        self.disown_ring();
        self.foreign.renew()?;
        self.bell.event.renew()
    }

    pub(super) fn disown_ring(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.disown();
        }
    }

    /// Lets the next wait start again what was taken back.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.buffers.wipe_in_children(true)?;
        // What came to the old event, or was lost with it, ends the next wait.
        self.bell.waker.acknowledge();
        self.bell.waker.wake();
        Ok(())
    }

    /// Awaits the last completion of everything, delivering none. Whether that worked out.
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
    /// Asks the kernel for a completion each time that the waker is used, unless it was asked already.
    pub(super) fn watch_waker(&mut self) {
        if std::mem::replace(&mut self.bell.watched, true) {
            return;
        }
        let readable = u32::try_from(libc::POLLIN).expect("the events are small flags");
        let entry = opcode::PollAdd::new(types::Fd(self.bell.event.as_fd().as_raw_fd()), readable)
            .multi(true)
            .build()
            .user_data(WAKE);
        // SAFETY: polling has no addresses.
        unsafe { self.ring_mut().push(entry) };
    }
}

impl Drop for Uring {
    #[expect(
        clippy::disallowed_methods,
        reason = "what the kernel may still touch is never freed"
    )]
    fn drop(&mut self) {
        if self.drain() {
            return;
        }
        // What the kernel still has in hand is done by the thread that entered the ring, or by workers that
        // end with it. Without that thread, all that is left to the kernel is to cancel it, which touches
        // none of our memory.
        let abandoned = self.ring.as_ref().is_some_and(Ring::outlives_its_thread);
        self.ring = None;
        if !abandoned {
            log::error!(
                "io_uring does not give back {} operations: their memory, and that of the buffers, is lost",
                self.operations.len()
            );
            std::mem::forget(std::mem::take(&mut self.operations));
            std::mem::forget(Rc::clone(&self.buffers));
        }
    }
}
