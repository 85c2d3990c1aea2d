//! Dropping what the callback of a watch owns runs the program's code, which may call anything, and panic.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::RawDescriptor;
use tidewaiter::{Error, Reactor, RunEnd, Watch};

use crate::promises::drops::{
    CallsWhenDropped, call_and_panic, call_nothing, dropped, panic_on_purpose, parts,
};
use crate::promises::support::{reactor, run};

/// A number that no descriptor and no handle has.
const NO_NUMBER: RawDescriptor = RawDescriptor::MAX - 100;

/// A socket that is ready to be read; on Windows, an event that is set.
#[cfg(unix)]
struct Ready([std::os::unix::net::UnixStream; 2]);
#[cfg(windows)]
struct Ready(crate::support::event::Event);

#[cfg(unix)]
impl Ready {
    fn new() -> Ready {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("sockets are free");
        std::io::Write::write_all(&mut theirs, b"a").expect("there is room for a byte");
        Ready([ours, theirs])
    }

    fn number(&self) -> RawDescriptor {
        crate::support::number::number(&self.0[0])
    }
}

#[cfg(windows)]
impl Ready {
    fn new() -> Ready {
        let event = crate::support::event::Event::new(true);
        event.set();
        Ready(event)
    }

    fn number(&self) -> RawDescriptor {
        self.0.number()
    }
}

/// Watches `number`, as this system does.
fn start(
    reactor: &Reactor,
    number: RawDescriptor,
    mut callback: impl FnMut(&Watch) + 'static,
) -> Result<Watch, Error> {
    if cfg!(windows) {
        return reactor.watch_handle(number, callback);
    }
    let interest = tidewaiter::port::Interest::READABLE;
    reactor.watch(number, interest, move |watch, _| callback(watch))
}

/// Watches what is ready. The callback owns that, and a value that calls and panics when it is dropped.
fn watch(reactor: &Reactor, mut callback: impl FnMut(&Watch) + 'static) -> Watch {
    let (ready, parting) = (Ready::new(), CallsWhenDropped);
    let watching = start(reactor, ready.number(), move |watch| {
        let _ = (&ready, &parting);
        callback(watch);
    });
    watching.expect("it can be watched")
}

#[test]
fn callbacks_of_watches_may_do_anything_when_they_are_dropped() {
    parts("stopped by its callback", |transport| {
        watch(transport.reactor(), Watch::stop);
    });
    parts("stopped by another callback", |transport| {
        let watch = watch(transport.reactor(), |_| ());
        let reactor = transport.reactor();
        reactor.call_later(Duration::ZERO, move |_| watch.stop());
    });
    parts("stopped before its first call", |transport| {
        watch(transport.reactor(), |_| unreachable!("it is stopped")).stop();
    });
    parts("of a watch that its callback owns", |transport| {
        let owned = Rc::new(RefCell::new(None));
        let owner = Rc::clone(&owned);
        let watch = watch(transport.reactor(), move |watch| {
            assert!(owner.borrow().is_some());
            watch.stop();
        });
        owned.replace(Some(watch));
    });
    parts("of a callback that panics", |transport| {
        watch(transport.reactor(), |_| panic_on_purpose());
    });
    parts("of a watch that is refused", |transport| {
        let parting = CallsWhenDropped;
        let refused = move |reactor: &Reactor| {
            // Drops the value in the call, and so panics in it.
            let _ = start(reactor, NO_NUMBER, move |_| {
                let _ = &parting;
            });
        };
        transport.reactor().call_later(Duration::ZERO, refused);
    });
}

/// The number of watches in the tests of a reactor's end.
const WATCHES: usize = 3;

/// A reactor with watches, one of them kept by the program and one stopped but not ended. All that their
/// callbacks own calls and panics when it is dropped.
fn watching() -> (Reactor, Watch) {
    let reactor = reactor();
    let kept = watch(&reactor, |_| ());
    watch(&reactor, |_| ());
    watch(&reactor, |_| ()).stop();
    call_and_panic(&reactor);
    (reactor, kept)
}

#[test]
fn what_watches_own_may_do_anything_when_the_reactor_is_dropped() {
    let before = dropped();
    let (reactor, kept) = watching();
    drop(reactor);
    call_nothing();
    assert_eq!(dropped() - before, WATCHES);
    assert!(kept.is_stopped());
}

#[test]
fn what_watches_own_may_do_anything_when_the_reactor_stops() {
    let before = dropped();
    let (reactor, kept) = watching();
    reactor.call_later(Duration::ZERO, Reactor::stop);
    assert_eq!(run(&reactor), RunEnd::Stopped);
    call_nothing();
    assert_eq!(dropped() - before, WATCHES);
    assert!(kept.is_stopped());
}

/// Goal: dropping the owner in the callback of a watch ends the reactor, although a clone runs it.
#[test]
fn what_watches_own_may_do_anything_when_a_watch_drops_the_reactor() {
    let before = dropped();
    let (owner, kept) = watching();
    let runner = owner.clone();
    let owner = Cell::new(Some(owner));
    watch(&runner, move |_| drop(owner.take()));
    assert_eq!(run(&runner), RunEnd::Dropped);
    call_nothing();
    assert_eq!(dropped() - before, WATCHES + 1);
    assert!(kept.is_stopped());
    assert_eq!(runner.metrics().live, 0);
}
