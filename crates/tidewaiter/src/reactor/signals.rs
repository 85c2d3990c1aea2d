//! Signals that ask the process to end: what the loop does with them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::Reactor;
use crate::port::{ShutdownSignal, SignalWatch};

/// The program's response to a signal that asks the process to end.
type Callback = Rc<RefCell<dyn FnMut(&Reactor, ShutdownSignal)>>;

/// Something that may await a signal: returns whether it does, and takes it then.
pub(crate) trait AwaitsSignals {
    fn take(&self, signal: ShutdownSignal) -> bool;
}

/// The signals of a reactor.
#[derive(Default)]
pub(super) struct Signals {
    /// There while the reactor runs and handles signals.
    pub(super) watch: RefCell<Option<SignalWatch>>,
    /// See [`Reactor::on_signal`].
    pub(super) callback: RefCell<Option<Callback>>,
    /// These are asked first.
    awaiting: RefCell<Vec<Weak<dyn AwaitsSignals>>>,
}

impl Signals {
    /// Tells all that await the signal. Returns whether any does.
    fn is_awaited(&self, signal: ShutdownSignal) -> bool {
        let mut awaiting = self.awaiting.borrow_mut();
        awaiting.retain(|one| one.strong_count() > 0);
        let all: Vec<_> = awaiting.iter().filter_map(Weak::upgrade).collect();
        drop(awaiting);
        let takers = all.iter().filter(|one| one.take(signal)).count();
        takers > 0
    }
}

impl Reactor {
    /// Has `callback` called, instead of stopping the reactor, each time a signal asks the process to end.
    /// Replaces an earlier callback. Signals are noticed only while the reactor [runs](Reactor::run), and not
    /// if [`ReactorBuilder::signals`](super::ReactorBuilder::signals) was set to false.
    ///
    /// Signals that tasks [await](crate::io::Signals) are not told to the callback.
    ///
    /// On a second signal, call [`release_holds`](Reactor::release_holds) if the shutdown need not wait for
    /// [`Hold`](super::Hold)s.
    pub fn on_signal(&self, callback: impl FnMut(&Reactor, ShutdownSignal) + 'static) {
        self.core
            .signals
            .callback
            .replace(Some(Rc::new(RefCell::new(callback))));
    }

    /// Has the loop ask `awaiting` first, while it lives, whether it takes a signal.
    pub(crate) fn ask_first(&self, awaiting: Weak<dyn AwaitsSignals>) {
        self.core.signals.awaiting.borrow_mut().push(awaiting);
    }

    pub(super) fn take_signals(&self) {
        let core = &*self.core;
        loop {
            let signal = core
                .signals
                .watch
                .borrow()
                .as_ref()
                .and_then(SignalWatch::take);
            let Some(signal) = signal else { return };
            log::info!("received {signal}");
            if core.signals.is_awaited(signal) {
                continue;
            }
            let callback = core.signals.callback.borrow().clone();
            match callback {
                Some(callback) => {
                    // Moves the callback in: if it replaces itself, this drops it.
                    self.guard("the signal callback", move || {
                        if let Ok(mut callback) = callback.try_borrow_mut() {
                            callback(self, signal);
                        }
                    });
                }
                None => self.asked_to_end(signal),
            }
        }
    }
}
