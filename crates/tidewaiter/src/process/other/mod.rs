//! Starting processes on a Unix other than Linux: by forking, with a thread per child that awaits its
//! end.

#![expect(unsafe_code, reason = "the OS's side of processes")]

pub(crate) mod calls;
mod child;

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::unix::{Descriptors, Image, Plan, decode, leads_group};
use super::{Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep};

/// A child process. Its descriptor is the reading end of a pipe that the waiting thread closes, and that
/// becomes readable thereby, once the process ended.
#[derive(Debug)]
pub(crate) struct OsProcess {
    ended: PipeReader,
    pid: Pid,
    own_group: bool,
    status: Arc<Mutex<Option<ExitStatus>>>,
}

/// Starts a process; when that fails, nothing is left behind.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |(step, source)| SpawnError {
        program: command.program.clone(),
        step,
        source,
    };
    let image = Image::of(command).map_err(|error| failed((SpawnStep::Arguments, error)))?;
    let descriptors = Descriptors::of(command).map_err(failed)?;
    let (ended, ends) = io::pipe().map_err(|error| failed((SpawnStep::Pipes, error)))?;
    let plan = Plan::new(command, &image, &descriptors)
        .map_err(|error| failed((SpawnStep::Arguments, error)))?;
    let pid = child::start(&image, &descriptors, &plan).map_err(failed)?;
    let process = OsProcess {
        ended,
        pid,
        own_group: leads_group(command),
        status: Arc::new(Mutex::new(None)),
    };
    if let Err(error) = process.await_end(ends) {
        // Nobody can watch it.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        note_end(pid, &process.status);
        return Err(failed((SpawnStep::Adopt, error)));
    }
    Ok(OsChild {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        process,
        pipes: descriptors.pipes,
    })
}

/// Awaits the end, and reaps under the lock: nobody signals a number that is somebody else's by then.
fn note_end(pid: Pid, status: &Mutex<Option<ExitStatus>>) {
    let wait = |options| {
        let wait = || rustix::process::waitid(WaitId::Pid(pid), options);
        rustix::io::retry_on_intr(wait)
    };
    // Whatever goes wrong here is found again by the wait below.
    let _ = wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let mut status = lock(status);
    *status = Some(match wait(WaitIdOptions::EXITED) {
        Ok(Some(ended)) => decode(&ended).unwrap_or(ExitStatus::Unknown),
        Ok(None) | Err(_) => ExitStatus::Unknown,
    });
}

/// No holder of these locks panics, and what they hold is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OsProcess {
    /// Starts the thread that awaits the end, and closes the pipe's other end then.
    fn await_end(&self, ends: PipeWriter) -> io::Result<()> {
        let (pid, status) = (self.pid, Arc::clone(&self.status));
        let number = pid.as_raw_nonzero();
        let thread = std::thread::Builder::new().name(format!("await {number}"));
        thread.spawn(move || {
            note_end(pid, &status);
            drop(ends);
        })?;
        Ok(())
    }

    /// How the process ended, if it did. Blocks for no longer than reaping it takes.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(*lock(&self.status))
    }

    /// Sends a signal. A tree outlives its root: it is signalled as long as anything is left of it.
    pub(crate) fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<()> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Number(number) => number,
        };
        // Held meanwhile: the process is not reaped between the look and the signal.
        let status = lock(&self.status);
        let ended = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let pid = self.pid.as_raw_nonzero().get();
        let receiver = match target {
            SignalTarget::Process if status.is_some() => return Err(ended()),
            SignalTarget::Process => pid,
            SignalTarget::Tree if !self.own_group => {
                let message =
                    "only a process that leads a group of its own has a tree that can be signalled";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            // The number stays the group's as long as the group has members; a process that has it
            // after ours was reaped is a stranger's.
            SignalTarget::Tree
                if status.is_some() && rustix::process::test_kill_process(self.pid).is_ok() =>
            {
                return Err(ended());
            }
            SignalTarget::Tree => -pid,
        };
        // SAFETY: sends a signal to other processes; no memory of ours is involved.
        if unsafe { libc::kill(receiver, number) } == 0 {
            return Ok(());
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
        self.ended.as_fd()
    }
}
