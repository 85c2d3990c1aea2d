//! Timers, by the timeout of the wait; calls from another thread, by an eventfd that the ring reads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bench_common::floor;
use io_uring::types::{SubmitArgs, Timespec};
use rustix::event::{EventfdFlags, eventfd};

use crate::ring;

pub(crate) fn timers() -> io::Result<()> {
    let ring = ring::open()?;
    floor::timers(|time: Duration| {
        let time = Timespec::from(time);
        let waited = ring
            .submitter()
            .submit_with_args(1, &SubmitArgs::new().timespec(&time));
        match waited {
            Err(error) if is_over(&error) => Ok(()),
            other => other.map(|_| ()),
        }
    })
}

/// Whether a wait ended by its timeout or by a signal.
fn is_over(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR))
}

pub(crate) fn threads() -> io::Result<()> {
    let mut ring = ring::open()?;
    let called: Arc<OwnedFd> = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let calling = Arc::clone(&called);
    let wake = move || {
        let written = rustix::io::write(calling.as_fd(), &1_u64.to_ne_bytes());
        written.expect("the counter does not overflow");
    };
    // The ring may write here as long as the process lives.
    let number: *mut u64 = Box::leak(Box::default());
    ring::push(&mut ring, &ring::read_number(called.as_raw_fd(), number))?;
    floor::threads(wake, || {
        match ring.submit_and_wait(1) {
            Err(error) if is_over(&error) => return Ok(()),
            other => other?,
        };
        while ring.completion().next().is_some() {
            ring::push(&mut ring, &ring::read_number(called.as_raw_fd(), number))?;
        }
        Ok(())
    })
}
