//! What tests need of the system that Rust's library does not have.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "calls to the system")]

use std::io;

use rustix::process::{Pid, getpid};

/// Sends a signal to one thread of this process.
pub(crate) fn signal_thread(thread: Pid, signal: i32) -> io::Result<()> {
    let (process, thread) = (getpid().as_raw_nonzero(), thread.as_raw_nonzero());
    // SAFETY: three numbers are passed, and nothing is read or written.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
