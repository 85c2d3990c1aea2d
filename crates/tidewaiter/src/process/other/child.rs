//! A child from `fork` to `execve`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::process::SpawnStep;
use crate::process::unix::{Descriptors, Image, Plan, Refusal, SignalsBlocked};

/// How long the report of a failure is.
const REPORT_BYTES: usize = 3 * size_of::<i32>();

/// Starts the program; returns once it runs.
pub(super) fn start(
    image: &Image,
    descriptors: &Descriptors,
    plan: &Plan<'_>,
) -> Result<Pid, (SpawnStep, io::Error)> {
    let pipes = |error| (SpawnStep::Pipes, error);
    let (reports, original) = io::pipe().map_err(pipes)?;
    // Where nothing of the child's is placed over it.
    let writer = descriptors
        .copy_aside(original.as_raw_fd())
        .map_err(pipes)?;
    drop(original);
    let pid = fork_child(plan, writer.as_raw_fd()).map_err(|error| (SpawnStep::Process, error))?;
    // The reports end when the child's own one is closed, too.
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
        // The pipe was closed by running the program.
        _ => Ok(pid),
    }
}

fn fork_child(plan: &Plan<'_>, report: RawFd) -> io::Result<Pid> {
    // No handler of ours may run in the child.
    let blocked = SignalsBlocked::now()?;
    // SAFETY: the child does nothing but system calls.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is such a child.
        let Refusal {
            step,
            detail,
            errno,
        } = unsafe { plan.carry_out() };
        let numbers = [step, detail, errno];
        // SAFETY: as many bytes are readable.
        unsafe { libc::write(report, numbers.as_ptr().cast(), REPORT_BYTES) };
        // SAFETY: ends this process, without running what the parent registered for its own end.
        unsafe { libc::_exit(127) };
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    Pid::from_raw(pid).ok_or(error)
}

/// Takes note of the end of a child that failed: it has ended or is about to, at once.
fn reap(pid: Pid) {
    let wait = || rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    if let Err(error) = rustix::io::retry_on_intr(wait) {
        log::warn!("process {pid:?}, which could not be started, cannot be reaped: {error}");
    }
}
