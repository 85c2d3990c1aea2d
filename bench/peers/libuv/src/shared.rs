//! The other side of `shared.h`.

use std::ffi::{CStr, c_char, c_int};
use std::sync::{LazyLock, Mutex, MutexGuard, mpsc};
use std::time::Instant;

use bench_common::child::{self, Answer, Count, Lines, Received};
use bench_common::threads::{self, Call};
use bench_common::timers::{self, Firings, Planned};

pub(crate) mod ffi {
    use super::{c_char, c_int};

    /// A socket, as `uv_os_sock_t`.
    #[cfg(unix)]
    pub(crate) type RawSocket = std::os::fd::RawFd;
    #[cfg(windows)]
    pub(crate) type RawSocket = std::os::windows::io::RawSocket;

    // SAFETY: these are as `shared.h` declares them.
    unsafe extern "C" {
        pub(crate) safe fn uv_side_serve(listener: RawSocket, role: c_int) -> c_int;
        pub(crate) safe fn uv_side_timers() -> c_int;
        pub(crate) safe fn uv_side_threads() -> c_int;
        pub(super) safe fn uv_side_wake();
        pub(super) safe fn uv_side_stop();
        pub(super) fn uv_side_spawn(at_a_time: usize, program: *const c_char) -> c_int;
        pub(super) fn uv_side_child_stdout(
            program: *const c_char,
            argument: *const c_char,
        ) -> c_int;
        pub(super) fn uv_side_children(
            program: *const c_char,
            argument: *const c_char,
            count: usize,
        ) -> c_int;
    }
}

pub(crate) fn spawn(at_a_time: usize, program: &CStr) -> c_int {
    // SAFETY: the text outlives the loop, which has ended when this returns.
    unsafe { ffi::uv_side_spawn(at_a_time, program.as_ptr()) }
}

pub(crate) fn child_stdout(program: &CStr, argument: &CStr) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::uv_side_child_stdout(program.as_ptr(), argument.as_ptr()) }
}

pub(crate) fn children(program: &CStr, argument: &CStr) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::uv_side_children(program.as_ptr(), argument.as_ptr(), child::ECHOERS) }
}

/// What one of the workloads keeps here; the C side has one thread, and calls on it alone.
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
static CALLS: Mutex<Option<mpsc::Receiver<Call>>> = Mutex::new(None);
static COUNT: LazyLock<Mutex<Count>> = LazyLock::new(Mutex::default);
static LINES: LazyLock<Mutex<Lines>> = LazyLock::new(Mutex::default);
static RECEIVED: LazyLock<Mutex<Received>> = LazyLock::new(Mutex::default);

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().expect("nobody panics in here")
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn plan_next(delay_us: &mut u64, number: &mut i64) -> c_int {
    let timers = &mut *locked(&TIMERS);
    let Some(planned) = timers.plan.next() else {
        return 0;
    };
    *delay_us = u64::try_from(planned.delay.as_micros()).expect("it is some seconds");
    *number = -1;
    if planned.kept {
        *number = i64::try_from(timers.due.len()).expect("there are not so many");
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
extern "C" fn threads_start() {
    let (sender, receiver) = mpsc::channel();
    *locked(&CALLS) = Some(receiver);
    let post = move |call| {
        sender.send(call).expect("the loop runs");
        ffi::uv_side_wake();
    };
    threads::start(post, || ffi::uv_side_stop());
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn threads_run_calls() {
    let calls = locked(&CALLS);
    for call in calls.iter().flat_map(mpsc::Receiver::try_iter) {
        call();
    }
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
    match locked(&LINES).received(child, bytes) {
        Answer::Await => 0,
        Answer::Send => 1,
        Answer::End | Answer::Over => 2,
    }
}
