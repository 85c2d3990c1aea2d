//! Starts processes on a Unix other than Linux: forks, and awaits each child's end on a thread of its own.

#![expect(unsafe_code, reason = "the OS's side of processes")]

pub(crate) mod calls;
mod child;
mod parent;

use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::unix::{Descriptors, Ended, Image, Plan, leads_group, usage_of};
use super::{
    Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep, Unreached, Usage,
};

/// A child process. Its descriptor is the reading end of a pipe. The waiting thread closes the other end once
/// the process has ended, which makes the descriptor readable.
#[derive(Debug)]
pub(crate) struct OsProcess {
    pipe: PipeReader,
    pid: Pid,
    own_group: bool,
    /// Set once it was reaped.
    ended: Arc<Mutex<Option<Ended>>>,
}

/// What is known about the processes of the machine: nothing.
#[derive(Debug, Default)]
pub(crate) struct Survey {}

/// Starts a process. After an error, nothing is left behind.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |failure| command.failed(failure);
    let image = Image::of(command).map_err(|error| failed((SpawnStep::Arguments, error)))?;
    let descriptors = Descriptors::of(command).map_err(failed)?;
    let (pipe, ends) = io::pipe().map_err(|error| failed((SpawnStep::Pipes, error)))?;
    let plan = Plan::new(command, &image, &descriptors).map_err(failed)?;
    let pid = child::start(&image, &descriptors, &plan).map_err(failed)?;
    let process = OsProcess {
        pipe,
        pid,
        own_group: leads_group(command),
        ended: Arc::new(Mutex::new(None)),
    };
    if let Err(error) = process.await_end(ends) {
        // Nobody can watch it, so it must not go on.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        note_end(pid, &process.ended);
        return Err(failed((SpawnStep::Adopt, error)));
    }
    Ok(OsChild {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        process,
        pipes: descriptors.given(),
    })
}

/// Awaits the end, and reaps under the lock, so that no signal is sent to a number that another process has by
/// then.
fn note_end(pid: Pid, ended: &Mutex<Option<Ended>>) {
    // The wait below meets any error of this one.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), options));
    let mut ended = lock(ended);
    *ended = Some(reap(pid));
}

/// Reaps a child that has ended.
fn reap(pid: Pid) -> Ended {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    let number = pid.as_raw_nonzero().get();
    loop {
        // SAFETY: `status` and `usage` have room for what the kernel writes.
        let reaped = unsafe { libc::wait4(number, &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped == number {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Ended::UNSEEN;
        }
    }
    // SAFETY: all zero is valid, and so is what the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    Ended {
        status: decode(status),
        usage: Some(usage_of(&usage)),
    }
}

fn decode(status: libc::c_int) -> ExitStatus {
    let status = std::process::ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code.cast_unsigned()),
        (None, Some(number)) => ExitStatus::Signal {
            number,
            core_dumped: status.core_dumped(),
        },
        (None, None) => ExitStatus::Unknown,
    }
}

/// Locks despite poisoning: no holder of these locks panics, and the data is consistent at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OsProcess {
    /// Starts the thread that awaits the end and then closes the pipe's other end.
    fn await_end(&self, ends: PipeWriter) -> io::Result<()> {
        let (pid, ended) = (self.pid, Arc::clone(&self.ended));
        let number = pid.as_raw_nonzero();
        let thread = std::thread::Builder::new().name(format!("await {number}"));
        thread.spawn(move || {
            note_end(pid, &ended);
            drop(ends);
        })?;
        Ok(())
    }

    /// Returns how the process ended, or `None` if it still runs. May block for as long as the waiting thread
    /// takes to reap it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(lock(&self.ended).map(|ended| ended.status))
    }

    /// Returns what it used, once it was reaped, unless its status is unknown.
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        Ok(lock(&self.ended).and_then(|ended| ended.usage))
    }

    /// Sends a signal. A tree outlives its root: the signal reaches it as long as any member is left.
    pub(crate) fn signal(
        &self,
        signal: Signal,
        target: SignalTarget,
        _survey: &mut Survey,
    ) -> io::Result<Unreached> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Number(number) => number,
        };
        // Holding the lock keeps the process from being reaped between this check and the signal.
        let reaped = lock(&self.ended);
        let ended = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let pid = self.pid.as_raw_nonzero().get();
        let receiver = match target {
            SignalTarget::Process if reaped.is_some() => return Err(ended()),
            SignalTarget::Process => pid,
            SignalTarget::Tree if !self.own_group => {
                let message =
                    "only a process that leads a group of its own has a tree that can be signalled";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            // The number belongs to the group as long as the group has members. If a process has that number
            // although ours was reaped, it is unrelated.
            SignalTarget::Tree
                if reaped.is_some() && rustix::process::test_kill_process(self.pid).is_ok() =>
            {
                return Err(ended());
            }
            SignalTarget::Tree => -pid,
        };
        // SAFETY: the call sends a signal to other processes and touches no memory of ours.
        if unsafe { libc::kill(receiver, number) } == 0 {
            return Ok(Unreached {
                processes: Vec::new(),
                // Processes that left the group.
                may_be_more: target == SignalTarget::Tree,
            });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) {
            return Err(ended());
        }
        Err(error)
    }
}

impl AsFd for OsProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
