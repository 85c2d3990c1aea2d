//! Runs a program from its beginning to its end, and checks the promises that must hold at the end.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use tidewaiter::port::sim::{Faults, Sim};
use tidewaiter::{Phase, Reactor, RunEnd, SystemEvent};

use crate::actions::{lose_write, resume, unregister};
use crate::side::{Life, Side};
use crate::support::random::Random;
use crate::support::sim_child;
use crate::world::{Intended, Probe, Stage, World};

/// The number of actions that a program takes before its end, and at its end.
const ACTIONS: usize = 250;
const LAST_ACTIONS: usize = 30;

/// The number of times that the remaining objects are asked to end before the program fails.
const ROUNDS_MAX: usize = 3000;
const ROUNDS_POLITE: usize = 200;

/// How long a connection that has ended receives the bytes that its peer still sends.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// How long a stop may take: a second to send bytes, and some time for the loop.
const STOP_MAX: Duration = Duration::from_millis(1500);

/// The same for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Everything comes to its end, then the reactor is stopped.
    Settled,
    /// The reactor is stopped in the middle of everything.
    Stopped,
    /// It is dropped in the middle of everything.
    Dropped,
}

/// The kind of port on which a program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ground {
    Simulation,
    Os(tidewaiter::port::PortKind),
}

/// The result of a program: a line for each event, and the breaches that were found.
pub(crate) struct Outcome {
    pub(crate) trace: Vec<String>,
    pub(crate) broken: Vec<String>,
}

/// Runs the program of `seed`.
pub(crate) fn run(seed: u64, ground: Ground) -> Outcome {
    silence_intended_panics();
    let mut choice = Random::new(seed.wrapping_mul(0xD134_2543_DE82_EF95));
    let calm = choice.below(3) < 2;
    let ending = [
        Ending::Settled,
        Ending::Settled,
        Ending::Stopped,
        Ending::Dropped,
    ][choice.below(4)];
    let sim = matches!(ground, Ground::Simulation).then(|| simulation(seed, &mut choice, calm));
    let reactor = reactor(ground, sim.as_ref());
    let world = World::new(seed, reactor.clone(), sim, calm);
    world.note(format!("seed {seed}, calm: {calm}, {ending:?}"));
    world.budget.set(ACTIONS);
    reactor.call_later(Duration::ZERO, move |_| beat(ending));
    watch_shutdown(&reactor);
    run_to_the_end(&world, &reactor, ending);
    if ending != Ending::Dropped {
        world.stage.set(Stage::Over);
        check_reactor(&world);
        check_stopped(&world, ending);
    }
    world.stage.set(Stage::Over);
    world.took.set(reactor.now() - world.start);
    drop(reactor);
    check_connections(&world, ending);
    finish(world)
}

fn simulation(seed: u64, choice: &mut Random, calm: bool) -> Sim {
    let faults = match (calm, choice.below(2)) {
        (true, 0) => Faults::default(),
        (true, _) => Faults::bumpy(),
        (false, _) => Faults::stormy(),
    };
    let receive_bytes = [100, 4096, 65_536][choice.below(3)];
    let sim = Sim::builder(seed)
        .faults(faults)
        .receive_bytes(receive_bytes);
    let sim = sim.build();
    sim_child::register(&sim);
    sim
}

fn reactor(ground: Ground, sim: Option<&Sim>) -> Reactor {
    let builder = Reactor::builder().signals(false).workers(2);
    let builder = match (ground, sim) {
        (Ground::Os(kind), _) => builder.port(kind),
        (Ground::Simulation, Some(sim)) => builder.simulation(sim),
        (Ground::Simulation, None) => unreachable!("it was made for this"),
    };
    builder.build().expect("the port can be opened")
}

/// Prints nothing for panics that a program has on purpose.
fn silence_intended_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Intended>() {
                usual(info);
            }
        }));
    });
}

/// Notes when the reactor begins to end everything, and how long that takes.
fn watch_shutdown(reactor: &Reactor) {
    let began = Rc::new(Cell::new(reactor.now()));
    let begins = Rc::clone(&began);
    reactor.add_trigger(Phase::During, SystemEvent::Shutdown, move |reactor, _| {
        begins.set(reactor.now());
        if let Some(world) = World::current() {
            world.note("drains");
            world.stage.set(Stage::Draining);
        }
    });
    reactor.add_trigger(Phase::After, SystemEvent::Shutdown, move |reactor, _| {
        let took = reactor.now() - began.get();
        if let Some(world) = World::current() {
            let most = if world.sim.is_some() {
                STOP_MAX
            } else {
                PATIENCE
            };
            world.check(took <= most, || format!("stopping took {took:?}"));
        }
    });
}

/// Runs the reactor, across crashes, until it has stopped or has to be dropped.
fn run_to_the_end(world: &World, reactor: &Reactor, ending: Ending) {
    let (over, is_over) = mpsc::channel::<()>();
    let remote = reactor.remote();
    let late = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&late);
    let watch = thread::spawn(move || {
        if is_over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            says.store(true, Ordering::SeqCst);
            // An error means that the reactor has just stopped.
            let _ = remote.call(Reactor::crash);
        }
    });
    loop {
        match reactor.run() {
            Ok(RunEnd::Crashed) if !late.load(Ordering::SeqCst) => {}
            Ok(_) => break,
            Err(error) => break world.check(false, || format!("the reactor failed: {error}")),
        }
        match (world.stage.get(), ending) {
            (Stage::Acting | Stage::Settling, _) => {}
            (_, Ending::Dropped) => break,
            // The reactor crashed in the turn in which it was stopped.
            _ => drop(reactor.call_later(Duration::ZERO, Reactor::stop)),
        }
    }
    drop(over);
    watch.join().expect("it only waits");
    world.check(!late.load(Ordering::SeqCst), || {
        "it does not end".to_owned()
    });
}

/// Takes actions from time to time, until the program has taken enough.
fn beat(ending: Ending) {
    let Some(world) = World::current() else {
        return;
    };
    let acted = catch_unwind(AssertUnwindSafe(|| world.act(6)));
    go_on(&world, ending);
    if let Err(panic) = acted {
        resume_unwind(panic);
    }
}

fn go_on(world: &World, ending: Ending) {
    if world.budget.get() > 0 {
        let next = world.short(world.below(10));
        world.reactor.call_later(next, move |_| beat(ending));
        return;
    }
    match ending {
        Ending::Settled => {
            world.note("settles");
            world.stage.set(Stage::Settling);
            if let Some(sim) = &world.sim {
                sim.set_faults(Faults::bumpy());
            }
            settle(0);
        }
        Ending::Stopped => {
            world.note("stops");
            world.budget.set(LAST_ACTIONS);
            world.stage.set(Stage::Stopping);
            world.reactor.stop();
        }
        Ending::Dropped => {
            world.note("is dropped");
            world.stage.set(Stage::Stopping);
            world.reactor.crash();
        }
    }
}

/// Makes everything end, again and again, until nothing is left.
fn settle(rounds: usize) {
    let Some(world) = World::current() else {
        return;
    };
    let left = settle_all(&world, rounds);
    world.check(rounds < ROUNDS_MAX, || {
        format!("these do not end: {left:?}")
    });
    if left.is_empty() || rounds == ROUNDS_MAX {
        world.note("stops");
        world.stage.set(Stage::Stopping);
        world.reactor.stop();
        return;
    }
    let next = world.short(10);
    world.reactor.call_later(next, move |_| settle(rounds + 1));
}

/// Returns the objects that have not ended yet.
fn settle_all(world: &World, rounds: usize) -> Vec<String> {
    let mut left = Vec::new();
    // Only connections that both sides closed by themselves.
    let politely = rounds < ROUNDS_POLITE;
    // A connection in the backlog would wait for ever.
    for listener in &world.listeners.borrow().clone() {
        world.call(|| match politely {
            true => listener.resume_accepting(),
            false => listener.stop_listening(),
        });
    }
    let sides = world.sides.borrow().clone();
    for side in sides.iter().filter(|side| side.life.get() == Life::Made) {
        left.push(format!("side {}", side.number));
        settle_side(world, side, politely);
    }
    for attempt in world.attempts.borrow().iter() {
        if attempt.outcomes.get() == 0 {
            left.push("a connect".to_owned());
            let connector = attempt.connector.borrow().clone();
            connector.inspect(|connector| world.call(|| connector.cancel()));
        }
    }
    let children = world.children.borrow().clone();
    for child in children.iter().filter(|child| !child.is_over()) {
        left.push("a child".to_owned());
        child.settle(world, !politely);
    }
    let timers = world.timers.borrow();
    left.extend(
        timers
            .iter()
            .filter(|it| it.is_pending())
            .map(|_| "a call".to_owned()),
    );
    left
}

fn settle_side(world: &World, side: &Rc<Side>, politely: bool) {
    let Some(transport) = side.transport() else {
        return;
    };
    resume(world, side, &transport);
    unregister(world, side, &transport);
    match politely {
        true => lose_write(world, side, &transport),
        false => side.lose(world, &transport),
    }
}

/// Checks a reactor that has stopped.
fn check_reactor(world: &World) {
    let metrics = world.reactor.metrics();
    let left = (metrics.live, metrics.in_flight, metrics.late_completions);
    world.check(left == (0, 0, 0), || {
        format!("live, in flight, late: {left:?}")
    });
    let panics = world.panics.get();
    world.check(metrics.panics == panics, || {
        format!(
            "{} panics, of which {panics} were the program's",
            metrics.panics
        )
    });
    if let Some(sim) = &world.sim {
        let running = sim.running_processes();
        // A child that was killed without its tree leaves its own child running.
        let survivors = world
            .children
            .borrow()
            .iter()
            .any(|it| it.may_leave_others());
        world.check(running == 0 || survivors, || {
            format!("{running} processes still run")
        });
    }
}

/// Checks the events that must have occurred by the time that a reactor has stopped.
fn check_stopped(world: &World, ending: Ending) {
    for side in world.sides.borrow().iter() {
        world.check(side.life.get() != Life::Made, || {
            format!("side {}: never lost", side.number)
        });
    }
    for attempt in world.attempts.borrow().iter() {
        let connector = attempt.connector.borrow();
        let over = connector.as_ref().is_some_and(|it| !it.is_connecting());
        world.check(over, || "a connect has no outcome".to_owned());
    }
    for child in world.children.borrow().iter() {
        world.check(child.is_over(), || "a child has not ended".to_owned());
    }
    let work = &world.work;
    world.check(work.asked == work.done, || "work was lost".to_owned());
    let listeners = world.listeners_closed.get();
    let most = world.listeners.borrow().len();
    world.check(listeners <= most, || {
        "a listener is closed twice".to_owned()
    });
    let calls = &world.remote_calls;
    let all = ending != Ending::Settled || calls.asked == calls.done;
    world.check(all, || "a call from elsewhere was lost".to_owned());
}

/// Checks the connections and their bytes, however they ended.
fn check_connections(world: &World, ending: Ending) {
    let sides = world.sides.borrow();
    for side in sides.iter() {
        let Some(writer) = side.source().and_then(|number| sides.get(number)) else {
            continue;
        };
        let (received, sent) = (side.received.get(), writer.sent());
        world.check(received <= sent.1, || {
            format!(
                "side {}: {received} bytes of {sent:?} arrived from side {}, lost because {:?}",
                side.number,
                writer.number,
                writer.reason.get()
            )
        });
        let whole = received >= sent.0 || !side.read_ended.get();
        // Wine tells a reset as an end of file, to every program that reads a socket.
        let reset_by_writer = is_forced(writer) || writer.reason.get() == Some("stopped");
        let may_be_cut = ending == Ending::Dropped || (cfg!(windows) && reset_by_writer);
        world.check(whole || may_be_cut, || {
            format!(
                "side {}: {received} of {sent:?} bytes, and an end of file, though side {} was lost because {:?}",
                side.number,
                writer.number,
                writer.reason.get()
            )
        });
    }
    if ending == Ending::Settled && world.calm {
        for reader in sides.iter() {
            check_pair(world, &sides, reader);
        }
    }
}

/// Whether a side ended its connection in a way that may reset it.
fn is_forced(side: &Side) -> bool {
    side.aborted.get() || side.panicked.get() || side.released.get()
}

/// Checks two sides of a connection that nothing forced to its end.
fn check_pair(world: &World, sides: &[Rc<Side>], reader: &Side) {
    let Some((local, peer)) = reader.addresses.get() else {
        return;
    };
    let mut writers = sides
        .iter()
        .filter(|it| it.addresses.get() == Some((peer, local)));
    let (Some(writer), None) = (writers.next(), writers.next()) else {
        return;
    };
    let accepted = world.accepted.borrow();
    let from = |client| accepted.iter().filter(|&&it| it == client).count();
    if from(local) + from(peer) != 1 {
        // Their client's address belonged to another connection as well.
        return;
    }
    if is_forced(reader) || is_forced(writer) {
        return;
    }
    let (name, reason) = (format!("side {}", reader.number), reader.reason.get());
    if reason == Some("reset") && world.took.get() >= LINGER_MAX {
        // The other side has ended, and no longer receives bytes that it would not deliver.
        return;
    }
    world.check(reason == Some("done"), || {
        format!("{name}: lost because {reason:?}")
    });
    let closed = reader.leaving.get() || reader.closed_now.get();
    world.check(closed || reader.read_ended.get(), || {
        format!("{name}: no end of file")
    });
    world.check(reader.closed_now.get() || reader.unsent.get() == 0, || {
        format!(
            "{name}: lost in order, and {} bytes not sent",
            reader.unsent.get()
        )
    });
    let (received, sent) = (reader.received.get(), writer.sent().0);
    let whole = received >= sent || !reader.read_ended.get();
    world.check(whole, || format!("{name}: {received} of {sent} bytes"));
}

/// Drops everything, and checks that nothing is left.
fn finish(world: Rc<World>) -> Outcome {
    world.budget.set(0);
    let trace = world.take_trace();
    let mut broken = world.take_broken();
    World::forget();
    // A connect that a stopped reactor was asked for keeps its factory, which refers to the attempt.
    for attempt in world.attempts.take() {
        attempt.connector.take();
    }
    let users = Rc::strong_count(&world);
    drop(world);
    if users != 1 {
        broken.push(format!("the program is held {users} times"));
    }
    let left = Probe::left();
    if !left.is_empty() {
        broken.push(format!("never dropped: {left:?}"));
    }
    Outcome { trace, broken }
}
