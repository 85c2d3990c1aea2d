//! Driving a reactor from the program's own loop.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tidewaiter::{Error, Metrics, Reactor, Remote, SlowCallback};

use super::support::{Countdown, Echo, Script, pair, reactor, run_clean};

/// Longer than any step of these tests takes; only a failure waits this long.
const LONG: Duration = Duration::from_secs(60);

/// A reactor whose hook counts its calls, and then calls `hook`.
fn hooked(hook: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) -> (Reactor, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let builder = Reactor::builder().signals(false);
    let reactor = crate::open(builder.around_wait(move |wait| {
        counter.fetch_add(1, Ordering::Relaxed);
        hook(wait);
    }));
    (reactor, calls)
}

#[test]
fn the_hook_is_around_the_waits_that_may_block_and_no_others() {
    let (reactor, calls) = hooked(|wait| wait());
    reactor.iterate(Duration::ZERO).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0, "nothing can block");
    let called = Rc::new(Cell::new(false));
    let flag = Rc::clone(&called);
    // So late that a busy machine certainly waits for it.
    reactor.call_later(SLOW, move |_| flag.set(true));
    reactor.iterate(None).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(!called.get(), "it is due with the next turn");
    reactor.iterate(Duration::ZERO).unwrap();
    assert!(called.get(), "the whole wait was within the hook");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_hook_that_waits_twice_waits_once() {
    let (reactor, _) = hooked(|wait| {
        wait();
        wait();
    });
    reactor.remote().wake();
    // Nothing would end a second wait.
    reactor.iterate(LONG).unwrap();
}

#[test]
fn if_the_hook_does_not_wait_the_loop_polls_without_blocking() {
    let way_in = Arc::new(OnceLock::<Remote>::new());
    let remote = Arc::clone(&way_in);
    let (reactor, calls) = hooked(move |_| remote.get().unwrap().call(|_| ()).unwrap());
    way_in.set(reactor.remote()).unwrap();
    let start = reactor.now();
    let called = Rc::new(Cell::new(0));
    for expected in 1..=3 {
        let count = Rc::clone(&called);
        reactor.call_later(Duration::ZERO, move |_| count.set(count.get() + 1));
        reactor.iterate(LONG).unwrap();
        assert_eq!(called.get(), expected);
        assert_eq!(reactor.metrics().remote_calls, expected);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert!(reactor.now() - start < LONG / 2);
}

#[test]
fn a_panic_in_the_hook_ends_neither_the_loop_nor_the_wait() {
    let way_in = Arc::new(OnceLock::<Remote>::new());
    let remote = Arc::clone(&way_in);
    let (reactor, _) = hooked(move |wait| {
        remote.get().unwrap().call(|_| ()).unwrap();
        wait();
        panic!("a deliberate panic");
    });
    way_in.set(reactor.remote()).unwrap();
    reactor.iterate(LONG).unwrap();
    let metrics = reactor.metrics();
    assert_eq!((metrics.panics, metrics.remote_calls), (1, 1));
}

/// Goal: after a crash, the turns go on as before: they wait, and events end the wait.
#[test]
fn a_crash_ends_the_wait_of_its_own_turn_alone() {
    let reactor = reactor();
    reactor.call_later(Duration::ZERO, Reactor::crash);
    reactor.iterate(None).unwrap();
    reactor.crash();
    let start = reactor.now();
    let pause = Duration::from_millis(20);
    reactor.iterate(pause).unwrap();
    assert!(reactor.now() - start >= pause, "it waited");
    reactor.remote().call(Reactor::crash).unwrap();
    reactor.iterate(None).unwrap();
    let start = reactor.now();
    reactor.iterate(pause).unwrap();
    assert!(reactor.now() - start >= pause, "it waited");
}

#[test]
fn a_skipped_wait_is_one_wait_alone() {
    let reactor = reactor();
    reactor.skip_wait();
    reactor.iterate(None).unwrap();
    reactor.call_later(Duration::ZERO, Reactor::skip_wait);
    reactor.iterate(None).unwrap();
    let start = reactor.now();
    let pause = Duration::from_millis(20);
    reactor.iterate(pause).unwrap();
    assert!(reactor.now() - start >= pause, "it waited");
}

#[test]
fn the_wait_of_a_turn_is_skipped_before_it_but_not_after_it() {
    let reactor = reactor();
    let pause = Duration::from_millis(20);
    let timed_turn = || {
        let start = reactor.now();
        reactor.iterate(pause).unwrap();
        reactor.now() - start
    };
    // After the wait: the next turn waits.
    reactor.remote().call(Reactor::skip_wait_of_turn).unwrap();
    reactor.iterate(None).unwrap();
    assert!(timed_turn() >= pause, "it waited");
    // Before the wait, and between turns: only a turn without an end of its own shows that it did not wait.
    reactor.call_later(Duration::ZERO, Reactor::skip_wait_of_turn);
    reactor.iterate(None).unwrap();
    reactor.skip_wait_of_turn();
    reactor.iterate(None).unwrap();
    assert!(timed_turn() >= pause, "it waited");
}

#[test]
fn calls_that_a_call_adds_are_made_in_the_next_turn_which_does_not_wait() {
    let reactor = reactor();
    let (sender, calls) = std::sync::mpsc::channel();
    let remote = reactor.remote();
    let again = remote.clone();
    let outer = sender.clone();
    remote
        .call(move |reactor| {
            outer.send("first").unwrap();
            assert!(matches!(reactor.iterate(None), Err(Error::Running)));
            again.call(move |_| sender.send("second").unwrap()).unwrap();
        })
        .unwrap();
    reactor.iterate(None).unwrap();
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["first"]);
    reactor.iterate(None).unwrap();
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["second"]);
}

/// The limit for slow callbacks. Callbacks meant to be fast must stay below it even on a busy machine.
const SLOW: Duration = Duration::from_secs(1);

/// A reactor that reports slow callbacks.
fn judging() -> (Reactor, Receiver<SlowCallback>) {
    let (sender, reports) = mpsc::channel();
    let sender = Mutex::new(sender);
    let builder = Reactor::builder().signals(false);
    let reactor = crate::open(builder.slow_callback(SLOW, move |slow| {
        let sender = sender.lock().expect("nothing panics with it");
        sender.send(slow.clone()).expect("the test listens");
    }));
    (reactor, reports)
}

/// Blocks the loop for longer than the limit.
fn dawdle(reactor: &Reactor) {
    let start = reactor.now();
    while reactor.now() - start <= SLOW {
        std::hint::spin_loop();
    }
}

#[test]
fn slow_callbacks_are_reported_with_their_kind() {
    if crate::SIMULATED {
        // No callback takes simulated time.
        return;
    }
    let (reactor, reports) = judging();
    // The program's own time between turns does not count for any callback.
    dawdle(&reactor);
    reactor.call_later(Duration::ZERO, |_| ());
    reactor.call_later(Duration::ZERO, dawdle);
    reactor.remote().call(|_| ()).unwrap();
    reactor.iterate(None).unwrap();
    let slow = reports.try_recv().expect("one was slow");
    assert_eq!((slow.what, &slow.peer), ("a delayed call", &None));
    assert!(slow.elapsed > SLOW && slow.to_string().starts_with("a delayed call took "));
    assert!(reports.try_recv().is_err(), "nothing else was");
    assert!(reactor.metrics().turn_times.max() < SLOW);
    reactor.iterate(Duration::ZERO).unwrap();
}

#[test]
fn a_slow_task_is_reported_with_the_place_where_it_was_spawned() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, reports) = judging();
    let handle = reactor.clone();
    let task = reactor.spawn(async move { dawdle(&handle) });
    reactor.block_on(task).unwrap().unwrap();
    let slow = reports.try_recv().expect("it was slow");
    let place = slow.spawned_at.expect("a task has one");
    assert!(place.file().ends_with("embedding.rs"), "{place}");
    let told = format!("a task took {:?}, spawned at {place}", slow.elapsed);
    assert_eq!(slow.to_string(), told);
}

#[test]
fn a_slow_protocol_is_reported_with_its_peer() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, reports) = judging();
    let done = Countdown::new(1);
    let client = Script::new()
        .made(|transport| transport.write(b"?"))
        .data(|transport, _| {
            dawdle(transport.reactor());
            transport.lose_connection();
        })
        .then_done(&done);
    let listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
    let slow = reports.try_recv().expect("one was slow");
    assert_eq!(slow.what, "a protocol");
    assert_eq!(slow.peer, Some(listener.local_addr()));
    assert!(reports.try_recv().is_err(), "no other, nor this one again");
    let times = reactor.metrics().turn_times;
    assert!(times.max() > SLOW && times.percentile(100) == times.max());
}

#[test]
fn metrics_count_by_kind_and_measure_turns() {
    let reactor = reactor();
    let kinds = |metrics: &Metrics| {
        let living = metrics.living;
        (living.listeners, living.transports, living.children)
    };
    assert_eq!(kinds(&reactor.metrics()), (0, 0, 0));
    let done = Countdown::new(1);
    let client = Script::new()
        .made(|transport| transport.write(b"?"))
        .data(move |transport, _| {
            let metrics = transport.reactor().metrics();
            assert_eq!(kinds(&metrics), (1, 2, 0), "{metrics:?}");
            transport.lose_connection();
        })
        .then_done(&done);
    let _listener = pair(&reactor, client, Echo);
    assert_eq!(kinds(&reactor.metrics()).0, 1);
    run_clean(&reactor);
    let metrics = reactor.metrics();
    assert_eq!(kinds(&metrics), (0, 0, 0));
    assert_eq!(
        metrics.turn_times.count(),
        metrics.turns - 1,
        "one between two waits"
    );
}
