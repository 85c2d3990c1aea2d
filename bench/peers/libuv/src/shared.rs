//! The Rust side of `shared.h`.

use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, MutexGuard, mpsc};

use bench_common::child;
use bench_common::threads::{self, Call};
// This crate defines the other functions that the C side calls.
use bench_native as _;

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
    unsafe { ffi::uv_side_children(program.as_ptr(), argument.as_ptr(), child::echoers()) }
}

static CALLS: Mutex<Option<mpsc::Receiver<Call>>> = Mutex::new(None);

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().expect("no holder of the lock panics")
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
