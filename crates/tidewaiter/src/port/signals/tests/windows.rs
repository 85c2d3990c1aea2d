//! The console handler. The tests call it as the console does, because a test program may have no
//! console.

use std::sync::mpsc::channel;

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
};

use super::{ShutdownSignal, watch};
use crate::port::signals::windows::{Reaction, handle, reaction_to};

#[expect(unsafe_code, reason = "calls the handler as the console does")]
fn event(event: u32) -> i32 {
    // SAFETY: the handler takes a number and may be called from any thread.
    unsafe { handle(event) }
}

#[test]
fn every_watch_gets_every_event_until_it_is_dropped() {
    let (sender, woken) = channel();
    let (first, second) = (watch(&sender), watch(&sender));
    assert_eq!(event(CTRL_BREAK_EVENT), TRUE);
    assert_eq!(event(CTRL_C_EVENT), TRUE);
    for watch in [&first, &second] {
        woken.try_recv().expect("woken");
        assert_eq!(watch.take(), Some(ShutdownSignal::Interrupt));
        assert_eq!(watch.take(), Some(ShutdownSignal::Break));
        assert_eq!(watch.take(), None);
    }
    drop(first);
    assert_eq!(event(CTRL_C_EVENT), TRUE);
    assert_eq!(second.take(), Some(ShutdownSignal::Interrupt));
    drop(second);
    assert_eq!(event(CTRL_C_EVENT), FALSE, "left to the default");
}

/// Goal: a service survives users logging off and ends with the system; a user's program ends with
/// the user's session.
#[test]
fn the_end_of_a_users_session_ends_only_what_runs_in_one() {
    let end = Reaction::ShutDown(ShutdownSignal::Shutdown);
    assert_eq!(reaction_to(CTRL_LOGOFF_EVENT, 0), Reaction::Ignore);
    assert_eq!(reaction_to(CTRL_LOGOFF_EVENT, 1), end);
    assert_eq!(reaction_to(CTRL_SHUTDOWN_EVENT, 0), end);
    assert_eq!(reaction_to(CTRL_SHUTDOWN_EVENT, 1), end);
}
