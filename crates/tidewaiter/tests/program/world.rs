//! The objects that a random program has made, and what the model knows of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::thread::panicking;
use std::time::{Duration, Instant};

use tidewaiter::port::sim::Sim;
use tidewaiter::{Connector, Listener, Reactor};

use crate::child::Child;
use crate::side::Side;
use crate::support::random::Random;
use crate::timers::Timer;

/// The payload of panics that a program has on purpose.
pub(crate) struct Intended;

/// The stage of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Takes any action.
    Acting,
    /// Opens nothing more, and lets everything end.
    Settling,
    /// The reactor was told to stop.
    Stopping,
    /// The reactor ends everything.
    Draining,
    /// The reactor has stopped or is being dropped: there are no more callbacks.
    Over,
}

/// A connection that the program asked for.
pub(crate) struct Attempt {
    pub(crate) connector: RefCell<Option<Connector>>,
    /// The number of outcomes that its factory was told.
    pub(crate) outcomes: Cell<usize>,
}

/// How often an event was asked for, and how often it occurred.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) asked: Cell<usize>,
    pub(crate) done: Cell<usize>,
}

/// The program of this thread, with all that it made.
pub(crate) struct World {
    pub(crate) reactor: Reactor,
    /// `None` on a port of the OS.
    pub(crate) sim: Option<Sim>,
    /// Whether only the program itself breaks connections.
    pub(crate) calm: bool,
    pub(crate) start: Instant,
    pub(crate) took: Cell<Duration>,
    pub(crate) stage: Cell<Stage>,
    pub(crate) sides: RefCell<Vec<Rc<Side>>>,
    /// The peers of all connections that the listeners accepted. The OS may use an address again.
    pub(crate) accepted: RefCell<Vec<SocketAddr>>,
    pub(crate) listeners: RefCell<Vec<Listener>>,
    pub(crate) attempts: RefCell<Vec<Rc<Attempt>>>,
    pub(crate) timers: RefCell<Vec<Rc<Timer>>>,
    pub(crate) children: RefCell<Vec<Rc<Child>>>,
    pub(crate) remote_calls: Tally,
    pub(crate) work: Tally,
    pub(crate) listeners_closed: Cell<usize>,
    pub(crate) panics: Cell<u64>,
    numbers: Cell<usize>,
    random: RefCell<Random>,
    /// The number of random actions left.
    pub(crate) budget: Cell<usize>,
    /// The number of nested actions, which dropped values cause.
    depth: Cell<usize>,
    /// Whether the program is within a call to the library, or within a callback of it.
    in_call: Cell<bool>,
    in_callback: Cell<bool>,
    trace: RefCell<Vec<String>>,
    broken: RefCell<Vec<String>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static PROBES: RefCell<BTreeMap<&'static str, isize>> = const { RefCell::new(BTreeMap::new()) };
}

impl World {
    pub(crate) fn new(seed: u64, reactor: Reactor, sim: Option<Sim>, calm: bool) -> Rc<World> {
        let world = Rc::new(World {
            start: reactor.now(),
            took: Cell::default(),
            reactor,
            sim,
            calm,
            stage: Cell::new(Stage::Acting),
            sides: RefCell::default(),
            accepted: RefCell::default(),
            listeners: RefCell::default(),
            attempts: RefCell::default(),
            timers: RefCell::default(),
            children: RefCell::default(),
            remote_calls: Tally::default(),
            work: Tally::default(),
            listeners_closed: Cell::new(0),
            panics: Cell::new(0),
            numbers: Cell::new(0),
            random: RefCell::new(Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
            budget: Cell::new(0),
            depth: Cell::new(0),
            in_call: Cell::new(false),
            in_callback: Cell::new(false),
            trace: RefCell::default(),
            broken: RefCell::default(),
        });
        WORLD.set(Some(Rc::clone(&world)));
        world
    }

    /// The program of this thread; `None` before and after it.
    pub(crate) fn current() -> Option<Rc<World>> {
        WORLD
            .try_with(|world| world.borrow().clone())
            .ok()
            .flatten()
    }

    pub(crate) fn forget() {
        WORLD.set(None);
    }

    /// A number that is unique in the program.
    pub(crate) fn next_number(&self) -> usize {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A number below `limit`.
    pub(crate) fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().below(limit)
    }

    /// Returns a random element for which the condition is true.
    pub(crate) fn pick<T>(
        &self,
        list: &RefCell<Vec<Rc<T>>>,
        suits: impl Fn(&T) -> bool,
    ) -> Option<Rc<T>> {
        let list = list.borrow();
        let suitable: Vec<_> = list.iter().filter(|it| suits(it)).collect();
        if suitable.is_empty() {
            return None;
        }
        Some(Rc::clone(suitable[self.below(suitable.len())]))
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        let time = self.sim.as_ref().map(Sim::elapsed);
        let mut line = what.into();
        if let Some(time) = time {
            line = format!("{time:?} {line}");
        }
        self.trace.borrow_mut().push(line);
    }

    /// Notes a breach unless `holds`.
    pub(crate) fn check(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            let what = otherwise();
            self.note(format!("BROKEN: {what}"));
            self.broken.borrow_mut().push(what);
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace.take()
    }

    pub(crate) fn take_broken(&self) -> Vec<String> {
        self.broken.take()
    }

    /// Calls the library. No callback may come meanwhile.
    pub(crate) fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        let _within = Within::enter(&self.in_call, true);
        call()
    }

    /// Whether to panic on purpose now.
    fn wants_panic(&self) -> bool {
        let wants = self.stage.get() == Stage::Acting && self.below(400) == 0;
        if wants {
            self.note("panics");
            self.panics.set(self.panics.get() + 1);
        }
        wants
    }

    /// Takes some random actions, as long as any are left.
    pub(crate) fn act(self: &Rc<Self>, most: usize) {
        if self.depth.get() >= 3 {
            return;
        }
        for _ in 0..self.below(most + 1) {
            let Some(left) = self.budget.get().checked_sub(1) else {
                return;
            };
            self.budget.set(left);
            let deeper = self.depth.get() + 1;
            let _within = Within::enter(&self.depth, deeper);
            crate::actions::act(self);
        }
    }

    /// A short time: shorter on real ports, where time is expensive.
    pub(crate) fn short(&self, steps: usize) -> Duration {
        let steps = u64::try_from(steps).expect("64 bits hold it");
        Duration::from_micros(steps * if self.sim.is_some() { 1000 } else { 50 })
    }
}

/// Changes a value for as long as it lives.
struct Within<'a, T: Copy> {
    cell: &'a Cell<T>,
    before: T,
}

impl<T: Copy> Within<'_, T> {
    fn enter(cell: &Cell<T>, within: T) -> Within<'_, T> {
        let before = cell.replace(within);
        Within { cell, before }
    }
}

impl<T: Copy> Drop for Within<'_, T> {
    fn drop(&mut self) {
        self.cell.set(self.before);
    }
}

/// Runs a callback: checks that it comes from the loop, runs `body`, and then takes random actions.
pub(crate) fn callback<R>(what: &str, body: impl FnOnce(&Rc<World>) -> R) -> Option<R> {
    let world = World::current()?;
    world.note(what);
    world.check(!world.in_call.get(), || {
        format!("{what}: from inside a call")
    });
    world.check(!world.in_callback.get(), || {
        format!("{what}: from inside a callback")
    });
    world.check(world.stage.get() != Stage::Over, || {
        format!("{what}: when all was over")
    });
    let _within = Within::enter(&world.in_callback, true);
    let result = body(&world);
    world.act(2);
    Some(result)
}

/// As [`callback`], and may panic, as may the drops of what it lets go of. Calls `panics` when a panic leaves it.
pub(crate) fn risky_callback<R>(
    what: &str,
    body: impl FnOnce(&Rc<World>) -> R,
    panics: impl FnOnce(),
) -> Option<R> {
    let all = || {
        let result = callback(what, body);
        if World::current().is_some_and(|world| world.wants_panic()) {
            panic_any(Intended);
        }
        result
    };
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(|panic| {
        panics();
        resume_unwind(panic)
    })
}

/// A value for the library to drop. Its drop calls back into the library.
pub(crate) struct Probe(&'static str);

impl Probe {
    pub(crate) fn new(of: &'static str) -> Probe {
        PROBES.with_borrow_mut(|probes| *probes.entry(of).or_default() += 1);
        Probe(of)
    }

    /// The values that are still alive on this thread.
    pub(crate) fn left() -> Vec<&'static str> {
        let left = PROBES.take().into_iter();
        left.filter(|(_, count)| *count != 0)
            .map(|(of, _)| of)
            .collect()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        PROBES.with_borrow_mut(|probes| *probes.entry(self.0).or_default() -= 1);
        if let Some(world) = World::current()
            && world.below(3) == 0
        {
            world.note(format!("dropped: {}", self.0));
            world.act(2);
            if !panicking() && world.wants_panic() {
                panic_any(Intended);
            }
        }
    }
}
