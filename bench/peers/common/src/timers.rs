//! The workload with a million timers. Most are cancelled, like timeouts; the rest fire.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::tell;
use crate::watch::{Watch, quantile_us};

const TIMERS: u32 = 1_000_000;
/// One of this many timers is not cancelled.
const KEPT_ONE_OF: u32 = 10;
/// Delay of the first timer, long enough to arm all of them before.
const FIRST: Duration = Duration::from_secs(6);
/// Range of the delays, in which one timer fires about every 10 µs.
const SPREAD_US: u64 = 1_000_000;

/// One timer of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub delay: Duration,
    /// The timer will fire. The others are cancelled when all are armed.
    pub kept: bool,
}

/// The timers in the order in which to arm them. Delays are pseudorandom, and the same for all peers.
pub fn plan() -> impl Iterator<Item = Planned> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    (0..TIMERS).map(move |at| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Planned {
            delay: FIRST + Duration::from_micros(random % SPREAD_US),
            kept: at % KEPT_ONE_OF == 0,
        }
    })
}

/// Measures the costs of the phases, and how late the timers fire.
#[derive(Debug)]
pub struct Firings {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Watch,
    arm_ns: f64,
    cancel_ns: f64,
    early: u32,
    late: Vec<Duration>,
}

impl Default for Firings {
    /// Begins to measure the arming.
    fn default() -> Firings {
        let kept = usize::try_from(TIMERS / KEPT_ONE_OF).expect("they fit into memory");
        Firings {
            state: Mutex::new(State {
                late: Vec::with_capacity(kept),
                arm_ns: 0.0,
                cancel_ns: 0.0,
                early: 0,
                phase: Watch::new(),
            }),
        }
    }
}

impl Firings {
    /// Ends the phase of arming, and begins that of cancelling.
    pub fn armed(&self) {
        self.with(|state| {
            state.arm_ns = state.phase.cpu_us() * 1000.0 / f64::from(TIMERS);
            state.phase = Watch::new();
        });
    }

    /// Ends the phase of cancelling, and begins that of firing.
    pub fn cancelled(&self) {
        self.with(|state| {
            let cancelled = TIMERS - TIMERS / KEPT_ONE_OF;
            state.cancel_ns = state.phase.cpu_us() * 1000.0 / f64::from(cancelled);
            // A profile covers only the firing. `cargo xtask paths` counts the instructions of the other two phases.
            tell::begin();
            state.phase = Watch::new();
        });
    }

    /// Notes that a timer has fired that was due at `due`. Returns whether it was the last one; then it also reports
    /// the result.
    pub fn fired(&self, due: Instant) -> bool {
        let now = Instant::now();
        self.with(|state| {
            state.early += u32::from(now < due);
            state.late.push(now.saturating_duration_since(due));
            let last = state.late.len() == state.late.capacity();
            if last {
                state.tell();
            }
            last
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no holder of the lock panics"))
    }
}

impl State {
    fn tell(&mut self) {
        let count = self.late.len() as f64;
        tell::result(&[
            ("value", self.phase.cpu_us() * 1000.0 / count),
            ("arm_ns", self.arm_ns),
            ("cancel_ns", self.cancel_ns),
            ("early", f64::from(self.early)),
            ("late_p50_us", quantile_us(&mut self.late, 0.5)),
            ("late_p99_us", quantile_us(&mut self.late, 0.99)),
        ]);
    }
}

/// Arms a timer that is a future, by polling it once. Nothing is woken when it fires.
pub fn arm<F: Future>(timer: F) -> Pin<Box<F>> {
    let mut timer = Box::pin(timer);
    let early = timer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(early.is_pending(), "a timer does not fire early");
    timer
}
