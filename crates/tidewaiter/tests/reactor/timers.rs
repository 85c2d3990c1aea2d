//! Delayed calls: their order, and how they can be cancelled and changed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::Reactor;

use super::support::{reactor, run};

type Order = Rc<RefCell<Vec<u32>>>;

fn note(order: &Order, number: u32) -> impl FnOnce(&Reactor) + 'static {
    let order = Rc::clone(order);
    move |_| order.borrow_mut().push(number)
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn calls_are_made_in_the_order_of_their_times_and_requests() {
    let (reactor, order) = (reactor(), Order::default());
    for (delay, number) in [(20, 4), (10, 2), (10, 3), (0, 1)] {
        reactor.call_later(ms(delay), note(&order, number));
    }
    reactor.call_later(ms(30), Reactor::stop);
    run(&reactor);
    assert_eq!(*order.borrow(), [1, 2, 3, 4]);
}

#[test]
fn no_call_is_early() {
    let reactor = reactor();
    for delay in [1, 2, 5, 17] {
        let asked = reactor.now();
        reactor.call_later(ms(delay), move |reactor| {
            assert!(reactor.now() - asked >= ms(delay));
            if delay == 17 {
                reactor.stop();
            }
        });
    }
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 0);
}

#[test]
fn a_call_can_be_cancelled_reset_and_delayed_while_it_is_pending() {
    let (reactor, order) = (reactor(), Order::default());
    let cancelled = reactor.call_later(ms(1), note(&order, 1));
    let reset = reactor.call_later(Duration::from_secs(1000), note(&order, 2));
    let delayed = reactor.call_later(ms(1), note(&order, 3));
    assert!(cancelled.cancel() && !cancelled.cancel() && !cancelled.is_active());
    assert!(!cancelled.reset(ms(1)) && !cancelled.delay(ms(1)));
    assert!(reset.reset(ms(5)));
    let due = delayed.due().unwrap();
    assert!(delayed.delay(ms(20)));
    assert_eq!(delayed.due(), Some(due + ms(20)));
    assert_eq!(reactor.delayed_calls().len(), 2);
    assert_eq!(reactor.delayed_calls()[0].due(), reset.due());
    reactor.call_later(ms(60), Reactor::stop);
    run(&reactor);
    assert_eq!(*order.borrow(), [2, 3]);
    assert!(!reset.is_active() && !reset.cancel());
}

#[test]
fn a_call_asked_for_by_a_call_waits_for_the_next_turn() {
    let (reactor, order) = (reactor(), Order::default());
    let inner = Rc::clone(&order);
    reactor.call_later(Duration::ZERO, move |reactor| {
        inner.borrow_mut().push(1);
        reactor.call_later(Duration::ZERO, note(&inner, 2));
    });
    reactor.iterate(Duration::ZERO).unwrap();
    assert_eq!(*order.borrow(), [1]);
    reactor.iterate(Duration::ZERO).unwrap();
    assert_eq!(*order.borrow(), [1, 2]);
}

#[test]
fn a_distant_call_is_neither_made_nor_overflows() {
    let reactor = reactor();
    let far = reactor.call_later(Duration::from_secs(1 << 40), |_| panic!("not in this life"));
    let farthest = reactor.call_later(Duration::MAX, |_| panic!("not in this life"));
    reactor.iterate(ms(1)).unwrap();
    assert!(far.is_active() && farthest.is_active());
    assert!(far.delay(Duration::MAX));
    reactor.iterate(ms(1)).unwrap();
    assert!(far.is_active());
}

#[test]
fn a_panicking_call_does_not_keep_others_from_being_made() {
    let (reactor, order) = (reactor(), Order::default());
    reactor.call_later(Duration::ZERO, |_| panic!("a deliberate panic"));
    reactor.call_later(Duration::ZERO, note(&order, 1));
    reactor.call_later(ms(1), Reactor::stop);
    run(&reactor);
    assert_eq!((order.borrow().len(), reactor.metrics().panics), (1, 1));
}

#[test]
fn a_repeated_call_keeps_its_beat_until_it_is_cancelled_even_by_itself() {
    let reactor = reactor();
    let started = reactor.now();
    let (times, slow) = (Rc::new(RefCell::new(Vec::new())), Rc::default());
    let (noted, own) = (Rc::clone(&times), Rc::clone(&slow));
    let repeated = reactor.call_every(ms(10), move |reactor| {
        noted
            .borrow_mut()
            .push((reactor.now() - started).as_millis());
        if noted.borrow().len() == 3 {
            let own: &RefCell<Option<tidewaiter::RepeatedCall>> = &own;
            own.borrow().as_ref().expect("it is set below").cancel();
            // A fourth call would come before.
            reactor.call_later(ms(50), Reactor::stop);
        }
    });
    slow.replace(Some(repeated.clone()));
    assert!(repeated.is_active());
    run(&reactor);
    let times = times.borrow();
    assert_eq!(times.len(), 3);
    assert!(
        times
            .iter()
            .zip([10, 20, 30])
            .all(|(time, due)| *time >= due),
        "{times:?}"
    );
    assert!(!repeated.is_active());
    repeated.cancel();
}

#[test]
fn a_repeated_call_ends_with_a_panic_and_with_the_reactor() {
    let reactor = reactor();
    let panics = reactor.call_every(Duration::ZERO, |_| panic!("a deliberate panic"));
    let order = Order::default();
    let inner = Rc::clone(&order);
    let goes_on = reactor.call_every(ms(1), move |_| inner.borrow_mut().push(0));
    reactor.call_later(ms(10), Reactor::stop);
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
    assert!(!panics.is_active() && !goes_on.is_active());
    assert!(!order.borrow().is_empty());
    assert!(!reactor.call_every(ms(1), |_| ()).is_active());
}
