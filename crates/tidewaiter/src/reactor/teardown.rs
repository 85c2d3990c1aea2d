//! Ends a reactor whose owner is dropped, and drops the values that the program gave it.
//!
//! Dropping such a value runs the program's code, which may call back into the reactor or panic. So each value
//! is first moved out of the reactor, and then dropped by itself, guarded.

use super::timers::Timers;
use super::{KILLED_DEADLINE, Life, Reactor, report_left_behind};
use crate::port::{Completion, RequestKind, Token};

impl Reactor {
    /// Notes that the owner was dropped in a callback. The turn goes on first, because objects whose callbacks
    /// are running cannot be closed.
    pub(super) fn end_after_turn(&self) {
        self.core.ending.dropped.set(true);
        self.crash();
    }

    /// Ends everything if the owner was dropped in the turn that just ended.
    pub(super) fn end_if_dropped(&self) {
        if self.core.ending.dropped.take() {
            self.tear_down();
        }
    }

    /// Ends everything without callbacks, because the owner is gone.
    pub(super) fn tear_down(&self) {
        let core = &*self.core;
        if self.is_copied() {
            self.disown();
            return;
        }
        core.life.set(Life::Stopped);
        drop(core.signals.watch.take());
        self.refuse_calls();
        self.abandon_work();
        let callback = core.signals.callback.take();
        self.drop_guarded("the drop of a signal callback", callback);
        self.drop_tasks();
        self.drop_callbacks();
        drop(core.unflushed.take());
        let mut killed = Vec::new();
        for (key, live) in core.live.take().into_entries() {
            core.counters.count_out(live.kind());
            if let Some(name) = live.abandon() {
                killed.push((Token(key.to_u64()), name));
            }
            self.drop_guarded("the drop of a factory", live);
        }
        drop(core.completions.take());
        self.drop_sent();
        self.await_killed(killed);
        // Dropping the port cancels and awaits the operations under way in the OS, and closes every handle.
        drop(core.port.take());
    }

    /// Drops the callbacks that will never be called.
    pub(super) fn drop_callbacks(&self) {
        let core = &*self.core;
        for live in core.queued.notices.take() {
            self.drop_guarded("the drop of a protocol", live);
        }
        for callback in core.queued.callbacks.take() {
            self.drop_guarded("the drop of a callback", callback);
        }
        for callback in core.triggers.take().into_callbacks() {
            self.drop_guarded("the drop of a system event trigger", callback);
        }
        let timers = core.timers.replace(Timers::new(self.now()));
        for callback in timers.into_values() {
            self.drop_guarded("the drop of a delayed call", callback);
        }
    }

    /// Waits for the ends of children that were killed: on Unix, nothing else reaps them.
    fn await_killed(&self, mut killed: Vec<(Token, String)>) {
        let deadline = self.now() + KILLED_DEADLINE;
        while !killed.is_empty() {
            let mut completions = Vec::new();
            let left = deadline.saturating_duration_since(self.now());
            let waited = self.port_mut().wait(Some(left), &mut completions);
            killed.retain(|(token, _)| {
                let ended = |c: &Completion| c.kind == RequestKind::Exit && c.token == *token;
                !completions.iter().any(ended)
            });
            if waited.is_err() || left.is_zero() {
                for (_, name) in killed {
                    report_left_behind(&name);
                }
                return;
            }
        }
    }
}
