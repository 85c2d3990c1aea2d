//! One whole turn of the loop.

use std::io;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::{Key, Reactor};
use crate::error::Error;
use crate::os::Address;
use crate::panics;
use crate::port::{Completion, Token};

/// How many callbacks run before the loop polls the port again, unless more are queued already.
const CALLBACKS_MAX: usize = 1024;

/// The most sends of a turn whose success may go without ending the wait: with more, the next wait seldom has to wait, and
/// what that costs the kernel for each of them is more than the end of a wait.
const UNAWAITED_MAX: usize = 4;

impl Reactor {
    /// Makes the delayed calls that are due, waits for completions, dispatches them, and makes the calls from
    /// other threads.
    ///
    /// Waits no longer than `limit` (`None`: as long as it takes).
    pub(super) fn turn(&self, limit: Option<Duration>) -> Result<(), Error> {
        let core = &*self.core;
        core.counters.turns.add(1);
        self.mark_time();
        let sent_before = core.counters.bytes_sent.get();
        self.fire_timers();
        self.run_soon();
        self.run_tasks();
        self.flush(limit.is_none());
        // A send counts as the event that a caller with a limit may be waiting for, so the turn must not wait.
        let sent = core.counters.bytes_sent.get() != sent_before;
        let limit = limit.map(|limit| if sent { Duration::ZERO } else { limit });
        let (now, timeout) = self.wait_limit(limit);
        core.counters.pace.before_wait(now);
        let mut completions = core.completions.take();
        let waited = match timeout {
            // With a limit, this may be the only turn: poll fully.
            Some(Duration::ZERO) if limit.is_none() => self.poll(now, &mut completions),
            _ => self.wait(timeout, &mut completions),
        };
        let ended = match timeout {
            // A wait that cannot block ends at the time at which it began.
            Some(Duration::ZERO) if core.settings.slow.is_none() => now,
            _ => self.now(),
        };
        self.clock().mark_fresh();
        core.queued.has_waited.set(true);
        core.counters.pace.after_wait(ended);
        core.counters.completions.add(completions.len() as u64);
        // Run callbacks queued before the wait ahead of those that it produced: a child's start must be told
        // before its end.
        self.run_soon();
        for completion in completions.drain(..) {
            self.dispatch(completion);
            // Run the callbacks that this one queued before the next completion, so that a pause takes effect
            // in time.
            self.run_soon();
            self.poll_woken();
        }
        core.completions.replace(completions);
        self.take_signals();
        self.take_remote_calls();
        self.run_tasks();
        waited.map_err(Error::Port)
    }

    /// Takes the completions that are ready, in a turn that need not wait.
    fn poll(&self, now: Instant, completions: &mut Vec<Completion>) -> io::Result<()> {
        let clock = self.clock();
        let may_skip = clock.was_empty_just_now(now);
        let polled = if may_skip {
            self.port_mut().glance(completions)
        } else {
            self.port_mut().wait(Some(Duration::ZERO), completions)
        };
        if !completions.is_empty() {
            // More may follow.
            clock.note_arrival();
        } else if !may_skip {
            clock.note_empty_poll(now);
        }
        polled
    }

    /// Waits at the port, inside the program's hook if the wait may block.
    fn wait(&self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.clock().note_arrival();
        let hook = self.core.settings.around_wait.as_deref();
        let Some(hook) = hook.filter(|_| timeout != Some(Duration::ZERO)) else {
            return self.port_mut().wait(timeout, completions);
        };
        let mut waited = None;
        // A panic was logged.
        let _ = self.catch("the hook around waits", || {
            hook(&mut || {
                waited.get_or_insert_with(|| self.port_mut().wait(timeout, completions));
            });
        });
        match waited {
            Some(waited) => waited,
            None => self.port_mut().wait(Some(Duration::ZERO), completions),
        }
    }

    /// Makes the delayed calls that are due. Calls added meanwhile wait for the next turn.
    fn fire_timers(&self) {
        let core = &*self.core;
        if core.timers.borrow().is_empty() {
            return;
        }
        let now = self.turn_time();
        let epoch = core.timers.borrow_mut().epoch(now);
        loop {
            let due = core.timers.borrow_mut().pop_due(epoch);
            let Some((_, callback)) = due else { break };
            core.counters.timers_fired.add(1);
            self.guard("a delayed call", || callback(self));
        }
    }

    /// Runs all queued callbacks, and, up to a limit, those that they queue.
    pub(super) fn run_soon(&self) {
        // Inlined check: most often there are none.
        if self.core.queued.any.get() {
            self.run_queued();
        }
    }

    /// Whether the loop has code of the program to run.
    fn has_queued(&self) -> bool {
        self.core.queued.any.get() || self.core.queued.tasks.are_ready()
    }

    #[inline(never)]
    fn run_queued(&self) {
        self.drop_sent();
        let queued = &self.core.queued;
        let next = || queued.notices.borrow_mut().pop();
        while let Some(live) = next() {
            // Guarded, because this may be the last reference to the program's protocol.
            self.guard("a callback", || live.notify());
        }
        let count = queued.callbacks.borrow().len();
        for _ in 0..count.max(CALLBACKS_MAX) {
            self.give_notices();
            let next = queued.callbacks.borrow_mut().pop_front();
            let Some(callback) = next else {
                let notices = !queued.notices.borrow().is_empty();
                queued.any.set(notices || !queued.sent.borrow().is_empty());
                return;
            };
            self.guard("a callback", || callback(self));
        }
    }

    /// Lets objects tell the program what they have to tell, before the next callback gives them more.
    fn give_notices(&self) {
        let next = || self.core.queued.notices.borrow_mut().pop();
        while let Some(live) = next() {
            // Guarded, because this may be the last reference to the program's protocol.
            self.guard("a callback", || live.notify());
        }
    }

    /// Drops the bytes that were sent.
    pub(super) fn drop_sent(&self) {
        let next = || self.core.queued.sent.borrow_mut().pop();
        while let Some(mut storage) = next() {
            // Once as a rule, and once more for each panic.
            while storage.holds_sent() {
                self.guard("the drop of sent bytes", || storage.drop_sent());
            }
            self.keep_storage(storage);
        }
    }

    /// Submits what the callbacks wrote, once a turn, so that many small writes go out in one send. `waits`: the loop waits
    /// next, however long it takes.
    pub(super) fn flush(&self, waits: bool) {
        if self.core.unflushed.borrow().is_empty() {
            return;
        }
        self.clock().mark_stale();
        let mut unflushed = self.core.unflushed.take();
        let marks = waits && self.core.settings.marks_unawaited;
        self.core
            .sends
            .marks_unawaited
            .set(marks && unflushed.len() <= UNAWAITED_MAX);
        for live in unflushed.drain(..) {
            live.flush();
        }
        self.core.sends.marks_unawaited.set(false);
        // Flushing runs no callbacks, so none was added meanwhile; this keeps the allocation.
        self.core.unflushed.replace(unflushed);
    }

    /// The present time, and how long the port may wait from then on.
    fn wait_limit(&self, limit: Option<Duration>) -> (Instant, Option<Duration>) {
        let core = &*self.core;
        let outside = core.queued.outside.take();
        let due = core.timers.borrow_mut().next_deadline();
        if let (Some(due), Some(seen)) = (due, self.clock().seen())
            && due <= seen
        {
            // The timer is due by the cached time, so no clock read is needed.
            return (seen, Some(Duration::ZERO));
        }
        let now = self.turn_time();
        let queued = outside || self.has_queued();
        if queued || core.ending.crashed.get() || self.ready_to_advance() {
            return (now, Some(Duration::ZERO));
        }
        let mut wake_up = due;
        if due.is_some_and(|due| due > now) {
            wake_up = core.timers.borrow_mut().wake_up(core.settings.timer_slack);
        }
        let left = wake_up.map(|wake_up| wake_up.saturating_duration_since(now));
        let timeout = left.into_iter().chain(limit).min();
        if timeout == Some(Duration::ZERO) || core.other_threads.inbox.may_wait() {
            return (now, timeout);
        }
        (now, Some(Duration::ZERO))
    }

    fn dispatch(&self, completion: Completion) {
        let key = Key::from_u64(completion.token.0);
        let live = self.core.live.borrow().get(key).cloned();
        match live {
            Some(live) => live.completed(completion),
            // The completion of an operation that no object waits for, such as of a connection without a
            // protocol.
            None if completion.token == Token::default() => {}
            None => self.core.counters.late.add(1),
        }
    }

    /// Makes the calls that have arrived. Calls sent meanwhile are for the next turn.
    pub(super) fn take_remote_calls(&self) {
        let threads = &self.core.other_threads;
        threads.inbox.drain(&mut threads.calls.borrow_mut());
        if threads.calls.borrow().is_empty() {
            return;
        }
        let mut calls = threads.calls.take();
        while let Some(callback) = calls.pop_front() {
            self.core.counters.remote_calls.add(1);
            self.guard("a call from another thread", || callback(self));
        }
        threads.calls.replace(calls);
    }

    /// Runs a callback. A panic in it is logged and counted, and goes no further; the result is then `None`. If
    /// it takes longer than the program's limit, the program gets a report.
    pub(crate) fn guard<R>(&self, what: &'static str, callback: impl FnOnce() -> R) -> Option<R> {
        self.guard_for(what, || None, callback)
    }

    /// As [`guard`](Reactor::guard), for a callback about a connection to `peer`.
    pub(crate) fn guard_for<R>(
        &self,
        what: &'static str,
        peer: impl FnOnce() -> Option<Address>,
        callback: impl FnOnce() -> R,
    ) -> Option<R> {
        let result = self.catch(what, callback);
        self.report_if_slow(what, peer, None);
        result.ok()
    }

    /// As [`guard`](Reactor::guard), for the poll of a task. Returns the message of a panic.
    pub(super) fn guard_task<R>(
        &self,
        spawned_at: &'static Location<'static>,
        poll: impl FnOnce() -> R,
    ) -> Result<R, String> {
        let result = self.catch("a task", poll);
        self.report_if_slow("a task", || None, Some(spawned_at));
        result
    }

    /// As [`guard`](Reactor::guard), without a report if it is slow. Returns the message of a panic.
    pub(super) fn catch<R>(&self, what: &str, callback: impl FnOnce() -> R) -> Result<R, String> {
        self.clock().mark_stale();
        // The reactor borrows none of its state while a callback runs, so a panic leaves all of it consistent.
        // The callback's owner handles its own state: it does not call the callback again.
        panics::catch(callback).inspect_err(|message| {
            self.core.counters.panics.add(1);
            log::error!("{what} panicked: {message}");
        })
    }

    /// Drops a value of the program, whose `drop` is a callback, too.
    pub(crate) fn drop_guarded<T>(&self, what: &'static str, value: T) {
        self.guard(what, || drop(value));
    }
}
