//! Signals for a child and its descendants.

mod cgroup;
mod find;
mod proc;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;

pub(crate) use self::cgroup::{Cgroup, Entry};
use self::find::{Root, descendants};
use self::proc::Seen;
pub(crate) use self::proc::Survey;
use super::{OsProcess, no_group, send};
use crate::process::Unreached;

/// How often to look for processes that a tree has started since the last look.
const LOOKS: usize = 8;

impl OsProcess {
    /// Sends a signal to the child's process group, and to the descendants outside of it that can be found.
    pub(super) fn signal_tree(&self, number: i32, survey: &mut Survey) -> io::Result<Unreached> {
        if let Some(cgroup) = &self.cgroup {
            return signal_cgroup(cgroup, number);
        }
        if !self.own_group {
            return Err(no_group());
        }
        // Reaps the root if it has ended; the other members still receive the signal.
        let reaped = self.try_wait()?.is_some();
        let root = Root {
            pid: self.pid.as_raw_nonzero().get(),
            leads: true,
            reaped: reaped.then(|| ticks(self.alive.get())),
        };
        let mut tree = descendants(&root, survey);
        if number == libc::SIGKILL && !tree.is_empty() {
            tree = self.stop_tree(&root, tree, survey);
        }
        let mut unreached = Unreached {
            processes: Vec::new(),
            may_be_more: true,
        };
        let mut reached = false;
        for member in &tree {
            let outside = member.group != root.pid;
            // The others get the signal with their group, which does not tell which of them refuse it.
            match send_to(member, if outside { number } else { 0 }) {
                Ok(()) => reached |= outside,
                Err(Errno::SRCH) => {}
                Err(_) => unreached.processes.push(member.pid.cast_unsigned()),
            }
        }
        if let Err(error) = self.signal_group(number, reaped)
            && !reached
        {
            return Err(error.into());
        }
        if !reaped && self.signal_itself(0) == Err(Errno::PERM) {
            unreached.processes.push(root.pid.cast_unsigned());
        }
        Ok(unreached)
    }

    /// Stops all processes of a tree that is to be killed, so that it does not grow meanwhile. Returns them.
    fn stop_tree(&self, root: &Root, mut tree: Vec<Seen>, survey: &mut Survey) -> Vec<Seen> {
        let mut stopped = HashSet::new();
        for _ in 0..LOOKS {
            // A process that cannot be stopped cannot be killed either, which shows later.
            let _ = self.signal_group(libc::SIGSTOP, root.reaped.is_some());
            let before = stopped.len();
            for member in &tree {
                if stopped.insert(member.pid) && member.group != root.pid {
                    let _ = send_to(member, libc::SIGSTOP);
                }
            }
            if stopped.len() == before {
                break;
            }
            tree = descendants(root, survey);
        }
        tree
    }
}

/// Sends a signal to all processes of a cgroup.
fn signal_cgroup(cgroup: &Cgroup, number: i32) -> io::Result<Unreached> {
    if cgroup.processes()?.is_empty() {
        return Err(Errno::SRCH.into());
    }
    if number == libc::SIGKILL {
        match cgroup.kill() {
            Ok(()) => return Ok(Unreached::default()),
            Err(error) => log::debug!("process: a cgroup is killed one by one: {error}"),
        }
    }
    signal_one_by_one(cgroup, number)
}

/// As [`signal_cgroup`], where the kernel does not do it.
fn signal_one_by_one(cgroup: &Cgroup, number: i32) -> io::Result<Unreached> {
    let mut unreached = Unreached::default();
    let mut known = HashSet::new();
    let looks = if number == libc::SIGKILL { LOOKS } else { 1 };
    for _ in 0..looks {
        let mut new = cgroup.processes()?;
        new.retain(|pid| known.insert(*pid));
        if new.is_empty() {
            break;
        }
        let seen: Vec<_> = new.into_iter().filter_map(Seen::look).collect();
        // A number that is still there was the same process all the time.
        let still = HashSet::<i32>::from_iter(cgroup.processes()?);
        for member in seen.iter().filter(|member| still.contains(&member.pid)) {
            match send_to(member, number) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(_) => unreached.processes.push(member.pid.cast_unsigned()),
            }
        }
    }
    Ok(unreached)
}

/// Sends a signal to exactly this process.
fn send_to(member: &Seen, number: i32) -> Result<(), Errno> {
    let pid = Pid::from_raw(member.pid).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // Only now, so that the descriptor cannot refer to a later process of this number.
    match Seen::look(member.pid) {
        Some(now) if now.is(member) && !now.is_zombie => send(pidfd.as_fd(), number, 0),
        _ => Err(Errno::SRCH),
    }
}

/// The time since the machine was started, by the clock that the starts of processes are told by.
pub(super) fn since_boot() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` has room for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = Duration::from_secs(time.tv_sec.cast_unsigned());
    seconds + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}

/// A time in the unit in which `/proc` tells the starts of processes.
fn ticks(time: Duration) -> u64 {
    // SAFETY: the call only returns a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u128::from(per_second.unsigned_abs());
    u64::try_from(time.as_nanos() * per_second / 1_000_000_000).unwrap_or(u64::MAX)
}
