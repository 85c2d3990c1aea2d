//! Functions that not every C library or Python has: found by name when the program runs.

use std::ffi::{CStr, c_void};

/// The address of a function of this process, or null if it has none of this name.
#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "calls the C library's function that finds others"
)]
pub(super) fn address(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string, and `RTLD_DEFAULT` is a valid handle.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Finds nothing: this system asks for the name of a library, too.
#[cfg(not(unix))]
pub(super) fn address(_: &CStr) -> *mut c_void {
    std::ptr::null_mut()
}
