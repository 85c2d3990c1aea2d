//! Starting processes on Linux: as cheap as `vfork`, watched through a pidfd.
//!
//! Needs Linux 5.4, for waiting on a pidfd.

#![expect(unsafe_code, reason = "the OS's side of processes")]

pub(crate) mod calls;
mod child;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::unix::{Descriptors, Image, Plan, decode};
use super::{Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep};

/// A child process, by its pidfd: the descriptor is readable once the process ended.
#[derive(Debug)]
pub(crate) struct OsProcess {
    pidfd: OwnedFd,
    pid: Pid,
    own_group: bool,
    status: Cell<Option<ExitStatus>>,
}

/// Starts a process; when that fails, nothing is left behind.
///
/// The cost does not depend on how much memory we have: none of it is copied.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |step| {
        move |source| SpawnError {
            program: command.program.clone(),
            step,
            source,
        }
    };
    let image = Image::of(command).map_err(failed(SpawnStep::Arguments))?;
    let descriptors = Descriptors::of(command).map_err(|(step, source)| failed(step)(source))?;
    let plan = Plan::new(command, &image, &descriptors).map_err(failed(SpawnStep::Arguments))?;
    let (pid, pidfd) =
        child::start(&image, &plan).map_err(|(step, source)| failed(step)(source))?;
    Ok(OsChild {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        process: OsProcess {
            pidfd,
            pid,
            own_group: command.own_group || command.terminal.is_some(),
            status: Cell::new(None),
        },
        pipes: descriptors.pipes,
    })
}

impl OsProcess {
    /// How the process ended, if it did. Never blocks.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.get().is_none() {
            self.status.set(reap(self.pidfd.as_fd())?);
        }
        Ok(self.status.get())
    }

    /// Sends a signal. A tree outlives its root: it is signalled as long as anything is left of it.
    pub(crate) fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<()> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Number(number) => number,
        };
        // Reaps it if it ended: what is left of it takes signals without any effect.
        let ended = self.try_wait()?.is_some();
        let result = match target {
            SignalTarget::Process if ended => Err(Errno::SRCH),
            SignalTarget::Process => send(self.pidfd.as_fd(), number, 0),
            SignalTarget::Tree if self.own_group => self.signal_group(number, ended),
            SignalTarget::Tree => return Err(no_group()),
        };
        match result {
            Err(Errno::SRCH) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            )),
            result => Ok(result?),
        }
    }

    fn signal_group(&self, number: i32, ended: bool) -> Result<(), Errno> {
        /// To the group whose number the process has or had; since Linux 6.9.
        const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
        match send(self.pidfd.as_fd(), number, PIDFD_SIGNAL_PROCESS_GROUP) {
            Err(Errno::INVAL) => {}
            result => return result,
        }
        // An older kernel, which knows the group by its number alone. The number stays the group's as
        // long as the group has members; a process that has it after ours was reaped is a stranger's.
        if ended && rustix::process::test_kill_process(self.pid) != Err(Errno::SRCH) {
            return Err(Errno::SRCH);
        }
        let group = -self.pid.as_raw_nonzero().get();
        // SAFETY: sends a signal to other processes; no memory of ours is involved.
        match unsafe { libc::kill(group, number) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }
}

impl AsFd for OsProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn no_group() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "only a process that leads a group of its own has a tree that can be signalled",
    )
}

/// Takes note of how the process ended, if it did.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    // Without __WALL the kernel overlooks a child that has not got as far as running its program.
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | all;
    let waited =
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(pidfd), options));
    match waited {
        Ok(status) => Ok(status.map(|status| decode(&status))),
        // Somebody else reaped it, or is about to.
        Err(Errno::CHILD) if has_ended(pidfd)? => Ok(Some(ExitStatus::Unknown)),
        Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut descriptors = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut descriptors, Some(&now)))?;
    Ok(ready > 0)
}

fn send(pidfd: BorrowedFd<'_>, number: i32, flags: libc::c_uint) -> Result<(), Errno> {
    let information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: `pidfd` is open for as long as it is borrowed; without information about the sender the
    // kernel reads no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            information,
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
