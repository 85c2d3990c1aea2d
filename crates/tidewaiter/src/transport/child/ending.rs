//! Ends a child and its tree: asks, waits, kills.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Inner;
use crate::process::{Signal, SignalTarget, Unreached};
use crate::reactor::KILLED_DEADLINE;

impl Inner {
    /// Sends a signal to the child and its tree, or to the child alone where trees cannot be signalled.
    pub(super) fn signal_widely(&self, signal: Signal) -> io::Result<Unreached> {
        match self.signal(signal, SignalTarget::Tree) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.signal(signal, SignalTarget::Process)
            }
            result => result,
        }
    }

    /// Kills the child and its tree, and logs what that does not reach.
    pub(super) fn end_tree(&self) {
        match self.signal_widely(Signal::Kill) {
            Ok(unreached) if unreached.processes.is_empty() => {}
            Ok(unreached) => log::error!(
                "{self} was killed, but not these processes of its tree: {:?}",
                unreached.processes
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::error!("{self} cannot be killed: {error}"),
        }
    }

    pub(super) fn terminate_then_kill(self: &Rc<Self>, grace: Duration) {
        match self.signal_widely(Signal::Terminate) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                log::warn!("{self} cannot be asked to end, and is killed: {error}");
                self.end_tree();
                return;
            }
        }
        let inner = Rc::clone(self);
        let call = self
            .reactor
            .call_later(grace, move |_| inner.kill_after_grace());
        if let Some(earlier) = self.grace.replace(Some(call)) {
            earlier.cancel();
        }
    }

    /// Kills the tree, and names the child in the log if it does not end for that.
    fn kill_after_grace(self: &Rc<Self>) {
        self.end_tree();
        let inner = Rc::clone(self);
        let call = self.reactor.call_later(KILLED_DEADLINE, move |_| {
            if inner.status.get().is_none() {
                log::error!("{inner} still runs {KILLED_DEADLINE:?} after it was killed");
            }
        });
        self.grace.replace(Some(call));
    }

    /// Ends the grace without killing anything.
    pub(super) fn end_grace(&self) {
        if let Some(call) = self.grace.take() {
            call.cancel();
        }
    }

    /// If the tree was asked to end, kills what is left of it. The child has ended: nothing of the tree can be reached
    /// once its handle is closed.
    pub(super) fn cut_grace_short(&self) {
        if let Some(call) = self.grace.take() {
            call.cancel();
            self.end_tree();
        }
    }
}
