//! Implements `bench.h`. The state here is global, because each program has only one loop, in C or C++.

use std::ffi::{c_char, c_int};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Instant;

use bench_common::child::{self, Count, Lines, Received};
use bench_common::timers::{self, Firings, Planned};

struct Timers {
    plan: Box<dyn Iterator<Item = Planned> + Send>,
    due: Vec<Instant>,
    firings: Firings,
}

static TIMERS: LazyLock<Mutex<Timers>> = LazyLock::new(|| {
    Mutex::new(Timers {
        plan: Box::new(timers::plan()),
        due: Vec::new(),
        firings: Firings::default(),
    })
});
static COUNT: LazyLock<Mutex<Count>> = LazyLock::new(Mutex::default);
static LINES: LazyLock<Mutex<Lines>> = LazyLock::new(Mutex::default);
static RECEIVED: LazyLock<Mutex<Received>> = LazyLock::new(Mutex::default);

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().expect("no holder of the lock panics")
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn plan_next(delay_us: &mut u64, number: &mut i64) -> c_int {
    let timers = &mut *locked(&TIMERS);
    let Some(planned) = timers.plan.next() else {
        return 0;
    };
    *delay_us = u64::try_from(planned.delay.as_micros()).expect("it is a few seconds");
    *number = -1;
    if planned.kept {
        *number = i64::try_from(timers.due.len()).expect("a length fits");
        timers.due.push(Instant::now() + planned.delay);
    }
    1
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn plan_armed() {
    locked(&TIMERS).firings.armed();
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn plan_cancelled() {
    locked(&TIMERS).firings.cancelled();
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn plan_fired(number: i64) -> c_int {
    let timers = locked(&TIMERS);
    let number = usize::try_from(number).expect("we numbered it");
    c_int::from(timers.firings.fired(timers.due[number]))
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn child_next() -> c_int {
    c_int::from(locked(&COUNT).takes_another())
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn child_reaped() {
    locked(&COUNT).reaped();
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn output_received(bytes: usize) {
    locked(&RECEIVED).add(bytes);
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn output_ended() {
    locked(&RECEIVED).end();
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn lines_begin(child: usize, length: &mut usize) -> *const c_char {
    locked(&LINES).begin(child);
    *length = child::LINE.len();
    child::LINE.as_ptr().cast()
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn lines_received(child: usize, bytes: usize) -> c_int {
    c_int::from(locked(&LINES).received(child, bytes))
}
