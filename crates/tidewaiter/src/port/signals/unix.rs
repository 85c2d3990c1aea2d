//! Signals, by way of `signal-hook`, which chains to the handlers that were there before.

#![expect(unsafe_code, reason = "signal handlers")]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;

use super::{Inbox, ShutdownSignal};

const WATCHED: [(c_int, ShutdownSignal); 3] = [
    (SIGINT, ShutdownSignal::Interrupt),
    (SIGTERM, ShutdownSignal::Terminate),
    (SIGHUP, ShutdownSignal::Hangup),
];

/// How many watches live.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// What each signal did before the first watch, once that is known.
static BEFORE: Mutex<Option<[Before; 3]>> = Mutex::new(None);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Default,
    Ignored,
    /// `signal-hook` calls it, with watches and without.
    Handled,
}

/// A watch's handlers. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Registration {
    actions: Vec<SigId>,
}

impl Registration {
    pub(super) fn new(inbox: &Arc<Inbox>) -> io::Result<Registration> {
        WATCHES.fetch_add(1, Ordering::SeqCst);
        // From here on, dropping it undoes the count as well.
        let mut registration = Registration {
            actions: Vec::new(),
        };
        let before = prepare()?;
        for ((number, signal), before) in WATCHED.into_iter().zip(before) {
            if before == Before::Ignored {
                continue;
            }
            let inbox = Arc::clone(inbox);
            // SAFETY: the action only sets an atomic and wakes, which neither locks nor allocates and
            // is one system call (see `Notify`). Dropping the action happens outside of handlers.
            let action = unsafe { low_level::register(number, move || inbox.put(signal)) }?;
            registration.actions.push(action);
        }
        Ok(registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// Sees to it, once, that signals do what they did before while there are no watches: `signal-hook`
/// leaves its handler in place, so a default action has to be acted out.
fn prepare() -> io::Result<[Before; 3]> {
    let mut known = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = *known {
        return Ok(before);
    }
    let mut before = [Before::Handled; 3];
    for (before, (number, _)) in before.iter_mut().zip(WATCHED) {
        *before = disposition(number)?;
    }
    for (before, (number, _)) in before.into_iter().zip(WATCHED) {
        if before == Before::Default {
            // SAFETY: the action loads an atomic, and `emulate_default_handler` is made for handlers.
            unsafe { low_level::register(number, move || act_as_default(number)) }?;
        }
    }
    *known = Some(before);
    Ok(before)
}

fn act_as_default(number: c_int) {
    if WATCHES.load(Ordering::SeqCst) == 0 {
        // Cannot fail for a signal that it knows.
        let _ = low_level::emulate_default_handler(number);
    }
}

fn disposition(number: c_int) -> io::Result<Before> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: changes nothing, and writes the present action to memory of that type.
    let failed = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    let action = unsafe { action.assume_init() };
    Ok(match action.sa_sigaction {
        libc::SIG_DFL => Before::Default,
        libc::SIG_IGN => Before::Ignored,
        _ => Before::Handled,
    })
}
