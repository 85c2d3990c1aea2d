//! Keeps signals away from a child that still has our handlers, and restores the default action of SIGCHLD.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Blocks the delivery of all signals to this thread while it lives.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn now() -> io::Result<SignalsBlocked> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `all` has room for a set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was filled, and `before` has room for a set.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: the call succeeded, so it has written the set.
        let before = unsafe { before.assume_init() };
        Ok(SignalsBlocked { before })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a valid set. The call cannot fail: it knows the operation, and the set is
        // readable.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

pub(crate) fn stop_ignoring_sigchld() -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the call changes nothing, and writes the present action to memory of that type.
    let failed = unsafe { libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    let mut action = unsafe { action.assume_init() };
    if action.sa_sigaction != libc::SIG_IGN {
        return Ok(false);
    }
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: the action is the present one, with the default handler.
    let failed = unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}
