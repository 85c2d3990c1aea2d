//! Console events. Windows calls the handler on a separate thread, so the handler may lock.

#![expect(unsafe_code, reason = "the console's handler")]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::GetCurrentProcessId;
use windows_sys::core::BOOL;

use super::{Inbox, ShutdownSignal};

/// The watches that get the events. While there are any, the handler is installed.
static WATCHES: Mutex<Vec<Arc<Inbox>>> = Mutex::new(Vec::new());

/// Registers a watch for the events. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Registration {
    inbox: Arc<Inbox>,
}

impl Registration {
    pub(super) fn new(inbox: &Arc<Inbox>) -> io::Result<Registration> {
        let mut watches = watches();
        if watches.is_empty() {
            set_handler(TRUE)?;
        }
        watches.push(Arc::clone(inbox));
        Ok(Registration {
            inbox: Arc::clone(inbox),
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut watches = watches();
        watches.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
        if watches.is_empty()
            && let Err(error) = set_handler(FALSE)
        {
            log::error!("the console handler was not removed: {error}");
        }
    }
}

fn watches() -> MutexGuard<'static, Vec<Arc<Inbox>>> {
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_handler(add: BOOL) -> io::Result<()> {
    // SAFETY: the handler has the right type and is never unloaded before the process ends.
    match unsafe { SetConsoleCtrlHandler(Some(handle), add) } {
        FALSE => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// How to react to a console event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Report this signal.
    ShutDown(ShutdownSignal),
    Ignore,
    /// Leave the event, which is unknown here, to the handlers installed before.
    PassOn,
}

/// Returns how a process in the given session reacts to `event`.
///
/// Windows reports the end of any user's session to all processes in session 0, where services and
/// scheduled tasks run that belong to no user's session. They are not asked to end, but the default
/// handler would end them. In any other session, the event means the end of that session.
pub(super) fn reaction_to(event: u32, session: u32) -> Reaction {
    match event {
        CTRL_C_EVENT => Reaction::ShutDown(ShutdownSignal::Interrupt),
        CTRL_BREAK_EVENT => Reaction::ShutDown(ShutdownSignal::Break),
        CTRL_CLOSE_EVENT => Reaction::ShutDown(ShutdownSignal::Close),
        CTRL_LOGOFF_EVENT if session == 0 => Reaction::Ignore,
        CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => Reaction::ShutDown(ShutdownSignal::Shutdown),
        _ => Reaction::PassOn,
    }
}

/// Returns the session of this process, or the session of services if Windows does not tell.
fn session() -> u32 {
    let mut session = 0;
    // SAFETY: the call only returns a number.
    let process = unsafe { GetCurrentProcessId() };
    // SAFETY: there is room for the number.
    unsafe { ProcessIdToSessionId(process, &raw mut session) };
    session
}

/// Delivers an event to the watches. FALSE lets Windows call the handlers installed before and finally the
/// default, which ends the process.
pub(super) unsafe extern "system" fn handle(event: u32) -> BOOL {
    let watches = watches();
    if watches.is_empty() {
        return FALSE;
    }
    let signal = match reaction_to(event, session()) {
        Reaction::ShutDown(signal) => signal,
        Reaction::Ignore => return TRUE,
        Reaction::PassOn => return FALSE,
    };
    for inbox in &*watches {
        inbox.put(signal);
    }
    drop(watches);
    if matches!(signal, ShutdownSignal::Close | ShutdownSignal::Shutdown) {
        // Windows ends the process as soon as this returns. Not returning gives the reactors the
        // seconds that Windows grants, or until the program ends by itself.
        loop {
            std::thread::park();
        }
    }
    TRUE
}
