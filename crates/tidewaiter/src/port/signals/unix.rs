//! Signals through `signal-hook`, which also calls the handlers installed before.

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

/// The number of live watches.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// The dispositions before the first watch, once known.
static BEFORE: Mutex<Option<[Disposition; 3]>> = Mutex::new(None);

/// The action of a signal without watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Default,
    Ignored,
    /// `signal-hook` calls the former handler, with watches and without.
    Handled,
}

/// The handlers of a watch. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Registration {
    actions: Vec<SigId>,
}

impl Registration {
    pub(super) fn new(inbox: &Arc<Inbox>) -> io::Result<Registration> {
        WATCHES.fetch_add(1, Ordering::SeqCst);
        // From here on, dropping `registration` also undoes the count.
        let mut registration = Registration {
            actions: Vec::new(),
        };
        let before = prepare()?;
        for ((number, signal), before) in WATCHED.into_iter().zip(before) {
            if before == Disposition::Ignored {
                continue;
            }
            let inbox = Arc::clone(inbox);
            // SAFETY: the action only sets an atomic and wakes, which neither locks nor allocates
            // and makes one system call (see `Notify`). The action is dropped outside of handlers.
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

/// Emulates the default action while there are no watches, because `signal-hook` leaves its handler
/// installed. Does its work once.
fn prepare() -> io::Result<[Disposition; 3]> {
    let mut known = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = *known {
        return Ok(before);
    }
    let mut before = [Disposition::Handled; 3];
    for (before, (number, _)) in before.iter_mut().zip(WATCHED) {
        *before = disposition(number)?;
    }
    for (before, (number, _)) in before.into_iter().zip(WATCHED) {
        if before == Disposition::Default {
            // SAFETY: the action loads an atomic, and `emulate_default_handler` may be called in
            // handlers.
            unsafe { low_level::register(number, move || act_as_default(number)) }?;
        }
    }
    *known = Some(before);
    Ok(before)
}

fn act_as_default(number: c_int) {
    if WATCHES.load(Ordering::SeqCst) == 0 {
        // It fails only for unknown signals.
        let _ = low_level::emulate_default_handler(number);
    }
}

fn disposition(number: c_int) -> io::Result<Disposition> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the call changes nothing, and writes the current action to memory of that type.
    let failed = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    let action = unsafe { action.assume_init() };
    Ok(match action.sa_sigaction {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}
