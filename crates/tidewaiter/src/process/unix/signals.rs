//! Keeping signals away from a child that has our handlers for a while.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// While this lives, no signal is delivered to this thread.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn now() -> io::Result<SignalsBlocked> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: there is room for a set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was filled, and there is room for the set before.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: the call succeeded, and so has written it.
        let before = unsafe { before.assume_init() };
        Ok(SignalsBlocked { before })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a valid set. It cannot fail: the operation is known, and the set is readable.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}
