//! Calls at startup and at shutdown.

use std::fmt;
use std::rc::{Rc, Weak};

use super::Reactor;

/// What triggers are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemEvent {
    /// [`Reactor::run`] begins.
    Startup,
    /// The reactor was asked to stop.
    Shutdown,
}

/// When, about the event, a trigger is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// First. At shutdown the reactor still works as ever, and goes on only when every [`Hold`] that
    /// these triggers were given is gone.
    Before,
    /// Then. At shutdown, this is when everything that lives is told to end.
    During,
    /// Last. At shutdown, nothing lives any more.
    After,
}

/// Names a trigger, to remove it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TriggerId(u64);

/// Holds the shutdown back as long as it, or a clone of it, lives.
///
/// Triggers of [`Phase::Before`] and [`SystemEvent::Shutdown`] get one: whoever has work to finish
/// keeps it until that is done. In other phases it holds nothing, nor after
/// [`Reactor::release_holds`].
#[derive(Clone)]
pub struct Hold {
    _share: Rc<()>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

type Callback = Box<dyn FnOnce(&Reactor, Hold)>;

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
    /// The shutdown waits for no hold any more.
    released: bool,
}

impl Triggers {
    /// Takes the first trigger of the phase out. One by one, because triggers may add and remove others.
    fn take_next(&mut self, event: SystemEvent, phase: Phase) -> Option<Callback> {
        let first = self
            .list
            .iter()
            .position(|t| t.event == event && t.phase == phase)?;
        Some(self.list.remove(first).callback)
    }

    /// Whether somebody holds the shutdown back.
    pub(super) fn held(&self) -> bool {
        !self.released && self.holds.strong_count() > 0
    }

    /// Has the shutdown that begins wait for holds.
    pub(super) fn heed_holds(&mut self) {
        self.released = false;
    }

    /// Has the shutdown wait for nobody.
    pub(super) fn release_holds(&mut self) {
        self.released = true;
    }
}

impl Reactor {
    /// Has `callback` called once, at the next `event`, in the order in which triggers were added.
    ///
    /// See [`Hold`] for how a trigger before the shutdown holds it back.
    pub fn add_trigger(
        &self,
        phase: Phase,
        event: SystemEvent,
        callback: impl FnOnce(&Reactor, Hold) + 'static,
    ) -> TriggerId {
        let mut triggers = self.core.triggers.borrow_mut();
        triggers.next_id += 1;
        let id = TriggerId(triggers.next_id);
        triggers.list.push(Trigger {
            id,
            event,
            phase,
            callback: Box::new(callback),
        });
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

    /// Calls `callback` in the next turn if the reactor runs, otherwise once it does.
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
    }
}
