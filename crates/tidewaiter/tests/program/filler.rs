//! Producers that fill a transport.

use std::cell::Cell;
use std::rc::Rc;

use tidewaiter::{Producer, ProducerKind};

use crate::side::Side;
use crate::world::{Probe, World, risky_callback};

/// Writes a number of bytes, when it is asked to.
pub(crate) struct Filler {
    number: usize,
    side: Rc<Side>,
    kind: ProducerKind,
    left: Cell<usize>,
    paused: Cell<bool>,
    stopped: Cell<bool>,
}

/// The producer that is registered for it.
struct Registered {
    filler: Rc<Filler>,
    _probe: Probe,
}

impl Filler {
    /// Registers a new filler with a side, in place of the one before.
    pub(crate) fn register(world: &World, side: &Rc<Side>) {
        let Some(transport) = side.transport() else {
            return;
        };
        let kind = [ProducerKind::Push, ProducerKind::Pull][world.below(2)];
        let filler = Rc::new(Filler {
            number: world.next_number(),
            side: Rc::clone(side),
            kind,
            left: Cell::new(world.below(15_000)),
            paused: Cell::new(false),
            stopped: Cell::new(false),
        });
        if transport.is_open() && side.takes_more() {
            side.producer.set(Some(filler.number));
        }
        let registered = Registered {
            filler: Rc::clone(&filler),
            _probe: Probe::new("producer"),
        };
        world.call(|| transport.register_producer(registered, kind));
        if kind == ProducerKind::Push {
            filler.go_on(world);
        }
    }

    fn is_registered(&self) -> bool {
        self.side.producer.get() == Some(self.number)
    }

    /// Runs a call that the library makes. A panic in it loses the connection.
    fn told(&self, what: &str, body: impl FnOnce(&Filler, &World)) {
        let what = format!("side {}: {what} filling", self.side.number);
        let checked = |world: &Rc<World>| {
            let expected = self.is_registered() && !self.stopped.get();
            world.check(expected, || format!("{what}, after its end"));
            body(self, world);
        };
        risky_callback(&what, checked, || {
            self.side.panicked.set(true);
            self.side.producer.set(None);
        });
    }

    /// Writes all of its bytes, or one piece.
    fn go_on(&self, world: &World) {
        let Some(transport) = self.side.transport() else {
            return;
        };
        while self.is_registered() && !self.paused.get() && transport.is_open() {
            let piece = self.left.get().min(1 + world.below(9000));
            if piece == 0 {
                self.side.producer.set(None);
                world.call(|| transport.unregister_producer());
                return;
            }
            self.left.set(self.left.get() - piece);
            self.side.write(world, piece, world.below(2) == 0);
            if self.kind == ProducerKind::Pull || transport.is_congested() {
                return;
            }
        }
    }
}

impl Producer for Registered {
    fn pause_producing(&mut self) {
        self.filler.told("pause", |filler, world| {
            world.check(filler.kind == ProducerKind::Push, || {
                "a pull producer is paused".to_owned()
            });
            filler.paused.set(true);
        });
    }

    fn resume_producing(&mut self) {
        self.filler.told("go on", |filler, world| {
            filler.paused.set(false);
            filler.go_on(world);
        });
    }

    fn stop_producing(&mut self) {
        let filler = &self.filler;
        let told = format!("side {}: stop filling", filler.side.number);
        let body = |world: &Rc<World>| {
            let again = filler.stopped.replace(true);
            world.check(!again, || format!("{told}: twice"));
            if filler.is_registered() {
                filler.side.producer.set(None);
            }
        };
        risky_callback(&told, body, || ());
    }
}
