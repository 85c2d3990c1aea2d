//! An event descriptor that ends waits on Linux.

#![expect(unsafe_code, reason = "a descriptor is replaced under its number")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::waker::Notify;

/// Nobody reads its counter: epoll and io_uring report each write as a new event. It lives as long
/// as there are wakers.
#[derive(Clone)]
pub(super) struct Event(Arc<OwnedFd>);

impl Event {
    pub(super) fn new() -> io::Result<Event> {
        Ok(Event(Arc::new(fresh()?)))
    }

    /// Replaces the event, for all its holders, by one that no other process shares.
    pub(super) fn renew(&self) -> io::Result<()> {
        let fresh = fresh()?;
        let (from, to) = (fresh.as_raw_fd(), self.0.as_raw_fd());
        // SAFETY: both are open. The number remains an event descriptor of ours, so every holder
        // can still use it; the call replaces it in one step.
        if unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn fresh() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notify for Event {
    fn notify(&self) -> bool {
        // It fails only for a full counter, after 2^64 wake-ups. One system call that leaves
        // `errno` alone: safe in a signal handler.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).is_ok()
    }
}
