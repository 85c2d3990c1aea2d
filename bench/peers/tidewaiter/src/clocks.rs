//! Timers, and calls from another thread.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bench_common::threads::{self, Post};
use bench_common::timers::{self, Firings};
use tidewaiter::{Reactor, Remote};

pub(crate) fn timers(reactor: &Reactor) {
    reactor.call_when_running(|reactor| {
        let firings = Rc::new(Firings::default());
        let mut cancelled = Vec::new();
        for timer in timers::plan() {
            if timer.kept {
                let due = Instant::now() + timer.delay;
                let firings = Rc::clone(&firings);
                reactor.call_later(timer.delay, move |reactor| {
                    if firings.fired(due) {
                        reactor.stop();
                    }
                });
            } else {
                cancelled.push(reactor.call_later(timer.delay, |_| {}));
            }
        }
        firings.armed();
        for call in cancelled {
            call.cancel();
        }
        firings.cancelled();
    });
}

pub(crate) fn threads(reactor: &Reactor) {
    let remote = reactor.remote();
    let stopper = reactor.remote();
    // The loop must run before the first call arrives.
    reactor.call_later(Duration::from_millis(10), move |_| {
        threads::start(Calls(remote), move || {
            stopper.stop().expect("the loop runs");
        });
    });
}

struct Calls(Remote);

impl Post for Calls {
    fn post(&mut self, call: impl FnOnce() + Send + 'static) {
        self.0.call(|_| call()).expect("the loop runs");
    }
}
