//! The Rust side of `shared.h`.

use std::ffi::{CStr, c_char, c_int};
use std::sync::{LazyLock, Mutex, MutexGuard, mpsc};

use bench_common::pipes::{self, Echoes};
use bench_common::threads::{self, Call};
use bench_common::{child, net};
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
        pub(super) fn uv_side_serve_unix(path: *const c_char, role: c_int) -> c_int;
        pub(super) fn uv_side_udp_echo(sockets: *const RawSocket, count: usize) -> c_int;
        pub(super) fn uv_side_pipe_echo(name: *const c_char) -> c_int;
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

pub(crate) fn serve_unix(path: &CStr, role: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::uv_side_serve_unix(path.as_ptr(), role) }
}

pub(crate) fn udp_echo(sockets: &[ffi::RawSocket]) -> c_int {
    // SAFETY: there are as many sockets, which libuv owns from now on.
    unsafe { ffi::uv_side_udp_echo(sockets.as_ptr(), sockets.len()) }
}

pub(crate) fn pipe_echo(name: &CStr) -> c_int {
    // SAFETY: the text outlives the loop, which has ended when this returns.
    unsafe { ffi::uv_side_pipe_echo(name.as_ptr()) }
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn listening() {
    net::tell_unix();
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn pipe_exists() {
    pipes::start_clients();
}

static ECHOES: LazyLock<Mutex<Echoes>> = LazyLock::new(Mutex::default);

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn echoed(bytes: usize) {
    locked(&ECHOES).add(bytes);
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
