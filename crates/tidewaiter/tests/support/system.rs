//! Calls to the OS that the standard library does not have.

#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "not every suite needs all")]
#![expect(unsafe_code, reason = "calls to the system")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// Sends a signal to one thread of this process.
pub(crate) fn signal_thread(thread: Pid, signal: i32) -> io::Result<()> {
    let (process, thread) = (getpid().as_raw_nonzero(), thread.as_raw_nonzero());
    // SAFETY: the call gets three numbers, and accesses no memory.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Blocks all signals on this thread until it ends: signals that other tests send to the process must go to
/// other threads.
pub(crate) fn without_signals() {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is ours, and `sigfillset` only writes to it.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled, and the previous one is not needed.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
    assert_eq!(failed, 0, "all signals can be asked to be blocked");
}

/// Restores the default action of the signals that ask a program to end. The tests may run as a shell's
/// background job, which ignores some of them.
pub(crate) fn default_signals() {
    for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the call installs no handler, but one of the OS's own actions.
        let before = unsafe { libc::signal(number, libc::SIG_DFL) };
        assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
    }
}

/// Forks. The child calls `work`, and exits with 0, or with 1 if that panics.
///
/// The child has only the calling thread, so no other thread may be in the middle of anything.
pub(crate) fn fork(work: impl FnOnce()) -> Pid {
    // SAFETY: the test is alone in this process, so no other thread holds a lock.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if let Some(child) = Pid::from_raw(child) {
        return child;
    }
    let result = catch_unwind(AssertUnwindSafe(work));
    // SAFETY: ends the process without running the parent's exit handlers.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Waits for a child, which must exit with 0.
#[track_caller]
pub(crate) fn join(child: Pid) {
    let ended = waitpid(Some(child), WaitOptions::empty()).expect("it is our child");
    let (_, status) = ended.expect("it has ended");
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

/// Has the kernel discard the statuses of children, as a program may.
pub(crate) fn ignore_sigchld() {
    // SAFETY: the call installs no handler, but one of the OS's own actions.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
}

/// Gives this process, which must have one thread, a network of its own.
pub(crate) fn own_network() -> io::Result<()> {
    // SAFETY: the call gets a number, and accesses no memory.
    let unshare = |what| match unsafe { libc::unshare(what) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // A user without rights has them in a namespace of users.
    unshare(libc::CLONE_NEWNET).or_else(|_| unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))
}

/// A process that debugs a child of ours. It ends when the child does, and holds it still until told otherwise.
pub(crate) struct Debugger {
    go: io::PipeWriter,
}

impl Debugger {
    /// Stops the child. `None` if the system does not let us.
    pub(crate) fn attach(child: Pid) -> Option<Debugger> {
        let (mut told, go) = io::pipe().expect("a pipe");
        let (mut attached, tell) = io::pipe().expect("a pipe");
        let number = child.as_raw_nonzero().get();
        // SAFETY: the calls get numbers, and access no memory here.
        let trace = move |request| unsafe { libc::ptrace(request, number, 0, 0) };
        // Its exit is of no interest, and the kernel reaps it with us.
        fork(move || {
            use std::io::{Read, Write};
            assert_eq!(trace(libc::PTRACE_SEIZE), 0);
            assert_eq!(trace(libc::PTRACE_INTERRUPT), 0);
            waitpid(Some(child), WaitOptions::UNTRACED).expect("it stops");
            (&tell).write_all(b"!").expect("we are awaited");
            told.read_exact(&mut [0]).expect("we are told");
            assert_eq!(trace(libc::PTRACE_CONT), 0);
            waitpid(Some(child), WaitOptions::empty()).expect("it ends");
        });
        let mut byte = [0];
        let count = io::Read::read(&mut attached, &mut byte).expect("a pipe");
        (count == 1).then_some(Debugger { go })
    }

    /// Lets the child run.
    pub(crate) fn let_go_on(mut self) {
        io::Write::write_all(&mut self.go, b"!").expect("it waits");
    }
}

/// Holds back the end of a child: once killed, it ends only when this is dropped.
pub(crate) struct Held(Pid);

impl Held {
    pub(crate) fn hold(child: Pid) -> io::Result<Held> {
        let (no_address, options) = (0, libc::PTRACE_O_TRACEEXIT);
        // SAFETY: the call gets numbers, and accesses no memory here.
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
            // SAFETY: the call gets numbers, and accesses no memory here.
            let let_go = unsafe {
                let child = self.0.as_raw_nonzero().get();
                libc::ptrace(libc::PTRACE_DETACH, child, 0, 0)
            };
            if let_go == 0 {
                return;
            }
            // The child was killed and is about to end, so other code may have seen the end before us.
            assert!(
                begun.elapsed().as_secs() < 10,
                "{}",
                io::Error::last_os_error()
            );
            std::thread::yield_now();
        }
    }
}
