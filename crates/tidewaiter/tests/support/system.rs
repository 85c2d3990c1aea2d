//! What tests need of the system that Rust's library does not have.

#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "not every suite needs all")]
#![expect(unsafe_code, reason = "calls to the system")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

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

/// Blocks all signals to this thread, until it ends: those that other tests send to the process are for others.
pub(crate) fn without_signals() {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is ours, and `sigfillset` only writes to it.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled, and nobody wants the one that it replaces.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
    assert_eq!(failed, 0, "all signals can be asked to be blocked");
}

/// Has the signals that ask a program to end do so: a shell's background job, as the tests may be, ignores some.
pub(crate) fn default_signals() {
    for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: no handler is given, but one of the system's own actions.
        let before = unsafe { libc::signal(number, libc::SIG_DFL) };
        assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
    }
}

/// Forks; the child does `work`, and ends with 0, or 1 if that panics.
///
/// Of this process's threads only the one that calls is in the child, so nothing else may go on here.
pub(crate) fn fork(work: impl FnOnce()) -> Pid {
    // SAFETY: the process is one in which a test is alone, so no other thread holds a lock just now.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if let Some(child) = Pid::from_raw(child) {
        return child;
    }
    let result = catch_unwind(AssertUnwindSafe(work));
    // SAFETY: ends the process, and with it everything, without running what the original is to run.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Awaits that a child ends well.
#[track_caller]
pub(crate) fn join(child: Pid) {
    let ended = waitpid(Some(child), WaitOptions::empty()).expect("it is our child");
    let (_, status) = ended.expect("it has ended");
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

/// Holds a child where it ends: once killed, it ends when this is dropped, and not before.
pub(crate) struct Held(Pid);

impl Held {
    pub(crate) fn hold(child: Pid) -> io::Result<Held> {
        let (no_address, options) = (0, libc::PTRACE_O_TRACEEXIT);
        // SAFETY: numbers are passed, and nothing is read or written here.
        let traced = unsafe {
            let child = child.as_raw_nonzero().get();
            libc::ptrace(libc::PTRACE_SEIZE, child, no_address, options)
        };
        match traced {
            0 => Ok(Held(child)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        loop {
            // SAFETY: numbers are passed, and nothing is read or written here.
            let let_go = unsafe {
                let child = self.0.as_raw_nonzero().get();
                libc::ptrace(libc::PTRACE_DETACH, child, 0, 0)
            };
            if let_go == 0 {
                return;
            }
            // It was killed, and comes to its end in a moment: others may have seen that instead of us.
            assert!(
                begun.elapsed().as_secs() < 10,
                "{}",
                io::Error::last_os_error()
            );
            std::thread::yield_now();
        }
    }
}
