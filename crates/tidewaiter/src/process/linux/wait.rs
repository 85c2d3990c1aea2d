//! Waits for children, and learns what they used.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::process::ExitStatus;
use crate::process::unix::{Ended, usage_of};

/// Returns how a child ended, or `None` if it still runs: by its pidfd if it has one, otherwise by its number. Reaps
/// it, unless the options contain `WNOWAIT`.
///
/// This is the system call itself: the C library's function does not report what the child used.
pub(super) fn wait(
    pidfd: Option<BorrowedFd<'_>>,
    pid: Pid,
    options: libc::c_int,
) -> Result<Option<Ended>, Errno> {
    let (kind, number) = match pidfd {
        Some(pidfd) => (libc::P_PIDFD, pidfd.as_raw_fd()),
        None => (libc::P_PID, pid.as_raw_nonzero().get()),
    };
    // Without `__WALL`, the kernel overlooks a child that has not yet run its program.
    let options = options | libc::WEXITED | libc::WNOHANG | libc::__WALL;
    let mut report = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both reports have the kernel's layout, and room for what it writes. The borrow keeps a pidfd open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            kind,
            number,
            report.as_mut_ptr(),
            options,
            usage.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(super::last_errno());
    }
    // SAFETY: all zero is valid, and so is what the kernel wrote.
    let report = unsafe { report.assume_init() };
    // SAFETY: as above.
    let usage = unsafe { usage.assume_init() };
    let usage = Some(usage_of(&usage));
    Ok(decode(&report).map(|status| Ended { status, usage }))
}

/// Returns how the process ended, or `None` if this is no end: nothing has happened yet, or the kernel reports the
/// stop of a traced child.
fn decode(report: &libc::siginfo_t) -> Option<ExitStatus> {
    // SAFETY: `waitid` fills this field in, and all zero is valid.
    let number = unsafe { report.si_status() };
    match report.si_code {
        libc::CLD_EXITED => Some(ExitStatus::Code(number.cast_unsigned())),
        code @ (libc::CLD_KILLED | libc::CLD_DUMPED) => Some(ExitStatus::Signal {
            number,
            core_dumped: code == libc::CLD_DUMPED,
        }),
        _ => None,
    }
}

/// Returns the most memory that this process has had in RAM so far, in bytes.
pub(super) fn own_peak() -> u64 {
    let mut report = MaybeUninit::<libc::rusage>::zeroed();
    // The thread's report tells the same peak, and is faster, as the kernel adds up no times for it.
    // SAFETY: `report` has room for the report.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, report.as_mut_ptr()) };
    // SAFETY: all zero is valid, and so is what the kernel wrote.
    let report = unsafe { report.assume_init() };
    usage_of(&report).peak_memory.unwrap_or(0)
}
