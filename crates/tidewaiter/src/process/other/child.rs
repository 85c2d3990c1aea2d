//! Starts a child, from `fork` to `execve`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::calls;
use crate::process::SpawnStep;
use crate::process::unix::{Descriptors, Image, Plan, Refusal, SignalsBlocked};

/// The length of the report of a failure.
const REPORT_BYTES: usize = 3 * size_of::<i32>();

/// Starts the program, and returns once it runs.
pub(super) fn start(
    image: &Image,
    descriptors: &Descriptors,
    plan: &Plan<'_>,
) -> Result<Pid, (SpawnStep, io::Error)> {
    let pipes = |error| (SpawnStep::Pipes, error);
    let (reports, original) = io::pipe().map_err(pipes)?;
    // At a number where none of the child's descriptors is placed over it.
    let writer = descriptors
        .copy_to_unused_number(original.as_raw_fd())
        .map_err(pipes)?;
    drop(original);
    let pid = fork_child(plan, writer.as_raw_fd()).map_err(|error| (SpawnStep::Process, error))?;
    // End of file must follow when the child closes its own copy.
    drop(writer);
    let mut report = Vec::with_capacity(REPORT_BYTES);
    let end = File::from(std::os::fd::OwnedFd::from(reports)).read_to_end(&mut report);
    let numbers = report.as_chunks::<{ size_of::<i32>() }>().0;
    match (end, numbers) {
        (Ok(_), &[step, detail, errno]) => {
            reap(pid);
            let [step, detail, errno] = [step, detail, errno].map(i32::from_ne_bytes);
            let refusal = Refusal {
                step,
                detail,
                errno,
            };
            Err(refusal.explain(image))
        }
        // Running the program closed the pipe.
        _ => Ok(pid),
    }
}

fn fork_child(plan: &Plan<'_>, report: RawFd) -> io::Result<Pid> {
    // None of our signal handlers may run in the child.
    let blocked = SignalsBlocked::now()?;
    // SAFETY: the child makes system calls only.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this process is such a child.
        let Refusal {
            step,
            detail,
            errno,
        } = unsafe { plan.carry_out(calls::reset_signals) };
        let numbers = [step, detail, errno];
        // SAFETY: `numbers` holds that many bytes.
        unsafe { libc::write(report, numbers.as_ptr().cast(), REPORT_BYTES) };
        // SAFETY: ends this process without running the parent's exit handlers.
        unsafe { libc::_exit(127) };
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    Pid::from_raw(pid).ok_or(error)
}

/// Reaps a child that failed. It has ended or is about to, so this takes a moment only.
fn reap(pid: Pid) {
    let wait = || rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    if let Err(error) = rustix::io::retry_on_intr(wait) {
        log::warn!("process {pid:?}, which could not be started, cannot be reaped: {error}");
    }
}
