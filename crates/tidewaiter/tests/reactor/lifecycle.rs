//! Starting, stopping, and calls from other threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidewaiter::{Error, Hold, Phase, Reactor, RunEnd, SystemEvent, WorkLost};

use super::support::{reactor, run};

#[test]
fn triggers_are_called_by_phase_and_within_one_in_the_order_of_adding() {
    let (reactor, order) = (reactor(), Rc::new(RefCell::new(Vec::new())));
    for event in [SystemEvent::Shutdown, SystemEvent::Startup] {
        for phase in [Phase::After, Phase::During, Phase::Before] {
            for count in 0..2 {
                let order = Rc::clone(&order);
                reactor.add_trigger(phase, event, move |reactor, _| {
                    assert!(reactor.is_running());
                    order.borrow_mut().push((event, phase, count));
                });
            }
        }
    }
    let removed = reactor.add_trigger(Phase::Before, SystemEvent::Startup, |_, _| {
        panic!("removed")
    });
    assert!(reactor.remove_trigger(removed) && !reactor.remove_trigger(removed));
    reactor.call_when_running(Reactor::stop);
    run(&reactor);
    let mut expected = Vec::new();
    for event in [SystemEvent::Startup, SystemEvent::Shutdown] {
        for phase in [Phase::Before, Phase::During, Phase::After] {
            expected.extend([(event, phase, 0), (event, phase, 1)]);
        }
    }
    assert_eq!(*order.borrow(), expected);
    assert_eq!(reactor.metrics().panics, 0);
}

#[test]
fn a_hold_delays_the_shutdown_and_keeps_the_reactor_working() {
    let reactor = reactor();
    let done = Rc::new(RefCell::new(false));
    let held = Rc::clone(&done);
    reactor.add_trigger(
        Phase::Before,
        SystemEvent::Shutdown,
        move |reactor, hold: Hold| {
            reactor.call_later(Duration::from_millis(5), move |_| {
                *held.borrow_mut() = true;
                drop(hold);
            });
        },
    );
    let seen = Rc::clone(&done);
    reactor.add_trigger(Phase::During, SystemEvent::Shutdown, move |_, _| {
        assert!(*seen.borrow(), "the shutdown waited");
    });
    reactor.call_when_running(|reactor| {
        reactor.stop();
        // The reactor is stopping already, so this does nothing.
        reactor.stop();
    });
    run(&reactor);
    assert!(*done.borrow() && !reactor.is_running());
    assert_eq!(reactor.metrics().panics, 0);
}

/// Goal: a program can end a shutdown that waits for a hold that is never dropped.
#[test]
fn released_holds_delay_nothing() {
    for stop_first in [true, false] {
        let reactor = reactor();
        // Kept beyond the end of the loop.
        let kept = Rc::new(RefCell::new(None));
        let keep = Rc::clone(&kept);
        let trigger = move |reactor: &Reactor, hold: Hold| {
            keep.replace(Some(hold));
            // A second stop does nothing: only the release ends the wait.
            reactor.stop();
            if stop_first {
                reactor.call_later(Duration::from_millis(1), Reactor::release_holds);
            }
        };
        reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, trigger);
        reactor.call_when_running(move |reactor| {
            // Nothing delays the shutdown yet, so there is nothing to release.
            reactor.release_holds();
            reactor.stop();
            if !stop_first {
                reactor.release_holds();
            }
        });
        assert_eq!(run(&reactor), RunEnd::Stopped);
        assert!(kept.borrow().is_some(), "the trigger was called");
        assert_eq!(reactor.metrics().panics, 0);
    }
}

#[test]
fn a_crashed_reactor_runs_again_and_a_stopped_one_does_not() {
    let reactor = reactor();
    // The reactor does not run, so this does nothing.
    reactor.stop();
    reactor.call_when_running(Reactor::crash);
    assert_eq!(reactor.run().unwrap(), RunEnd::Crashed);
    assert!(!reactor.is_running());
    reactor.call_when_running(|reactor| {
        assert!(matches!(reactor.run(), Err(Error::Running)));
        assert!(matches!(
            reactor.iterate(Duration::ZERO),
            Err(Error::Running)
        ));
        reactor.stop();
    });
    assert_eq!(reactor.run().unwrap(), RunEnd::Stopped);
    assert!(matches!(reactor.run(), Err(Error::Stopped)));
    assert!(matches!(
        reactor.iterate(Duration::ZERO),
        Err(Error::Stopped)
    ));
    assert!(matches!(
        reactor.listen_tcp(super::support::any_port(), |_| super::support::Silent),
        Err(Error::Stopped)
    ));
    assert_eq!(reactor.metrics().panics, 0);
}

#[test]
fn calls_from_threads_are_made_in_order_and_none_is_lost() {
    const THREADS: usize = 8;
    const CALLS: usize = 500;
    let reactor = reactor();
    let remote = reactor.remote();
    // The calls report through this channel.
    let (results, seen) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (remote, results) = (remote.clone(), results.clone());
            thread::spawn(move || {
                for call in 0..CALLS {
                    let results = results.clone();
                    let sent = remote.call(move |_| results.send((thread, call)).unwrap());
                    sent.unwrap();
                }
            })
        })
        .collect();
    let stopper = thread::spawn(move || {
        for thread in threads {
            thread.join().unwrap();
        }
        remote.stop().unwrap();
        remote
    });
    run(&reactor);
    let remote = stopper.join().unwrap();
    assert!(matches!(remote.call(|_| ()), Err(Error::Stopped)));
    assert!(matches!(remote.stop(), Err(Error::Stopped)));
    remote.wake();
    let mut next = [0; THREADS];
    for (thread, call) in seen.try_iter() {
        assert_eq!(call, next[thread], "calls of thread {thread} are in order");
        next[thread] += 1;
    }
    assert_eq!(next, [CALLS; THREADS]);
}

#[test]
fn work_runs_on_a_thread_and_its_result_comes_back_to_the_loop() {
    let reactor = reactor();
    let home = thread::current().id();
    let results = Rc::new(RefCell::new(Vec::new()));
    for number in 0..40_u32 {
        let results = Rc::clone(&results);
        let work = move || {
            assert_ne!(thread::current().id(), home);
            assert!(number != 7, "a deliberate panic");
            number * 2
        };
        reactor.defer_to_thread(work, move |reactor, result| {
            assert_eq!(thread::current().id(), home);
            let mut results = results.borrow_mut();
            results.push((number, result));
            if results.len() == 40 {
                reactor.stop();
            }
        });
    }
    run(&reactor);
    let mut results = results.take();
    results.sort_by_key(|(number, _)| *number);
    for (number, result) in results {
        match result {
            Ok(result) => assert!(number != 7 && result == number * 2),
            Err(lost) => assert!(number == 7 && matches!(lost, WorkLost::Panicked)),
        }
    }
    assert_eq!(reactor.metrics().panics, 0);
}

#[test]
fn work_that_the_stop_overtakes_is_reported_lost_or_done() {
    let reactor = crate::open(Reactor::builder().signals(false).workers(1));
    let results = Rc::new(RefCell::new(Vec::new()));
    let (let_go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let first = Rc::clone(&results);
    reactor.defer_to_thread(
        move || gate.lock().unwrap().recv().is_err(),
        move |_, result| first.borrow_mut().push(result.map(|_| "done")),
    );
    for _ in 0..10 {
        let results = Rc::clone(&results);
        reactor.defer_to_thread(
            || "done",
            move |_, result| results.borrow_mut().push(result),
        );
    }
    reactor.add_trigger(Phase::During, SystemEvent::Shutdown, move |_, _| {
        drop(let_go);
    });
    reactor.call_when_running(Reactor::stop);
    run(&reactor);
    let results = results.take();
    assert_eq!(results.len(), 11, "every piece of work is answered");
    assert!(
        results
            .iter()
            .all(|r| matches!(r, Ok("done") | Err(WorkLost::Stopped)))
    );
}
