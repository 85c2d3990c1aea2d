//! Blocks SIGPIPE around writes.
//!
//! Writing to a pipe whose reader is gone raises SIGPIPE, which kills the process unless the
//! program ignores it. Writes have no flag against it, and the signal's disposition belongs to the
//! program. So the port blocks the signal in this thread while it writes to pipes, and consumes it
//! if it was raised.
//!
//! The kernel raises it only for the writing thread, so no other thread sees it either.

#![expect(unsafe_code, reason = "signal masks")]

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::SendFlags;

/// The flags with which sends to sockets raise no SIGPIPE, and do not block even if the socket does.
pub(in super::super) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Prepares a descriptor for writing: needs nothing on these systems.
pub(in super::super) fn prepare(_source: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// While this lives, SIGPIPE does not reach this thread.
pub(in super::super) struct Quiet {
    /// The thread's former mask, to be restored.
    mask: libc::sigset_t,
    /// The program has blocked a SIGPIPE that is already pending, and it stays pending.
    was_pending: bool,
    raised: bool,
    /// Keeps the value on its thread, whose mask it holds.
    _thread: PhantomData<*mut ()>,
}

impl Quiet {
    pub(in super::super) fn new() -> Quiet {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: the set is initialised, and the call writes the thread's old mask to `mask`.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &only_sigpipe(), mask.as_mut_ptr()) };
        // SAFETY: the call above cannot fail with a valid `how`, and has written the mask.
        let mask = unsafe { mask.assume_init() };
        Quiet {
            mask,
            was_pending: contains_sigpipe(&mask) && contains_sigpipe(&pending()),
            raised: false,
            _thread: PhantomData,
        }
    }

    /// Must be called after a write failed with EPIPE: the signal was raised.
    pub(in super::super) fn raised(&mut self) {
        self.raised = true;
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.raised && !self.was_pending && contains_sigpipe(&pending()) {
            let mut number = 0;
            // SAFETY: the set is initialised and the call writes the number. It does not block: the
            // signal is pending, and blocked in this thread.
            unsafe { libc::sigwait(&only_sigpipe(), &raw mut number) };
        }
        // SAFETY: the mask is the one that `new` saved; the call does not return the old one.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut()) };
    }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: as above.
    unsafe { set.assume_init() }
}

fn pending() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call writes the set, and fails only for bad addresses.
    unsafe { libc::sigpending(set.as_mut_ptr()) };
    // SAFETY: `sigpending` has written it.
    unsafe { set.assume_init() }
}

fn contains_sigpipe(set: &libc::sigset_t) -> bool {
    // SAFETY: the set is initialised and only read.
    unsafe { libc::sigismember(set, libc::SIGPIPE) == 1 }
}
