//! How other threads end a wait.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::{opcode, types};

use super::super::waker::Notify;
use super::{Uring, WAKE};

/// An event descriptor, polled by the ring. Its counter is never read: each write is a new event.
pub(super) struct Event(pub(super) Arc<OwnedFd>);

impl Notify for Event {
    fn notify(&self) {
        // The counter cannot overflow within centuries, so this neither blocks nor fails.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Uring {
    /// Asks the kernel for a completion each time that the waker is used.
    pub(super) fn watch_waker(&mut self) {
        let readable = u32::try_from(libc::POLLIN).expect("the events are small flags");
        let entry = opcode::PollAdd::new(types::Fd(self.wake.as_raw_fd()), readable)
            .multi(true)
            .build()
            .user_data(WAKE);
        // SAFETY: polling has no addresses.
        unsafe { self.ring.push(entry) };
    }
}
