//! Writing to a pipe whose reader is gone raises SIGPIPE, which ends the process unless the host program
//! ignores it. There is no flag to a write that prevents it, and the signal's disposition is the host's,
//! so the signal is blocked in this thread while pipes are written to, and taken back if it was raised.
//!
//! It is raised for the writing thread alone, so nobody else sees it either.

#![expect(unsafe_code, reason = "signal masks")]

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::SendFlags;

/// How sockets are told not to raise it.
pub(in super::super) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

/// Sets up a descriptor that is written to: nothing to do here.
pub(in super::super) fn prepare(_source: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// While this lives, SIGPIPE does not reach this thread.
pub(in super::super) struct Quiet {
    /// The thread's mask, to be restored.
    mask: libc::sigset_t,
    /// One that is not ours waits already, blocked by the host.
    was_pending: bool,
    raised: bool,
    /// The mask is that of this thread.
    _thread: PhantomData<*mut ()>,
}

impl Quiet {
    pub(in super::super) fn new() -> Quiet {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: the set is initialised, and the thread's old one is written to `mask`.
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

    /// To be called when a write failed with EPIPE: the signal was raised.
    pub(in super::super) fn raised(&mut self) {
        self.raised = true;
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.raised && !self.was_pending && contains_sigpipe(&pending()) {
            let mut number = 0;
            // SAFETY: the set is initialised and the number is written to. It does not block: the signal
            // is pending, and blocked in this thread.
            unsafe { libc::sigwait(&only_sigpipe(), &raw mut number) };
        }
        // SAFETY: the mask is the one that `new` was given; the old one is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut()) };
    }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: initialises the set it is given the address of.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: as above.
    unsafe { set.assume_init() }
}

fn pending() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: writes the set it is given the address of, and fails for bad addresses only.
    unsafe { libc::sigpending(set.as_mut_ptr()) };
    // SAFETY: written above.
    unsafe { set.assume_init() }
}

fn contains_sigpipe(set: &libc::sigset_t) -> bool {
    // SAFETY: the set is initialised, and only read.
    unsafe { libc::sigismember(set, libc::SIGPIPE) == 1 }
}
