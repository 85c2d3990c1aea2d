//! Tasks: futures that the loop polls.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use tidewaiter::{Error, JoinError, JoinSet, MissedTicks, Reactor, yield_now};

use super::io_support::poll_times;
use super::support::{Log, assert_empty, reactor, run};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Notes when it is dropped.
struct Dropped(Rc<Cell<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn block_on_returns_what_its_future_does_and_leaves_the_reactor_as_it_is() {
    let reactor = reactor();
    let word = String::from("borrowed");
    assert_eq!(reactor.block_on(async { word.len() }).unwrap(), 8);
    let (log, noted) = (Log::default(), Log::default());
    let (inner, handle) = (log.clone(), reactor.clone());
    let between = noted.clone();
    reactor.spawn(async move {
        while !between.has("between") {
            handle.sleep(ms(1)).await;
        }
        inner.add("the task goes on");
        handle.stop();
    });
    reactor.block_on(reactor.sleep(ms(5))).unwrap();
    assert!(log.take().is_empty(), "it waits");
    noted.add("between");
    run(&reactor);
    assert_eq!(log.take(), ["the task goes on"]);
    let refused = reactor.block_on(async {});
    assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
}

#[test]
fn block_on_is_refused_in_callbacks_and_tasks_and_ends_when_the_reactor_does() {
    let reactor = reactor();
    let handle = reactor.clone();
    let nested = reactor.block_on(async move { handle.block_on(async {}) });
    assert!(matches!(nested, Ok(Err(Error::Running))), "{nested:?}");
    let handle = reactor.clone();
    let nested = reactor.spawn(async move { handle.run().map(drop) });
    let nested = reactor.block_on(nested).unwrap();
    assert!(matches!(nested, Ok(Err(Error::Running))), "{nested:?}");
    reactor.call_later(ms(1), Reactor::crash);
    let crashed = reactor.block_on(pending::<()>());
    assert!(matches!(crashed, Err(Error::Stopped)), "{crashed:?}");
    reactor.call_later(ms(1), Reactor::stop);
    let stopped = reactor.block_on(pending::<()>());
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
}

#[test]
fn a_panic_of_the_future_of_block_on_passes_and_the_reactor_goes_on() {
    let reactor = reactor();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reactor.block_on(async { panic!("a deliberate panic it") })
    }));
    assert!(caught.is_err());
    assert_eq!(reactor.block_on(async { 5 }).unwrap(), 5);
}

#[test]
fn a_panic_costs_its_task_alone() {
    let reactor = reactor();
    let dropped = Rc::new(Cell::new(0));
    let held = Dropped(Rc::clone(&dropped));
    let panics = reactor.spawn(async move {
        let _held = held;
        yield_now().await;
        panic!("a deliberate panic {}", 7);
    });
    let fine = reactor.spawn(async { "fine" });
    let results = reactor.block_on(async { (panics.await, fine.await) });
    let lost = Err::<(), _>(JoinError::Panicked("a deliberate panic 7".to_owned()));
    assert_eq!(results.unwrap(), (lost, Ok("fine")));
    assert_eq!((dropped.get(), reactor.metrics().panics), (1, 1));
}

#[test]
fn a_task_that_is_aborted_drops_its_future_and_tells_its_handle() {
    let reactor = reactor();
    let dropped = Rc::new(Cell::new(0));
    let held = Dropped(Rc::clone(&dropped));
    let endless = reactor.spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    reactor.block_on(yield_now()).unwrap();
    endless.abort();
    endless.abort_handle().abort();
    assert_eq!(dropped.get(), 0, "from the loop, not from the call");
    assert_eq!(reactor.block_on(endless).unwrap(), Err(JoinError::Aborted));
    assert_eq!(dropped.get(), 1);

    let own = Rc::new(RefCell::new(None::<tidewaiter::AbortHandle>));
    let (held, inner) = (Dropped(Rc::clone(&dropped)), Rc::clone(&own));
    let suicide = reactor.spawn(async move {
        let _held = held;
        inner.borrow().as_ref().unwrap().abort();
        pending::<()>().await;
    });
    own.replace(Some(suicide.abort_handle()));
    assert_eq!(reactor.block_on(suicide).unwrap(), Err(JoinError::Aborted));
    assert_eq!(dropped.get(), 2);

    let never_polled = reactor.spawn(async { 1 });
    never_polled.abort();
    let done = reactor.spawn(async { 2 });
    reactor.block_on(yield_now()).unwrap();
    done.abort();
    assert!(never_polled.is_finished() && done.is_finished());
    let results = reactor.block_on(async { (never_polled.await, done.await) });
    let (first, second) = results.unwrap();
    assert!(
        matches!(first, Ok(1) | Err(JoinError::Aborted)),
        "{first:?}"
    );
    assert_eq!(second, Ok(2));
}

#[test]
fn tasks_are_dropped_with_the_reactor_and_refused_after_its_end() {
    let dropped = Rc::new(Cell::new(0));
    for stop in [true, false] {
        let reactor = reactor();
        let (held, handle) = (Dropped(Rc::clone(&dropped)), reactor.clone());
        let endless = reactor.spawn(async move {
            let _held = held;
            // Not even a task that starts others as it is dropped keeps the reactor.
            let _last = handle.clone();
            pending::<()>().await;
        });
        if stop {
            reactor.call_later(ms(1), Reactor::stop);
            run(&reactor);
            assert_empty(&reactor.metrics());
            let late = reactor.spawn(async {});
            assert!(late.is_finished(), "refused at once");
        }
        drop(reactor);
        assert!(endless.is_finished());
        let mut result = pin!(endless);
        let polled = result
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Err(JoinError::Aborted)));
    }
    assert_eq!(dropped.get(), 2);
}

#[test]
fn tasks_that_wake_each_other_are_polled_in_the_order_of_their_wake_ups() {
    let (reactor, log) = (reactor(), Log::default());
    let tasks: Vec<_> = (0..3)
        .map(|number| {
            let log = log.clone();
            reactor.spawn(async move {
                for round in 0..2 {
                    log.add(format!("{number}.{round}"));
                    yield_now().await;
                }
            })
        })
        .collect();
    reactor
        .block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    assert_eq!(log.take(), ["0.0", "1.0", "2.0", "0.1", "1.1", "2.1"]);
}

#[test]
fn a_task_that_always_wakes_itself_holds_up_neither_timers_nor_others() {
    let reactor = reactor();
    let turns = Rc::new(Cell::new(0_u64));
    let counted = Rc::clone(&turns);
    let busy = reactor.spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            yield_now().await;
        }
    });
    // The simulated clock moves in waits alone, and there are none.
    let handle = reactor.clone();
    let others = reactor.spawn(async move {
        for _ in 0..10 {
            handle.sleep(Duration::ZERO).await;
        }
    });
    assert_eq!(reactor.block_on(others).unwrap(), Ok(()));
    busy.abort();
    let polls = turns.get();
    assert!(
        polls > 0 && polls <= reactor.metrics().turns * 2 + 2,
        "{polls}"
    );
}

/// A channel of one value, as anyone would write it.
#[derive(Default)]
struct Channel {
    value: RefCell<Option<u32>>,
    waiting: RefCell<Option<Waker>>,
}

impl Channel {
    fn send(&self, value: u32) {
        self.value.replace(Some(value));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    async fn receive(&self) -> u32 {
        poll_fn(|context| match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waiting.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

#[test]
fn two_tasks_pass_values_within_few_turns() {
    let reactor = reactor();
    let (there, back) = (Rc::new(Channel::default()), Rc::new(Channel::default()));
    let (inner_there, inner_back) = (Rc::clone(&there), Rc::clone(&back));
    reactor.spawn(async move {
        loop {
            let value = inner_there.receive().await;
            inner_back.send(value + 1);
        }
    });
    let before = reactor.metrics().turns;
    let task = reactor.spawn(async move {
        let mut value = 0;
        for _ in 0..500 {
            there.send(value);
            value = back.receive().await;
        }
        value
    });
    assert_eq!(reactor.block_on(task).unwrap(), Ok(500));
    let turns = reactor.metrics().turns - before;
    assert!(turns < 20, "{turns} turns");
}

#[test]
fn other_threads_wake_tasks_before_during_and_after_the_run() {
    let reactor = reactor();
    let shared = Arc::new(Mutex::new((None::<Waker>, 0)));
    let (asks, asked) = mpsc::channel();
    let inner = Arc::clone(&shared);
    let task = reactor.spawn(poll_fn(move |context| {
        let mut shared = inner.lock().unwrap();
        if shared.1 == 200 {
            return Poll::Ready(());
        }
        shared.0 = Some(context.waker().clone());
        asks.send(()).unwrap();
        Poll::Pending
    }));
    let thread_shared = Arc::clone(&shared);
    let waking = thread::spawn(move || {
        let mut last = None;
        while asked.recv().is_ok() {
            let waker = {
                let mut shared = thread_shared.lock().unwrap();
                shared.1 += 1;
                shared.0.take()
            };
            if let Some(waker) = waker {
                waker.wake_by_ref();
                last = Some(waker);
            }
        }
        last
    });
    assert_eq!(reactor.block_on(task).unwrap(), Ok(()));
    drop(reactor);
    let late = waking.join().unwrap().expect("it woke the task");
    late.wake();
}

#[test]
fn a_set_returns_results_as_its_tasks_end_and_aborts_the_rest_when_dropped() {
    let reactor = reactor();
    let dropped = Rc::new(Cell::new(0));
    let mut set = JoinSet::new(&reactor);
    // So far apart that a busy machine begins all of them before the second is due.
    for delay in [400, 1, 200] {
        let handle = reactor.clone();
        set.spawn(async move {
            handle.sleep(ms(delay)).await;
            delay
        });
    }
    set.spawn(async { panic!("a deliberate panic in a set") });
    set.spawn(pending()).abort();
    assert_eq!(set.len(), 5);
    let mut results = VecDeque::new();
    reactor
        .block_on(async {
            while let Some(result) = set.join_next().await {
                results.push_back(result.map_err(|error| error == JoinError::Aborted));
            }
        })
        .unwrap();
    results.make_contiguous()[..2].sort_unstable();
    assert_eq!(results, [Err(false), Err(true), Ok(1), Ok(200), Ok(400)]);
    assert!(set.is_empty());
    let held = Dropped(Rc::clone(&dropped));
    set.spawn(async move {
        let _held = held;
        pending().await
    });
    drop(set);
    reactor.block_on(yield_now()).unwrap();
    reactor.block_on(yield_now()).unwrap();
    assert_eq!(dropped.get(), 1);
}

#[test]
fn no_result_tick_or_wait_is_lost_when_its_future_is_dropped() {
    const COUNT: usize = 6;
    for polls in 1..=3 {
        let reactor = reactor();
        let mut set = JoinSet::new(&reactor);
        for number in 0..COUNT {
            let handle = reactor.clone();
            set.spawn(async move {
                handle.sleep(ms(number as u64)).await;
                number
            });
        }
        let mut handle = reactor.spawn({
            let sleep = reactor.sleep(ms(3));
            async move {
                sleep.await;
                "told once"
            }
        });
        let (mut results, mut ticks, mut told) = (Vec::new(), Vec::new(), None);
        reactor
            .block_on(async {
                let begun = reactor.now();
                let mut interval = reactor.interval(ms(2));
                while results.len() < COUNT || ticks.len() < COUNT || told.is_none() {
                    if let Some(result) = poll_times(polls, set.join_next()).await {
                        results.extend(result.map(Result::unwrap));
                    }
                    if let Some(due) = poll_times(polls, interval.tick()).await {
                        ticks.push(due.duration_since(begun));
                    }
                    if told.is_none() {
                        told = poll_times(polls, &mut handle).await;
                    }
                    reactor.sleep(ms(1)).await;
                }
            })
            .unwrap();
        results.sort_unstable();
        assert!(results.into_iter().eq(0..COUNT));
        let first = ticks[0];
        let due = (0..).map(|number| first + ms(2) * number);
        assert!(
            ticks
                .iter()
                .copied()
                .zip(due)
                .all(|(tick, due)| tick == due)
        );
        assert_eq!(told, Some(Ok("told once")));
        assert!(set.is_empty());
    }
}

#[test]
fn a_timeout_drops_what_is_late_and_lets_pass_what_is_not() {
    let reactor = reactor();
    let dropped = Rc::new(Cell::new(0));
    let held = Dropped(Rc::clone(&dropped));
    let late = reactor.timeout(ms(2), async move {
        let _held = held;
        pending::<()>().await;
    });
    let error = reactor.block_on(late).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "not done within 2ms");
    assert_eq!(dropped.get(), 1);
    let kind = std::io::Error::from(error).kind();
    assert_eq!(kind, std::io::ErrorKind::TimedOut);
    let early = reactor.timeout(ms(1000), async { 3 });
    assert_eq!(reactor.block_on(early).unwrap(), Ok(3));
    assert_eq!(
        reactor.metrics().living.delayed_calls,
        0,
        "timers are cancelled"
    );
}

#[test]
fn ticks_that_were_missed_come_as_asked_for() {
    let reactor = reactor();
    for (missed, expected) in [
        (MissedTicks::Burst, [0, 10, 20, 30]),
        (MissedTicks::Delay, [0, 10, 35, 45]),
        (MissedTicks::Skip, [0, 10, 30, 40]),
    ] {
        let mut interval = reactor.interval(ms(10)).missed_ticks(missed);
        let handle = reactor.clone();
        let dues = reactor.block_on(async move {
            let first = interval.tick().await;
            let mut dues = vec![0];
            // Busy until 25 ms after the first tick, as far as the clock allows.
            let second = handle.sleep(ms(25));
            second.await;
            for _ in 0..3 {
                dues.push((interval.tick().await - first).as_millis());
            }
            dues
        });
        let dues = dues.unwrap();
        assert_eq!(
            dues[1], expected[1],
            "{missed:?}: the second is overdue at once"
        );
        match missed {
            MissedTicks::Burst => assert_eq!(dues, expected),
            MissedTicks::Skip => assert!(dues[2].is_multiple_of(10) && dues[2] >= 30, "{dues:?}"),
            _ => assert!(dues[2] >= 35 && dues[3] >= dues[2] + 10, "{dues:?}"),
        }
    }
}

#[test]
fn a_task_that_another_thread_starts_tells_that_thread_its_result() {
    let reactor = reactor();
    let (remote, owner) = (reactor.remote(), thread::current().id());
    let results = thread::spawn(move || {
        let stays = |reactor: &Reactor| {
            let (reactor, not_send) = (reactor.clone(), Rc::new(thread::current().id()));
            async move {
                reactor.sleep(ms(1)).await;
                *not_send
            }
        };
        let ran_on = block_on_thread(remote.spawn(stays));
        let panicked = remote.spawn(|_| async { panic!("a deliberate panic") });
        let panicked: Result<(), _> = block_on_thread(panicked);
        let made = remote.spawn(|_| -> std::future::Ready<()> { panic!("a deliberate panic too") });
        let made = block_on_thread(made);
        // Neither dropping the handle nor the end of this thread ends the task.
        drop(remote.spawn(|reactor| {
            reactor.stop();
            std::future::ready(())
        }));
        let endless = block_on_thread(remote.spawn(|_| pending::<()>()));
        let late = block_on_thread(remote.spawn(|_| pending::<()>()));
        (ran_on, panicked, made, endless, late)
    });
    run(&reactor);
    let (ran_on, panicked, made, endless, late) = results.join().unwrap();
    assert_eq!(ran_on, Ok(owner));
    let message = |text: &str| Err(JoinError::Panicked(text.to_owned()));
    assert_eq!(panicked, message("a deliberate panic"));
    assert_eq!(made, message("a deliberate panic too"));
    assert_eq!(
        (endless, late),
        (Err(JoinError::Aborted), Err(JoinError::Aborted))
    );
    assert_empty(&reactor.metrics());
}

/// Polls a future on this thread, which sleeps in between.
fn block_on_thread<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
