//! Starts processes on Linux, as cheaply as `vfork`, and watches them through pidfds.
//!
//! Needs Linux 5.4, which introduced waiting on a pidfd.

#![expect(unsafe_code, reason = "the OS's side of processes")]

pub(crate) mod calls;
mod child;
mod clone;
#[cfg(target_arch = "x86_64")]
mod no_handlers;
mod orders;
mod starter;
mod tree;
mod wait;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::child::Started;
use self::orders::Memory;
pub(crate) use self::tree::Survey;
use self::tree::{Cgroup, Entry};
use self::wait::{own_peak, wait};
use super::unix::{Descriptors, Ended, Image, Plan, leads_group};
use super::{
    Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep, Unreached, Usage,
};

/// A child process, referred to by its pidfd or by its number.
///
/// The number stays the child's until we reap it. We reap it when we see its end, neither earlier nor later. A
/// process that leads a group always has a pidfd, because its group may outlive it: the number alone could then
/// refer to the group of an unrelated process. Without a pidfd, the kernel makes no file, inode and directory
/// entry, which saves a sixth of the cost of a child.
#[derive(Debug)]
pub(crate) struct OsProcess {
    /// Readable once the process ended.
    pidfd: Option<OwnedFd>,
    pid: Pid,
    own_group: bool,
    /// Boxed: few children have one.
    cgroup: Option<Box<Cgroup>>,
    /// Set once it was reaped.
    ended: Cell<Option<Ended>>,
    /// A moment, by the clock since boot, at which it was not reaped yet.
    alive: Cell<Duration>,
}

/// How the end of a process is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// By its pidfd.
    Descriptor,
    /// By its number, which it keeps until it is reaped.
    Number(u32),
    /// Not at all: it is known to have ended.
    None,
}

/// Starts a process that has a pidfd. After an error, nothing is left behind.
///
/// The cost does not depend on how much memory we have: none of it is copied.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    start(command, true)
}

/// As [`spawn`], but a process that leads no group has no pidfd: its end is awaited by its number, without
/// reaping it.
pub(crate) fn spawn_by_number(command: &Command) -> Result<OsChild, SpawnError> {
    start(command, leads_group(command))
}

fn start(command: &Command, by_pidfd: bool) -> Result<OsChild, SpawnError> {
    let failed = |step| move |source| command.failed((step, source));
    let image = Image::of(command).map_err(failed(SpawnStep::Arguments))?;
    let descriptors = Descriptors::of(command).map_err(|(step, source)| failed(step)(source))?;
    let plan =
        Plan::new(command, &image, &descriptors).map_err(|(step, source)| failed(step)(source))?;
    let entry = match command.tree.own_cgroup {
        true => own_cgroup(),
        false => None,
    };
    let memory = match (&command.user, &entry) {
        (None, None) => Memory::Shared,
        _ => Memory::Copied,
    };
    let begin = || child::start(&image, &plan, by_pidfd, memory, entry.as_ref());
    let started = match command.tree.die_with_parent {
        false => begin(),
        // SAFETY: starting a child uses what it is given, and returns a number and a descriptor.
        true => unsafe { starter::run(begin) }.map_err(failed(SpawnStep::DieWithParent))?,
    };
    let Started {
        pid,
        pidfd,
        entered,
    } = started.map_err(|(step, source)| failed(step)(source))?;
    let cgroup = entry.filter(|_| entered);
    let cgroup = cgroup.map(|entry| Box::new(entry.into_cgroup()));
    Ok(OsChild {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        process: OsProcess {
            pidfd,
            pid,
            own_group: leads_group(command),
            cgroup,
            ended: Cell::new(None),
            alive: Cell::default(),
        },
        pipes: descriptors.given(),
    })
}

/// Makes a cgroup for a child, where we may.
fn own_cgroup() -> Option<Entry> {
    match Entry::new() {
        Ok(entry) => Some(entry),
        Err(error) => {
            log::debug!("process: a child has no cgroup of its own: {error}");
            None
        }
    }
}

impl OsProcess {
    /// Returns how to await its end.
    pub(crate) fn mark(&self) -> Mark {
        match (&self.pidfd, self.ended.get()) {
            (Some(_), _) => Mark::Descriptor,
            (None, None) => Mark::Number(self.pid.as_raw_nonzero().get().unsigned_abs()),
            // The number may belong to another process by now.
            (None, Some(_)) => Mark::None,
        }
    }

    pub(crate) fn is_by_number(&self) -> bool {
        self.pidfd.is_none()
    }

    /// Opens a pidfd for a process that has none, if the number is still the process's own.
    pub(crate) fn name_by_descriptor(&mut self) -> io::Result<()> {
        if self.pidfd.is_some() || self.ended.get().is_some() {
            return Ok(());
        }
        let pidfd = match pidfd_open(self.pid, PidfdFlags::empty()) {
            Ok(pidfd) => child::above_standard_streams(pidfd),
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // If other code has reaped the child, the number may belong to an unrelated process.
        let ended = self.wait(libc::WNOWAIT)?;
        if ended.is_none_or(|ended| ended.status != ExitStatus::Unknown) {
            self.pidfd = Some(pidfd);
        }
        Ok(())
    }

    /// Returns how the process ended, or `None` if it still runs. Reaps it. Never blocks.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        if self.ended.get().is_none() {
            if self.own_group {
                self.alive.set(tree::since_boot());
            }
            self.ended.set(self.wait(0)?);
        }
        Ok(self.ended.get().map(|ended| ended.status))
    }

    /// Returns what it used, once it was reaped, unless its status is unknown.
    #[expect(clippy::unnecessary_wraps, reason = "on Windows, the OS may refuse")]
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        let usage = self.ended.get().and_then(|ended| ended.usage);
        Ok(usage.map(|usage| Usage {
            // The kernel counts our own memory as the child's, until it ran its program. Our peak at that moment is not
            // asked for, because that would cost each child a hundredth more; it was no higher than now.
            peak_memory: usage.peak_memory.filter(|peak| *peak > own_peak()),
            ..usage
        }))
    }

    /// Whether it has ended. Does not reap it.
    fn has_ended(&self) -> io::Result<bool> {
        Ok(self.ended.get().is_some() || self.wait(libc::WNOWAIT)?.is_some())
    }

    /// Returns how it ended, or `None` if it still runs.
    fn wait(&self, options: libc::c_int) -> io::Result<Option<Ended>> {
        let pidfd = self.pidfd.as_ref().map(AsFd::as_fd);
        match rustix::io::retry_on_intr(|| wait(pidfd, self.pid, options)) {
            // Other code reaped it, or is about to.
            Err(Errno::CHILD) => match &self.pidfd {
                Some(pidfd) if !is_readable(pidfd)? => Ok(None),
                _ => Ok(Some(Ended::UNSEEN)),
            },
            ended => Ok(ended?),
        }
    }

    /// Sends a signal. A tree outlives its root: the signal reaches it as long as any member is left.
    pub(crate) fn signal(
        &self,
        signal: Signal,
        target: SignalTarget,
        survey: &mut Survey,
    ) -> io::Result<Unreached> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Number(number) => number,
        };
        let result = match target {
            SignalTarget::Process if self.has_ended()? => Err(Errno::SRCH.into()),
            SignalTarget::Process => match self.signal_itself(number) {
                Ok(()) => Ok(Unreached::default()),
                Err(error) => Err(error.into()),
            },
            SignalTarget::Tree => self.signal_tree(number, survey),
        };
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            )),
            result => result,
        }
    }

    fn signal_itself(&self, number: i32) -> Result<(), Errno> {
        match &self.pidfd {
            Some(pidfd) => send(pidfd.as_fd(), number, 0),
            None => kill(self.pid.as_raw_nonzero().get(), number),
        }
    }

    fn signal_group(&self, number: i32, ended: bool) -> Result<(), Errno> {
        /// Signals the group whose number the process has or had. Linux 6.9 and later.
        const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
        if let Some(pidfd) = &self.pidfd {
            match send(pidfd.as_fd(), number, PIDFD_SIGNAL_PROCESS_GROUP) {
                Err(Errno::INVAL) => {}
                result => return result,
            }
        }
        // Signals the group by its number alone. The number belongs to the process until it is reaped, and to
        // the group as long as the group has members. If a process has that number although ours was reaped, it
        // is unrelated.
        if ended && rustix::process::test_kill_process(self.pid) != Err(Errno::SRCH) {
            return Err(Errno::SRCH);
        }
        kill(-self.pid.as_raw_nonzero().get(), number)
    }
}

impl AsFd for OsProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let pidfd = self.pidfd.as_ref();
        pidfd
            .expect("a process without a pidfd is awaited by its number")
            .as_fd()
    }
}

fn no_group() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "only a process that leads a group of its own has a tree that can be signalled",
    )
}

fn is_readable(pidfd: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut descriptors = [PollFd::new(pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut descriptors, Some(&now)))?;
    Ok(ready > 0)
}

fn send(pidfd: BorrowedFd<'_>, number: i32, flags: libc::c_uint) -> Result<(), Errno> {
    let information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the borrow keeps `pidfd` open; without information about the sender the kernel reads no memory of
    // ours.
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

/// Signals a process, or a group if the number is negative.
fn kill(target: libc::pid_t, number: i32) -> Result<(), Errno> {
    // SAFETY: the call sends a signal to other processes and touches no memory of ours.
    match unsafe { libc::kill(target, number) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
