//! Dropping values of the program runs the program's code, which may call anything, and panic.

use std::cell::{Cell, RefCell};
use std::panic::panic_any;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::process::ExitStatus;
use tidewaiter::{
    Address, Phase, Process, ProcessProtocol, Producer, ProducerKind, Protocol, Reactor, Reason,
    RunEnd, SystemEvent, Transport, WorkLost,
};

use super::support::{Countdown, Script, Silent, any_port, assert_empty, pair, reactor, run};
use crate::support::roles::Role;

type OnDrop = Rc<dyn Fn()>;

thread_local! {
    /// Called by each `CallsWhenDropped` that is dropped on this thread.
    static ON_DROP: RefCell<Option<OnDrop>> = const { RefCell::new(None) };
    static DROPPED: Cell<usize> = const { Cell::new(0) };
}

/// Part of every value that these tests hand to the library.
pub(crate) struct CallsWhenDropped;

impl Drop for CallsWhenDropped {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        let on_drop = ON_DROP.with(|on_drop| on_drop.borrow().clone());
        if let Some(on_drop) = on_drop {
            on_drop();
        }
    }
}

impl AsRef<[u8]> for CallsWhenDropped {
    fn as_ref(&self) -> &[u8] {
        b"parting"
    }
}

impl Protocol for CallsWhenDropped {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

impl Producer for CallsWhenDropped {
    fn pause_producing(&mut self) {}
    fn resume_producing(&mut self) {}
}

impl ProcessProtocol for CallsWhenDropped {}

/// The number of values that were dropped on this thread.
pub(crate) fn dropped() -> usize {
    DROPPED.get()
}

/// From now on, values are dropped in silence.
pub(crate) fn call_nothing() {
    ON_DROP.set(None);
}

/// The payload of a panic. Its drop panics as well.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a deliberate panic, again");
        }
    }
}

pub(crate) fn panic_on_purpose() {
    if !thread::panicking() {
        panic_any(Payload);
    }
}

/// Counts down when its child has ended.
struct Awaited(Countdown);

impl ProcessProtocol for Awaited {
    fn process_ended(&mut self, process: &Process, _: ExitStatus) {
        self.0.hit(process.reactor());
    }
}

/// The number of events that `set_off` causes.
const SET_OFF: usize = 7;

/// Calls everything that may be called from anywhere. Each call counts down, and so does the arrival of the
/// bytes written.
fn set_off(transport: &Transport, countdown: &Countdown) {
    let reactor = transport.reactor();
    let hit = || {
        let countdown = countdown.clone();
        move |reactor: &Reactor| countdown.hit(reactor)
    };
    transport.write(b"last words");
    reactor.call_later(Duration::ZERO, hit());
    reactor.call_when_running(hit());
    let done = hit();
    reactor.defer_to_thread(|| (), move |reactor, _| done(reactor));
    let child = crate::child(Role::Exit(0));
    reactor
        .spawn_process(&child, Awaited(countdown.clone()))
        .expect("it starts");
    let served = Script::new().made(Transport::lose_connection);
    let client = Script::new().then_done(countdown);
    let _listener = pair(reactor, client, served.then_done(countdown));
}

/// Makes a connection on a reactor, and calls `place` with it, in a callback. `place` hands values to the
/// library which call `set_off` when dropped, and then panic. All events of `set_off` must occur.
#[track_caller]
pub(crate) fn parts(name: &str, place: impl FnOnce(&Transport) + 'static) {
    let (reactor, countdown) = (reactor(), Countdown::new(SET_OFF));
    let arrived = countdown.clone();
    let mut heard = Vec::new();
    let client = Script::new().data(move |transport, data| {
        heard.extend_from_slice(data);
        if heard.ends_with(b"last words") {
            arrived.hit(transport.reactor());
        }
    });
    let has_run = Rc::new(Cell::new(false));
    let (once, place) = (Rc::clone(&has_run), Cell::new(Some(place)));
    let server = Script::new().made(move |transport| {
        let (once, countdown, transport) = (Rc::clone(&once), countdown.clone(), transport.clone());
        let place = place.take().expect("made once");
        let there = transport.clone();
        ON_DROP.set(Some(Rc::new(move || {
            if !once.replace(true) {
                set_off(&transport, &countdown);
            }
            panic_on_purpose();
        })));
        place(&there);
    });
    let _listener = pair(&reactor, client, server);
    let ended = run(&reactor);
    call_nothing();
    assert!(has_run.get(), "{name}: it was not dropped");
    assert_eq!(ended, RunEnd::Stopped, "{name}");
    assert!(reactor.metrics().panics > 0, "{name}");
    assert_empty(&reactor.metrics());
}

/// Makes a connection beside the one that `parts` looks at, with a value of ours on its server's side.
fn beside(reactor: &Reactor, client: impl Protocol + 'static, server: impl Protocol + 'static) {
    let _listener = pair(reactor, client, server);
}

fn closing() -> Script {
    Script::new().made(Transport::lose_connection)
}

#[test]
fn protocols_may_do_anything_when_they_are_dropped() {
    parts("of a connection that ends", |transport| {
        beside(transport.reactor(), closing(), CallsWhenDropped);
    });
    parts("of a connection that is aborted", |transport| {
        let abort = Script::new().made(Transport::abort_connection);
        beside(transport.reactor(), abort, CallsWhenDropped);
    });
    parts("of a child", |transport| {
        let child = crate::child(Role::Exit(0));
        let spawned = transport.reactor().spawn_process(&child, CallsWhenDropped);
        spawned.expect("it starts");
    });
}

#[test]
fn factories_may_do_anything_when_they_are_dropped() {
    parts("of a listener", |transport| {
        let parting = CallsWhenDropped;
        let listening = transport
            .reactor()
            .listen_tcp(any_port(), move |_: Address| {
                let _ = &parting;
                Silent
            });
        listening.expect("a port is free").stop_listening();
    });
    parts("of a listener that hands over", |transport| {
        let parting = CallsWhenDropped;
        let reactor = transport.reactor();
        let listening = reactor.listen_handing_over(any_port(), move |_, _| {
            let _ = &parting;
        });
        listening.expect("a port is free").stop_listening();
    });
    parts("of a connection that was made", |transport| {
        let reactor = transport.reactor();
        let listener = reactor.listen_tcp(any_port(), |_: Address| closing());
        let listener = listener.expect("a port is free");
        let parting = CallsWhenDropped;
        reactor.connect_tcp(listener.local_addr(), move |_: Address| {
            let _ = &parting;
            closing()
        });
    });
    parts("of a connection that was cancelled", |transport| {
        let parting = CallsWhenDropped;
        let connecting = transport
            .reactor()
            .connect_tcp(any_port(), move |_: Address| {
                let _ = &parting;
                Silent
            });
        connecting.cancel();
    });
    parts("of an adopter", |transport| {
        let parting = CallsWhenDropped;
        let adopter = transport.reactor().adopter(move |_: Address| {
            let _ = &parting;
            Silent
        });
        drop(adopter.expect("it runs"));
    });
}

#[test]
fn producers_may_do_anything_when_they_are_dropped() {
    /// Unregisters itself when it is asked for more.
    struct Leaves(Transport, CallsWhenDropped);
    impl Producer for Leaves {
        fn pause_producing(&mut self) {}
        fn resume_producing(&mut self) {
            self.0.unregister_producer();
        }
    }
    parts("at the end of the connection", |transport| {
        let server = Script::new().made(|transport| {
            transport.register_producer(CallsWhenDropped, ProducerKind::Push);
        });
        let abort = Script::new().made(Transport::abort_connection);
        beside(transport.reactor(), abort, server);
    });
    parts("replaced", |transport| {
        transport.register_producer(CallsWhenDropped, ProducerKind::Push);
        let same = transport.clone();
        transport.reactor().call_later(Duration::ZERO, move |_| {
            same.register_producer(same.clone(), ProducerKind::Push);
        });
    });
    parts("unregistered by itself", |transport| {
        transport.register_producer(
            Leaves(transport.clone(), CallsWhenDropped),
            ProducerKind::Pull,
        );
    });
    parts("that comes too late", |transport| {
        let late = Script::new().made(|transport| {
            transport.abort_connection();
            transport.register_producer(CallsWhenDropped, ProducerKind::Push);
        });
        beside(transport.reactor(), Silent, late);
    });
}

#[test]
fn sent_memory_may_do_anything_when_it_is_dropped() {
    parts("once it is sent", |transport| {
        transport.write_bytes(Bytes::from_owner(CallsWhenDropped));
    });
    parts("by another connection", |transport| {
        let sends = Script::new().made(|transport| {
            transport.write_bytes(Bytes::from_owner(CallsWhenDropped));
            transport.lose_connection();
        });
        beside(transport.reactor(), Silent, sends);
    });
    parts("unsent, with much of it", |transport| {
        let sends = Script::new().made(|transport| {
            transport.write_bytes(vec![0; 1 << 20]);
            for _ in 0..100 {
                transport.write_bytes(Bytes::from_owner(CallsWhenDropped));
            }
            let closed = transport.clone();
            transport
                .reactor()
                .call_later(Duration::from_millis(1), move |_| {
                    closed.abort_connection();
                });
        });
        // Its peer reads nothing.
        let deaf = Script::new().made(Transport::pause_producing);
        beside(transport.reactor(), deaf, sends);
    });
    parts("too late to be sent", |transport| {
        let late = Script::new().made(|transport| {
            transport.abort_connection();
            transport.write_bytes(Bytes::from_owner(CallsWhenDropped));
        });
        beside(transport.reactor(), Silent, late);
    });
}

#[test]
fn callbacks_may_do_anything_when_they_are_dropped() {
    /// A callback that owns a value, and does nothing.
    fn idle() -> impl FnOnce(&Reactor) {
        let parting = CallsWhenDropped;
        move |_| drop(parting)
    }
    parts("after a delay", |transport| {
        transport.reactor().call_later(Duration::ZERO, idle());
    });
    parts("cancelled", |transport| {
        let call = transport
            .reactor()
            .call_later(Duration::from_secs(60), idle());
        transport.reactor().call_later(Duration::ZERO, move |_| {
            call.cancel();
        });
    });
    parts("soon", |transport| {
        transport.reactor().call_when_running(idle());
    });
    parts("from another thread", |transport| {
        transport.reactor().remote().call(idle()).expect("it runs");
    });
    parts("a trigger that is removed", |transport| {
        let parting = CallsWhenDropped;
        let call = move |_: &Reactor, _| drop(parting);
        let reactor = transport.reactor();
        let trigger = reactor.add_trigger(Phase::Before, SystemEvent::Startup, call);
        reactor.call_when_running(move |reactor| {
            reactor.remove_trigger(trigger);
        });
    });
    parts("of signals", |transport| {
        let parting = CallsWhenDropped;
        transport.reactor().on_signal(move |_, _| {
            let _ = &parting;
        });
        transport.reactor().call_later(Duration::ZERO, |reactor| {
            reactor.on_signal(|_, _| ());
        });
    });
    parts("of a result, and the result", |transport| {
        let done = |_: &Reactor, result: Result<CallsWhenDropped, WorkLost>| drop(result);
        transport
            .reactor()
            .defer_to_thread(|| CallsWhenDropped, done);
    });
    parts("what a panic carries", |transport| {
        struct Carrier(CallsWhenDropped);
        transport
            .reactor()
            .call_later(Duration::ZERO, |_| panic_any(Carrier(CallsWhenDropped)));
    });
}

#[test]
fn work_whose_panic_cannot_be_dropped_is_lost_all_the_same() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    for _ in 0..2 {
        let countdown = countdown.clone();
        reactor.defer_to_thread(
            || panic_any(Payload),
            move |reactor, result: Result<(), _>| {
                assert!(matches!(result, Err(WorkLost::Panicked)));
                countdown.hit(reactor);
            },
        );
    }
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 0, "it is not the loop's");
}

/// Gives the reactor one of every kind of value that it keeps. Returns how many that are.
fn fill(reactor: &Reactor) -> usize {
    fn keep(parting: CallsWhenDropped) -> impl FnOnce(&Reactor) {
        move |_| drop(parting)
    }
    let far = Duration::from_secs(3600);
    for _ in 0..2 {
        reactor.call_later(far, keep(CallsWhenDropped));
        let (call, other) = (keep(CallsWhenDropped), keep(CallsWhenDropped));
        reactor.add_trigger(Phase::Before, SystemEvent::Startup, move |reactor, _| {
            call(reactor);
        });
        reactor.add_trigger(Phase::After, SystemEvent::Shutdown, move |reactor, _| {
            other(reactor);
        });
    }
    reactor
        .remote()
        .call(keep(CallsWhenDropped))
        .expect("it is not stopped");
    let (parting, other, third) = (CallsWhenDropped, CallsWhenDropped, CallsWhenDropped);
    reactor.on_signal(move |_, _| {
        let _ = &parting;
    });
    let listening = reactor.listen_tcp(any_port(), move |_: Address| {
        let _ = &other;
        Silent
    });
    listening.expect("a port is free");
    let adopter = reactor.adopter(move |_: Address| {
        let _ = &third;
        Silent
    });
    // Dropping the adopter would drop the factory.
    let adopter = adopter.expect("it is not stopped");
    reactor.call_later(far, move |_| drop(adopter));
    let child = crate::child(Role::Deaf);
    reactor
        .spawn_process(&child, CallsWhenDropped)
        .expect("it starts");
    11
}

/// Calls, for each dropped value, everything that may be called on a reactor that ends; then panics.
pub(crate) fn call_and_panic(reactor: &Reactor) {
    let reactor = reactor.clone();
    ON_DROP.set(Some(Rc::new(move || {
        reactor
            .call_later(Duration::ZERO, |_| ())
            .reset(Duration::MAX);
        reactor.call_when_running(|_| ());
        reactor.defer_to_thread(|| (), |_, _| ());
        let _ = reactor.remote().call(|_| ());
        reactor.connect_tcp(any_port(), |_: Address| Silent);
        let _ = reactor.listen_tcp(any_port(), |_: Address| Silent);
        let _ = (reactor.now(), reactor.port_info(), reactor.metrics());
        panic_on_purpose();
    })));
}

#[test]
fn whatever_a_reactor_keeps_may_do_anything_when_the_reactor_is_dropped() {
    DROPPED.set(0);
    let reactor = reactor();
    let kept = fill(&reactor);
    call_and_panic(&reactor);
    drop(reactor);
    call_nothing();
    assert_eq!(dropped(), kept);
}

#[test]
fn whatever_a_reactor_keeps_may_do_anything_when_it_stops() {
    DROPPED.set(0);
    let reactor = reactor();
    let kept = fill(&reactor);
    call_and_panic(&reactor);
    reactor.call_later(Duration::ZERO, Reactor::stop);
    assert_eq!(run(&reactor), RunEnd::Stopped);
    // The signal callback is kept, because it may be called again.
    assert_eq!(dropped(), kept - 1);
    drop(reactor);
    call_nothing();
    assert_eq!(dropped(), kept);
}

/// Goal: dropping the owner ends the reactor although a clone runs it, however many clones there are.
#[test]
fn the_owner_may_be_dropped_in_any_callback_of_a_clone_that_runs() {
    type Place = fn(&Reactor, Box<dyn FnOnce()>);
    let places: [Place; 5] = [
        |reactor, end| {
            reactor.call_later(Duration::from_millis(1), move |_| end());
        },
        |reactor, end| reactor.call_when_running(move |_| end()),
        |reactor, end| {
            let end = Cell::new(Some(end));
            let server = Script::new().made(move |_| end.take().expect("made once")());
            pair(reactor, Silent, server);
        },
        |reactor, end| {
            let end = Cell::new(Some(end));
            let client = Script::new().made(|transport| transport.write(b"end"));
            let server = Script::new().data(move |_, _| end.take().expect("few bytes")());
            pair(reactor, client, server);
        },
        |reactor, end| {
            let end = RefCell::new(Some(end));
            let listener = reactor.listen_tcp(any_port(), move |_: Address| {
                end.take().expect("one connection")();
                Silent
            });
            let address = listener.expect("a port is free").local_addr();
            reactor.connect_tcp(address, |_: Address| Silent);
        },
    ];
    for (number, place) in places.into_iter().enumerate() {
        DROPPED.set(0);
        let owner = reactor();
        let runner = owner.clone();
        let kept = fill(&runner);
        call_and_panic(&runner);
        place(&runner, Box::new(move || drop(owner)));
        assert_eq!(run(&runner), RunEnd::Dropped, "place {number}");
        call_nothing();
        // The startup triggers and the call from another thread were called.
        assert_eq!(dropped(), kept, "place {number}");
        assert_eq!(runner.metrics().live, 0, "place {number}");
        assert!(runner.run().is_err(), "place {number}");
    }
}

/// Goal: no call on the clones of a dropped reactor, or on the handles of its objects, panics.
#[test]
fn clones_of_a_dropped_reactor_and_handles_of_its_objects_may_be_used() {
    let owner = reactor();
    let (runner, remote) = (owner.clone(), owner.remote());
    let call = owner.call_later(Duration::from_secs(60), |_| ());
    let (owned, made) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
    let (end, note) = (Rc::clone(&owned), Rc::clone(&made));
    let server = Script::new().made(move |transport| {
        note.set(Some(transport.clone()));
        drop(end.take());
    });
    let listener = pair(&owner, Silent, server);
    let other = owner.listen_tcp(any_port(), |_: Address| Silent);
    let other = other.expect("a port is free").local_addr();
    let connecting = owner.connect_tcp(other, |_: Address| Silent);
    owned.set(Some(owner));
    assert_eq!(run(&runner), RunEnd::Dropped);
    let transport: Transport = made.take().expect("it was made");
    transport.write(b"too late");
    transport.write_bytes(vec![1; 100]);
    transport.register_producer(CallsWhenDropped, ProducerKind::Pull);
    transport.pause_producing();
    transport.resume_producing();
    transport.lose_write_connection();
    transport.lose_connection();
    transport.close_connection_now();
    transport.abort_connection();
    assert!(!transport.is_open() && transport.local_addr().is_err());
    assert!(transport.set_keep_alive(Some(Duration::MAX)).is_err());
    assert!(transport.raw_descriptor().is_none());
    listener.pause_accepting();
    listener.resume_accepting();
    listener.stop_listening();
    assert!(listener.raw_descriptor().is_none());
    connecting.cancel();
    assert!(connecting.raw_descriptor().is_none() && !connecting.is_connecting());
    assert!(!call.is_active() && !call.delay(Duration::ZERO) && !call.reset(Duration::ZERO));
    assert!(remote.call(|_| ()).is_err());
    remote.wake();
    assert!(!runner.call_later(Duration::ZERO, |_| ()).is_active());
    assert!(runner.now() <= runner.now());
    assert_eq!(
        runner.port_info().kind,
        transport.reactor().port_info().kind
    );
    assert!(runner.iterate(Duration::ZERO).is_err());
    assert!(runner.before_fork().is_err() && runner.after_fork().is_err());
    assert!(runner.adopter(|_: Address| Silent).is_err());
    runner.crash();
    runner.stop();
}

/// Goal: `stop` stops the reactor even if a callback always queues itself again.
#[test]
fn a_callback_that_queues_itself_again_does_not_keep_the_reactor_from_stopping() {
    fn again(reactor: &Reactor) {
        reactor.call_when_running(again);
    }
    let reactor = reactor();
    reactor.call_when_running(again);
    let lost = Rc::new(Cell::new(false));
    let noted = Rc::clone(&lost);
    let server = Script::new()
        .made(|transport| transport.reactor().stop())
        .lost(move |_, reason| noted.set(matches!(reason, Reason::Stopped)));
    let _listener = pair(&reactor, Silent, server);
    run(&reactor);
    assert!(lost.get(), "connections are told all the same");
    assert_empty(&reactor.metrics());
}
