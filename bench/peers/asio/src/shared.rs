//! The Rust side of `shared.hpp`.

use std::ffi::{CStr, c_char, c_int, c_void};

use bench_common::child;
use bench_common::threads::{self, Call};
// This crate defines the other functions that the C++ side calls.
use bench_native as _;

pub(crate) mod ffi {
    use super::{c_char, c_int, c_void};

    // SAFETY: these are as `shared.hpp` declares them.
    unsafe extern "C" {
        pub(crate) safe fn asio_side_serve(listener: c_int, role: c_int);
        pub(crate) safe fn asio_side_timers();
        pub(crate) safe fn asio_side_threads();
        pub(super) fn asio_side_post(call: *mut c_void);
        pub(super) safe fn asio_side_stop();
        pub(super) fn asio_side_spawn(at_a_time: usize, program: *const c_char);
        pub(super) fn asio_side_child_stdout(program: *const c_char, argument: *const c_char);
        pub(super) fn asio_side_children(
            program: *const c_char,
            argument: *const c_char,
            count: usize,
        );
    }
}

pub(crate) fn spawn(at_a_time: usize, program: &CStr) {
    // SAFETY: the text outlives the loop, which has ended when this returns.
    unsafe { ffi::asio_side_spawn(at_a_time, program.as_ptr()) }
}

pub(crate) fn child_stdout(program: &CStr, argument: &CStr) {
    // SAFETY: as above.
    unsafe { ffi::asio_side_child_stdout(program.as_ptr(), argument.as_ptr()) }
}

pub(crate) fn children(program: &CStr, argument: &CStr) {
    // SAFETY: as above.
    unsafe { ffi::asio_side_children(program.as_ptr(), argument.as_ptr(), child::echoers()) }
}

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn threads_start() {
    let post = |call: Call| {
        let call = Box::into_raw(Box::new(call));
        // SAFETY: the loop passes the pointer back to `call_run`, once.
        unsafe { ffi::asio_side_post(call.cast()) }
    };
    threads::start(post, || ffi::asio_side_stop());
}

/// # Safety
///
/// `call` is a pointer that `asio_side_post` received, and this runs once for it.
// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn call_run(call: *mut c_void) {
    // SAFETY: `threads_start` posted it, and the loop runs it once.
    let call = unsafe { Box::from_raw(call.cast::<Call>()) };
    call();
}
