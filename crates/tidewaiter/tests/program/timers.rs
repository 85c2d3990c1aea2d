//! Delayed calls, and what the model knows of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tidewaiter::DelayedCall;

use crate::world::{Probe, Stage, World, risky_callback};

pub(crate) struct Timer {
    call: RefCell<Option<DelayedCall>>,
    /// The call must not be made before this time.
    due: Cell<Instant>,
    pending: Cell<bool>,
}

impl Timer {
    /// Makes a delayed call that takes random actions.
    pub(crate) fn start(world: &World) {
        let delay = world.short(world.below(20));
        let timer = Rc::new(Timer {
            call: RefCell::new(None),
            due: Cell::new(world.reactor.now() + delay),
            pending: Cell::new(true),
        });
        let (called, probe) = (Rc::clone(&timer), Probe::new("delayed call"));
        let call = world.call(|| {
            world.reactor.call_later(delay, move |_| {
                let _probe = probe;
                called.fire();
            })
        });
        timer.call.replace(Some(call));
        world.timers.borrow_mut().push(timer);
    }

    fn fire(&self) {
        let body = |world: &Rc<World>| {
            world.check(self.pending.replace(false), || {
                "a delayed call is made twice, or was cancelled".to_owned()
            });
            let early = world.reactor.now() < self.due.get();
            world.check(!early, || "a delayed call is early".to_owned());
        };
        risky_callback("a delayed call", body, || ());
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.get()
    }

    /// Cancels the call, or makes it due at another time.
    pub(crate) fn change(&self, world: &World) {
        let Some(call) = self.call.borrow().clone() else {
            return;
        };
        let by = world.short(world.below(20));
        let (before, due) = (self.pending.get(), self.due.get());
        let now = world.reactor.now();
        let way = world.below(3);
        let changed = world.call(|| match way {
            0 => {
                self.pending.set(false);
                call.cancel()
            }
            1 => {
                self.due.set(now + by);
                call.reset(by)
            }
            _ => {
                self.due.set(due + by);
                call.delay(by)
            }
        });
        // A reactor that has stopped drops them unmade.
        let dropped = before && world.stage.get() >= Stage::Draining;
        world.check(changed == before || dropped, || {
            format!("a delayed call was pending: {before}, and changed: {changed}")
        });
    }
}
