//! Paths of delayed calls, and of calls from another thread.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tidewaiter::port::PortKind;
use tidewaiter::port::sim::Sim;
use tidewaiter::{Error as Refused, Reactor};

use crate::walk::Walk;

/// Number of delayed calls in a round.
pub(crate) const TIMERS: u32 = 10_000;
/// Number of delayed calls that are cancelled, as most timeouts are.
pub(crate) const CANCELLED: u32 = TIMERS / 10 * 9;
/// Number of calls in a chain, in which each schedules the next without delay.
pub(crate) const LINKS: u32 = 1000;
/// Number of calls that another thread sends in a round.
pub(crate) const REMOTE_CALLS: u32 = 1000;

/// All delayed calls are due within this time.
const SPAN_MS: u32 = 30_000;

/// The phase of delayed calls that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Arm,
    Cancel,
    Fire,
}

/// Schedules, cancels and makes delayed calls. The clock is simulated, so that their order is always the same; their
/// cost does not depend on the port.
pub(crate) fn timers(counted: Phase) -> Result<Walk, Box<dyn Error>> {
    let sim = Sim::new(0);
    let reactor = Reactor::builder().simulation(&sim).build()?;
    let fired = Rc::new(Cell::new(0_u32));
    let mut calls = Vec::new();
    let mut chance = 1_u32;
    Ok(Box::new(move |meter| {
        let delays: Vec<Duration> = (0..TIMERS).map(|_| next_delay(&mut chance)).collect();
        calls.reserve(delays.len());
        meter.only(counted == Phase::Arm).count(|| {
            for delay in delays {
                let fired = Rc::clone(&fired);
                calls.push(reactor.call_later(delay, move |_| fired.set(fired.get() + 1)));
            }
        });
        meter.only(counted == Phase::Cancel).count(|| {
            for call in calls.drain(..CANCELLED as usize) {
                call.cancel();
            }
        });
        calls.clear();
        sim.advance(Duration::from_millis(SPAN_MS.into()));
        meter
            .only(counted == Phase::Fire)
            .turn_until(&reactor, |metrics| metrics.living.delayed_calls == 0)?;
        let expected = TIMERS - CANCELLED;
        match fired.replace(0) {
            count if count == expected => Ok(()),
            count => Err(format!("{count} calls were made instead of {expected}").into()),
        }
    }))
}

/// The next delay of a pseudorandom sequence that is always the same.
fn next_delay(chance: &mut u32) -> Duration {
    *chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    // The upper bits of this generator are more random than the lower ones.
    Duration::from_millis(((*chance >> 8) % SPAN_MS).into())
}

/// Runs a chain of delayed calls, in which each schedules the next without delay.
pub(crate) fn chain(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    fn link(reactor: &Reactor, left: u32) {
        if left > 0 {
            reactor.call_later(Duration::ZERO, move |reactor| link(reactor, left - 1));
        }
    }
    let reactor = Reactor::builder().port(kind).signals(false).build()?;
    Ok(Box::new(move |meter| {
        link(&reactor, LINKS);
        // Do not block in `iterate`: after the last call there is nothing to wait for.
        while reactor.metrics().living.delayed_calls > 0 {
            meter.count(|| reactor.iterate(Duration::ZERO))?;
        }
        Ok(())
    }))
}

/// Sends calls from another thread; after that thread has ended, the loop makes them.
pub(crate) fn thread_calls(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let reactor = Reactor::builder().port(kind).signals(false).build()?;
    let made = Arc::new(AtomicU32::new(0));
    let mut expected = 0;
    Ok(Box::new(move |meter| {
        let (remote, made) = (reactor.remote(), Arc::clone(&made));
        let sender = thread::spawn(move || {
            meter.count(|| {
                for _ in 0..REMOTE_CALLS {
                    let made = Arc::clone(&made);
                    remote.call(move |_| {
                        made.fetch_add(1, Ordering::Relaxed);
                    })?;
                }
                Ok::<(), Refused>(())
            })
        });
        sender.join().expect("the thread does not panic")?;
        expected += u64::from(REMOTE_CALLS);
        meter.turn_until(&reactor, |metrics| metrics.remote_calls == expected)
    }))
}
