//! The actions of a random program.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::sim::{Call, Faults};
use tidewaiter::port::{ListenOptions, Socket};
use tidewaiter::{
    Address, ConnectError, ConnectOptions, Factory, Listener, ProducerKind, Protocol, Reactor,
    Transport,
};

use crate::child::Child;
use crate::filler::Filler;
use crate::side::{Side, SideProtocol};
use crate::timers::Timer;
use crate::world::{Attempt, Probe, Stage, World, risky_callback};

const LISTENERS_MAX: usize = 6;

/// Takes a random action.
pub(crate) fn act(world: &Rc<World>) {
    match world.below(64) {
        0..=1 => listen(world),
        2..=9 => connect(world),
        10..=25 => on_side(world, "write to", write),
        26..=27 => on_side(world, "lose", |world, side, transport| {
            side.lose(world, transport);
        }),
        28..=29 => on_side(world, "end the sending of", lose_write),
        30 => on_side(world, "abort", abort),
        31 => on_side(world, "close or release", close),
        32..=35 => on_side(world, "pause", pause),
        36..=39 => on_side(world, "resume", resume),
        40..=43 => on_side(world, "fill", |world, side, _| {
            Filler::register(world, side);
        }),
        44 => on_side(world, "unregister the producer of", unregister),
        45 => drive(world),
        46 => on_side(world, "look at", look),
        47..=48 => Timer::start(world),
        49 => change_timer(world),
        50..=51 => call_from_elsewhere(world),
        52 => work(world),
        53 => change_listener(world),
        54 => cancel_connect(world),
        55 => start_child(world),
        56..=59 => change_child(world),
        60 => change_weather(world),
        61 => world.call(|| {
            let probe = Probe::new("call when running");
            world.reactor.call_when_running(move |_| {
                let _probe = probe;
                risky_callback("called when running", |_| (), || ());
            });
        }),
        62 => crash(world),
        _ => on_side(world, "write much to", |world, side, _| {
            side.write(world, world.below(40_000), true);
        }),
    }
}

fn on_side(world: &World, what: &str, action: impl FnOnce(&World, &Rc<Side>, &Transport)) {
    // This includes closed ones, on which no call may have an effect.
    let made = |side: &Side| side.is_made() || side.number.is_multiple_of(4);
    let Some(side) = world.pick(&world.sides, made) else {
        return;
    };
    if let Some(transport) = side.transport() {
        world.note(format!("  {what} side {}", side.number));
        action(world, &side, &transport);
    }
}

fn write(world: &World, side: &Rc<Side>, _: &Transport) {
    let most = [20, 2000, 10_000][world.below(3)];
    side.write(world, world.below(most), world.below(2) == 0);
}

pub(crate) fn lose_write(world: &World, side: &Rc<Side>, transport: &Transport) {
    side.finishing.set(true);
    world.call(|| transport.lose_write_connection());
}

fn abort(world: &World, side: &Rc<Side>, transport: &Transport) {
    side.aborted.set(true);
    world.call(|| transport.abort_connection());
}

fn close(world: &World, side: &Rc<Side>, transport: &Transport) {
    side.closed_now.set(true);
    if world.below(3) == 0 {
        side.released.set(true);
        world.call(|| transport.release_connection());
    } else {
        world.call(|| transport.close_connection_now());
    }
}

fn pause(world: &World, side: &Rc<Side>, transport: &Transport) {
    if world.below(4) == 0 {
        side.polite.set(true);
        return world.call(|| transport.pause_while_congested());
    }
    world.call(|| transport.pause_producing());
    side.paused.set(true);
}

pub(crate) fn resume(world: &World, side: &Rc<Side>, transport: &Transport) {
    side.paused.set(false);
    world.call(|| transport.resume_producing());
}

pub(crate) fn unregister(world: &World, side: &Rc<Side>, transport: &Transport) {
    side.producer.set(None);
    world.call(|| transport.unregister_producer());
}

/// Makes one side pause and resume another.
fn drive(world: &World) {
    on_side(world, "have another fill", |world, side, transport| {
        let Some(other) = world.pick(&world.sides, Side::is_made) else {
            return;
        };
        let Some(driven) = other.transport() else {
            return;
        };
        other.driven.set(true);
        if transport.is_open() && side.takes_more() {
            side.producer.set(Some(world.next_number()));
        }
        world.call(|| transport.register_producer(driven, ProducerKind::Push));
    });
}

/// Calls everything that changes nothing.
fn look(world: &World, side: &Rc<Side>, transport: &Transport) {
    world.call(|| {
        transport.set_water_marks(world.below(40_000), world.below(80_000));
        let open = transport.is_open();
        world.check(transport.local_addr().is_ok() == open, || {
            format!("side {}: open: {open}, and its address", side.number)
        });
        let _ = transport.set_no_delay(world.below(2) == 0);
        let _ = transport.set_keep_alive(Some(Duration::from_secs(60)));
        let number = transport.raw_descriptor();
        let known = open && world.sim.is_none();
        world.check(number.is_some() == known, || {
            format!("side {}: open: {open}, number: {number:?}", side.number)
        });
    });
}

fn change_timer(world: &World) {
    if let Some(timer) = world.pick(&world.timers, |_| true) {
        timer.change(world);
    }
}

/// Makes a call through a `Remote`, but from this thread: the clock of a simulation would not wait for another.
fn call_from_elsewhere(world: &World) {
    let tally = &world.remote_calls;
    let number = tally.asked.get();
    let probe = Probe::new("call from elsewhere");
    let remote = world.reactor.remote();
    let call = move || {
        remote.call(move |_| {
            let _probe = probe;
            let body = |world: &Rc<World>| {
                let done = &world.remote_calls.done;
                world.check(done.replace(number + 1) <= number, || {
                    format!("call {number} from elsewhere is out of order")
                });
            };
            risky_callback("a call from elsewhere", body, || ());
        })
    };
    if world.call(call).is_ok() {
        tally.asked.set(number + 1);
    }
}

/// Gives work to a thread. Not in a simulation, whose clock would not wait for it.
fn work(world: &World) {
    if world.sim.is_some() {
        return;
    }
    // A reactor that ends everything may have ended its threads, and then drops the callback.
    let must_be_done = !matches!(world.stage.get(), Stage::Draining | Stage::Over);
    let once = usize::from(must_be_done);
    world.work.asked.set(world.work.asked.get() + once);
    let probe = Probe::new("work");
    world.call(|| {
        world.reactor.defer_to_thread(
            || 7,
            move |_, _| {
                let _probe = probe;
                let count = |world: &Rc<World>| world.work.done.set(world.work.done.get() + once);
                risky_callback("work is done", count, || ());
            },
        );
    });
}

fn crash(world: &World) {
    if world.stage.get() == Stage::Acting {
        world.note("crashes");
        world.call(|| world.reactor.crash());
    }
}

// Connections.

/// Makes a protocol for most connections, and none for the others.
struct Maker {
    attempt: Option<Rc<Attempt>>,
    _probe: Probe,
}

impl Maker {
    fn new(attempt: Option<Rc<Attempt>>) -> Maker {
        Maker {
            attempt,
            _probe: Probe::new("factory"),
        }
    }

    fn note_outcome(&self, world: &World) {
        if let Some(attempt) = &self.attempt {
            attempt.outcomes.set(attempt.outcomes.get() + 1);
            world.check(attempt.outcomes.get() == 1, || {
                "a connect has two outcomes".to_owned()
            });
        }
    }
}

impl Factory for Maker {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        let body = |world: &Rc<World>| {
            if self.attempt.is_none() {
                world.accepted.borrow_mut().extend(peer.socket_addr());
            }
            self.note_outcome(world);
            (world.below(10) > 0).then(|| Side::new(world))
        };
        let told = format!("a connection to {peer}");
        let side = risky_callback(&told, body, || ()).flatten()?;
        Some(Box::new(SideProtocol::new(side)))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        let told = format!("no connection: {error}");
        let body = |world: &Rc<World>| match error {
            // The factory was asked for a protocol: that was noted.
            ConnectError::Declined { .. } => {}
            _ => self.note_outcome(world),
        };
        risky_callback(&told, body, || ());
    }

    fn listener_closed(&mut self, _: &Listener) {
        let count = |world: &Rc<World>| {
            world.listeners_closed.set(world.listeners_closed.get() + 1);
        };
        risky_callback("a listener is closed", count, || ());
    }
}

fn listen(world: &World) {
    if world.listeners.borrow().len() >= LISTENERS_MAX {
        return;
    }
    let mut options = ListenOptions::new(([127, 0, 0, 1], 0));
    options.backlog = 5;
    let listening = if world.below(3) == 0 {
        let probe = Probe::new("hand-over");
        let take = move |socket, peer| {
            let _alive = &probe;
            adopt(socket, peer);
        };
        world.call(|| world.reactor.listen_handing_over(options, take))
    } else {
        world.call(|| world.reactor.listen_tcp(options, Maker::new(None)))
    };
    match listening {
        Ok(listener) => world.listeners.borrow_mut().push(listener),
        Err(error) => world.note(format!("does not listen: {error}")),
    }
}

/// Adopts an accepted connection, at once or later, or drops it.
fn adopt(socket: Socket, peer: Address) {
    let told = format!("is handed a connection to {peer}");
    let body = |world: &Rc<World>| {
        world.accepted.borrow_mut().extend(peer.socket_addr());
        match world.below(4) {
            0 => {}
            1 => {
                let delay = world.short(world.below(10));
                world.call(|| {
                    world.reactor.call_later(delay, move |_| {
                        let adopt_now = |world: &Rc<World>| adopt_now(world, socket, peer);
                        risky_callback("adopts later", adopt_now, || ());
                    })
                });
            }
            _ => adopt_now(world, socket, peer),
        }
    };
    risky_callback(&told, body, || ());
}

fn adopt_now(world: &World, socket: Socket, peer: Address) {
    let side = Side::new(world);
    let protocol = SideProtocol::new(Rc::clone(&side));
    let adopted = world.call(|| world.reactor.adopt_stream(socket, peer, protocol));
    if let Err(error) = adopted {
        world.note(format!("not adopted: {error}"));
    }
}

fn connect(world: &World) {
    let listeners = world.listeners.borrow();
    let listening = listeners.len();
    let address = match world.below(12) {
        // Nobody listens there.
        0 => Address::from(([127, 0, 0, 1], 1)),
        // Nobody answers there.
        1 if world.sim.is_some() => Address::from(([192, 0, 2, 1], 80)),
        _ if listening == 0 => return,
        _ => listeners[world.below(listening)].local_addr(),
    };
    drop(listeners);
    let attempt = Rc::new(Attempt {
        connector: RefCell::new(None),
        outcomes: Cell::new(0),
    });
    let mut options = ConnectOptions::from(address);
    if world.below(4) == 0 {
        options = options.timeout(world.short(world.below(30)));
    }
    let maker = Maker::new(Some(Rc::clone(&attempt)));
    let connector = world.call(|| world.reactor.connect_tcp(options, maker));
    attempt.connector.replace(Some(connector));
    world.attempts.borrow_mut().push(attempt);
}

fn cancel_connect(world: &World) {
    let Some(attempt) = world.pick(&world.attempts, |attempt| attempt.outcomes.get() == 0) else {
        return;
    };
    if let Some(connector) = &*attempt.connector.borrow() {
        world.call(|| connector.cancel());
    }
}

fn change_listener(world: &World) {
    let listener = {
        let listeners = world.listeners.borrow();
        let count = listeners.len();
        if count == 0 {
            return;
        }
        listeners[world.below(count)].clone()
    };
    match world.below(6) {
        0..=2 => world.call(|| listener.pause_accepting()),
        3..=4 => world.call(|| listener.resume_accepting()),
        _ => world.call(|| listener.stop_listening()),
    }
}

// Children.

fn start_child(world: &World) {
    // Real children are expensive.
    let most = if world.sim.is_some() { 5 } else { 1 };
    if world.children.borrow().len() < most {
        Child::start(world);
    }
}

fn change_child(world: &World) {
    if let Some(child) = world.pick(&world.children, |_| true) {
        child.change(world);
    }
}

// Time and the simulated network.

fn change_weather(world: &World) {
    let Some(sim) = &world.sim else {
        return;
    };
    if world.calm {
        let faults = [Faults::default(), Faults::bumpy()];
        return sim.set_faults(faults[world.below(2)].clone());
    }
    match world.below(4) {
        0 => sim.set_faults(Faults::bumpy()),
        1 => sim.set_faults(Faults::stormy()),
        2 => {
            let side = world.pick(&world.sides, Side::is_made);
            if let Some((local, _)) = side.and_then(|side| side.addresses.get()) {
                sim.reset(local);
            }
        }
        _ => {
            let calls = [
                Call::Listen,
                Call::OpenStream,
                Call::Connect,
                Call::Accept,
                Call::Receive,
                Call::Send,
                Call::Spawn,
                Call::Exit,
            ];
            sim.fail_next(calls[world.below(calls.len())], ErrorKind::QuotaExceeded);
        }
    }
}
