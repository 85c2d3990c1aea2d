//! Triggers: callbacks at startup and at shutdown.

use std::fmt;
use std::rc::{Rc, Weak};

use super::{Life, Reactor};

/// An event in a reactor's life that triggers are called for: see [`Reactor::add_trigger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemEvent {
    /// [`Reactor::run`] begins. [`Reactor::iterate`] alone does not cause this event.
    Startup,
    /// The reactor stops. Dropping it or [`Reactor::crash`] does not cause this event.
    Shutdown,
}

/// When a trigger is called, in relation to the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// First. At shutdown the reactor works as before, and goes on to the next phase only when every [`Hold`]
    /// that these triggers were given is gone.
    Before,
    /// Second. At shutdown, listeners, connections and children begin to end right after these triggers.
    During,
    /// Last. At shutdown, nothing lives on the reactor any more, and its threads take no more work.
    After,
}

/// Identifies a trigger: see [`Reactor::remove_trigger`].
///
/// ```
/// use tidewaiter::{Phase, Reactor, SystemEvent};
///
/// let reactor = Reactor::new()?;
/// let trigger = reactor.add_trigger(Phase::After, SystemEvent::Shutdown, |_, _| println!("bye"));
/// assert!(reactor.remove_trigger(trigger), "nothing is printed");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TriggerId(u64);

/// Delays the shutdown as long as it, or a clone of it, lives.
///
/// Triggers of [`Phase::Before`] and [`SystemEvent::Shutdown`] get one: keep it until the work that the shutdown
/// must wait for is done. There is no time limit. A hold has no effect in other phases, nor after
/// [`Reactor::release_holds`].
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::{Phase, Reactor, SystemEvent};
///
/// let reactor = Reactor::new()?;
/// reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, |reactor, hold| {
///     // The reactor works on until `hold` is dropped.
///     reactor.call_later(Duration::from_millis(1), move |_| drop(hold));
/// });
/// reactor.call_later(Duration::ZERO, Reactor::stop);
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Hold {
    _share: Rc<()>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

pub(super) type Callback = Box<dyn FnOnce(&Reactor, Hold)>;

struct Trigger {
    id: TriggerId,
    event: SystemEvent,
    phase: Phase,
    callback: Callback,
}

#[derive(Default)]
pub(super) struct Triggers {
    list: Vec<Trigger>,
    next_id: u64,
    holds: Weak<()>,
    /// Whether the holds have lost their effect.
    released: bool,
    /// The shutdown has begun, but its "before" triggers have not been called yet.
    due: bool,
}

impl Triggers {
    /// Removes and returns the first trigger of the phase. Only one, because triggers may add and remove
    /// others.
    fn take_next(&mut self, event: SystemEvent, phase: Phase) -> Option<Callback> {
        let first = self
            .list
            .iter()
            .position(|t| t.event == event && t.phase == phase)?;
        Some(self.list.remove(first).callback)
    }

    /// Whether the shutdown must wait: its first triggers have not been called, or a hold delays it.
    pub(super) fn held(&self) -> bool {
        self.due || (!self.released && self.holds.strong_count() > 0)
    }

    /// Begins the shutdown: it waits for the "before" triggers, and for the holds that they are given.
    pub(super) fn begin_shutdown(&mut self) {
        self.released = false;
        self.due = true;
    }

    /// The callbacks of all triggers.
    pub(super) fn into_callbacks(self) -> impl Iterator<Item = Callback> {
        self.list.into_iter().map(|trigger| trigger.callback)
    }

    /// Ends the effect of all holds on the shutdown.
    pub(super) fn release_holds(&mut self) {
        self.released = true;
    }
}

impl Reactor {
    /// Has `callback` called once, at the next `event`. Triggers of one phase are called in the order in which
    /// they were added; a trigger added while its phase is under way is called in it. A panic in a trigger is
    /// logged, and the others are called all the same.
    ///
    /// A trigger of [`Phase::Before`] and [`SystemEvent::Shutdown`] can delay the shutdown: see [`Hold`].
    pub fn add_trigger(
        &self,
        phase: Phase,
        event: SystemEvent,
        callback: impl FnOnce(&Reactor, Hold) + 'static,
    ) -> TriggerId {
        let mut triggers = self.core.triggers.borrow_mut();
        triggers.next_id += 1;
        let id = TriggerId(triggers.next_id);
        // Once the reactor has stopped there are no more events: the callback is dropped, after the borrow.
        if self.core.life.get() != Life::Stopped {
            triggers.list.push(Trigger {
                id,
                event,
                phase,
                callback: Box::new(callback),
            });
        }
        id
    }

    /// Removes a trigger. Returns whether it was still there.
    pub fn remove_trigger(&self, id: TriggerId) -> bool {
        let removed = {
            let mut triggers = self.core.triggers.borrow_mut();
            let position = triggers.list.iter().position(|trigger| trigger.id == id);
            position.map(|position| triggers.list.remove(position))
        };
        removed.is_some()
    }

    /// Calls `callback` from the loop: soon if the reactor runs, otherwise once it does, after the startup
    /// triggers added before this call.
    pub fn call_when_running(&self, callback: impl FnOnce(&Reactor) + 'static) {
        if self.is_running() {
            self.soon(callback);
        } else {
            self.add_trigger(Phase::After, SystemEvent::Startup, |reactor, _| {
                callback(reactor);
            });
        }
    }

    /// Calls the triggers of one phase; they may add more to it.
    pub(super) fn fire(&self, event: SystemEvent, phase: Phase) {
        let share = Rc::new(());
        self.core.triggers.borrow_mut().holds = Rc::downgrade(&share);
        let hold = Hold { _share: share };
        loop {
            let next = self.core.triggers.borrow_mut().take_next(event, phase);
            let Some(callback) = next else { break };
            self.guard("a system event trigger", || callback(self, hold.clone()));
        }
        if (event, phase) == (SystemEvent::Shutdown, Phase::Before) {
            self.core.triggers.borrow_mut().due = false;
        }
    }
}
