//! Waitable objects of Windows that other code owns.

use std::cell::{Cell, RefCell};
use std::os::windows::io::AsRawHandle;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{Error, Reactor, Watch};

use crate::promises::support::{Countdown, reactor, run, run_clean, wait_until};
use crate::support::event::Event;
use crate::support::starting::start;

/// Goal: more objects are watched than a single system wait takes, and each is reported to its own callback.
/// Method: each event sets the next one, the last stops the reactor.
#[test]
fn five_hundred_events_are_watched_at_once() {
    const EVENTS: usize = 500;
    let reactor = reactor();
    let events: Rc<Vec<Event>> = Rc::new((0..EVENTS).map(|_| Event::new(false)).collect());
    let order: Rc<RefCell<Vec<usize>>> = Rc::default();
    for (index, event) in events.iter().enumerate() {
        let (all, order) = (Rc::clone(&events), Rc::clone(&order));
        let watch = reactor.watch_handle(event.number(), move |watch| {
            assert_eq!(watch.descriptor(), all[index].number());
            order.borrow_mut().push(index);
            match all.get(index + 1) {
                Some(next) => next.set(),
                None => watch.reactor().stop(),
            }
        });
        watch.expect("an event can be waited for");
    }
    events[0].set();
    run_clean(&reactor);
    assert_eq!(order.take(), (0..EVENTS).collect::<Vec<_>>());
}

/// Goal: an auto-reset event is consumed once for each call; a manual-reset event calls in each turn.
#[test]
fn events_are_waited_for_again() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let (pulse, calls) = (Rc::new(Event::new(false)), Rc::new(Cell::new(0)));
    let (again, count, done) = (Rc::clone(&pulse), Rc::clone(&calls), countdown.clone());
    let pulsed = reactor.watch_handle(pulse.number(), move |watch| {
        count.set(count.get() + 1);
        match count.get() {
            1 | 2 => again.set(),
            _ => done.hit(watch.reactor()),
        }
    });
    pulsed.unwrap();
    let (level, turns) = (Rc::new(Event::new(true)), Rc::new(Cell::new(0)));
    let (set, count) = (Rc::clone(&level), Rc::clone(&turns));
    let levelled = reactor.watch_handle(level.number(), move |watch| {
        count.set(count.get() + 1);
        if count.get() == 5 {
            set.reset();
            // A further call would fail the countdown.
            let done = countdown.clone();
            watch
                .reactor()
                .call_later(Duration::from_millis(50), move |reactor| done.hit(reactor));
        }
    });
    levelled.unwrap();
    pulse.set();
    level.set();
    run_clean(&reactor);
    assert_eq!((calls.get(), turns.get()), (3, 5));
}

/// Goal: a callback may stop its own watch and others that were signalled, and close their handles right after.
#[test]
fn a_stopped_watch_is_not_called() {
    let reactor = reactor();
    let events = Rc::new(RefCell::new(Vec::new()));
    let watches = Rc::new(RefCell::new(Vec::new()));
    let calls = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let event = Event::new(true);
        event.set();
        let (handles, all) = (Rc::clone(&events), Rc::clone(&watches));
        let count = Rc::clone(&calls);
        let watch = reactor.watch_handle(event.number(), move |watch| {
            count.set(count.get() + 1);
            all.take().iter().for_each(Watch::stop);
            drop(handles.take());
            watch
                .reactor()
                .call_later(Duration::from_millis(50), Reactor::stop);
        });
        watches.borrow_mut().push(watch.unwrap());
        events.borrow_mut().push(event);
    }
    run_clean(&reactor);
    assert_eq!(calls.get(), 1);
}

/// Goal: a process can be watched by the handle that its parent got.
#[test]
fn a_process_can_be_watched() {
    let reactor = reactor();
    let mut child = Command::new("cmd.exe");
    let child = child.args(["/c", "set /p line="]).stdin(Stdio::piped());
    let mut child = start(child.stdout(Stdio::null())).expect("it starts");
    let handle = child.as_raw_handle().addr() as u64;
    let input = Cell::new(child.stdin.take());
    let ended = reactor.watch_handle(handle, |watch| {
        watch.stop();
        watch.reactor().stop();
    });
    let ended = ended.unwrap();
    // The process ends when its input ends.
    reactor.call_later(Duration::ZERO, move |_| drop(input.take()));
    run_clean(&reactor);
    assert!(ended.is_stopped());
    child.wait().unwrap();
}

/// Goal: an invalid handle is refused with an error that names it.
#[test]
fn refusals_name_the_handle() {
    let reactor = reactor();
    for handle in [0, u64::MAX, 0x7fff_fff0] {
        match reactor.watch_handle(handle, |_| ()) {
            Err(Error::Watch { descriptor, source }) => {
                assert_eq!(descriptor, handle);
                // ERROR_INVALID_HANDLE.
                assert_eq!(source.raw_os_error(), Some(6));
            }
            other => panic!("{handle} was not refused: {other:?}"),
        }
    }
    assert_eq!(reactor.metrics().live, 0);
}

/// Goal: a panic stops the watch in which it occurred; a reactor that stops ends the others.
#[test]
fn a_panic_stops_one_watch() {
    let reactor = reactor();
    let (faulty, sound) = (Event::new(true), Event::new(true));
    faulty.set();
    let panics = reactor.watch_handle(faulty.number(), |_| panic!("on purpose"));
    let panics = panics.unwrap();
    let token = Rc::new(());
    let owned = Rc::clone(&token);
    let kept = reactor.watch_handle(sound.number(), move |_| unreachable!("{owned:?}"));
    let kept = kept.unwrap();
    wait_until(
        &reactor,
        |reactor| reactor.metrics().panics > 0,
        Reactor::stop,
    );
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
    assert!(panics.is_stopped() && kept.is_stopped());
    assert_eq!(Rc::strong_count(&token), 1);
}
