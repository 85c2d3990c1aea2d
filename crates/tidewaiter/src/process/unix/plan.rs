//! The steps that a child takes before it runs its program.
//!
//! The parent prepares all data. The child then makes system calls only, because a thread that does not exist
//! in the child may hold any lock. It writes to its stack only, because it may share its parent's memory.

use std::ffi::{CString, c_char};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Resource, Rlimit, Uid};

use super::limits::resource_limits;
use super::{Descriptors, Environment, Image, Placement};
use crate::process::calls;
use crate::process::{Command, Priority, SpawnStep, User};

/// The child's steps, with all data prepared by the parent.
pub(crate) struct Plan<'a> {
    /// Null-terminated, as `execve` takes them, and so are the next two.
    files: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Pointers,
    directory: *const c_char,
    own_group: bool,
    /// The child leads a session, and so a group.
    own_session: bool,
    /// Standard input becomes the controlling terminal of the session.
    terminal: bool,
    umask: Option<Mode>,
    priority: Option<Priority>,
    cpus: Option<calls::Cpus>,
    user: Option<Identity>,
    /// The process with which the child ends.
    dies_with: Option<Pid>,
    limits: Vec<(Resource, Rlimit)>,
    placements: &'a [Placement],
    /// The first and last numbers of each range of descriptors to close.
    gaps: Vec<(RawFd, RawFd)>,
    _strings: PhantomData<&'a Image>,
}

/// The pointers to the variables of the child.
enum Pointers {
    /// To our own.
    Ours(*const *const c_char),
    Made(Vec<*const c_char>),
}

impl Pointers {
    fn first(&self) -> *const *const c_char {
        match self {
            Pointers::Ours(first) => *first,
            Pointers::Made(pointers) => pointers.as_ptr(),
        }
    }
}

/// The user and groups that the child runs as.
struct Identity {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

/// The step that failed in the child, and why. Plain numbers, so that they fit through a pipe or shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) step: i32,
    /// The number of the descriptor that the child could not get, if that was the step.
    pub(crate) detail: i32,
    pub(crate) errno: i32,
}

const DESCRIPTOR: i32 = 1;
const DIRECTORY: i32 = 2;
const TERMINAL: i32 = 3;
const GROUPS: i32 = 4;
const GROUP: i32 = 5;
const USER: i32 = 6;
const PRIORITY: i32 = 7;
const CPUS: i32 = 8;
const LIMITS: i32 = 9;
const PARENT: i32 = 10;
const EXECUTE: i32 = 11;

impl Refusal {
    fn of(step: i32, errno: Errno) -> Refusal {
        Refusal {
            step,
            detail: 0,
            errno: errno.raw_os_error(),
        }
    }

    /// Translates the failure for the caller that asked for the program.
    pub(crate) fn explain(self, image: &Image) -> (SpawnStep, io::Error) {
        let errno = Errno::from_raw_os_error(self.errno);
        let step = match self.step {
            DESCRIPTOR => SpawnStep::Descriptor(self.detail.unsigned_abs()),
            DIRECTORY => SpawnStep::Directory,
            TERMINAL => SpawnStep::Terminal,
            GROUPS => SpawnStep::Groups,
            GROUP => SpawnStep::Group,
            USER => SpawnStep::User,
            PRIORITY => SpawnStep::Priority,
            CPUS => SpawnStep::Cpus,
            LIMITS => SpawnStep::Limits,
            PARENT => SpawnStep::DieWithParent,
            _ if errno == Errno::NOENT => match image.missing_interpreter() {
                Some(error) => return (SpawnStep::Execute, error),
                None => SpawnStep::Search,
            },
            _ => SpawnStep::Execute,
        };
        (step, errno.into())
    }
}

impl<'a> Plan<'a> {
    /// # Errors
    ///
    /// A number is invalid for a user, a group or a CPU, or the system cannot choose CPUs or end a child with its parent.
    pub(crate) fn new(
        command: &Command,
        image: &'a Image,
        descriptors: &'a Descriptors,
    ) -> Result<Plan<'a>, (SpawnStep, io::Error)> {
        let user = command.user.as_ref().map(identity).transpose();
        let cpus = command.cpus.as_deref().map(calls::cpus).transpose();
        Ok(Plan {
            files: pointers(&image.files),
            arguments: pointers(&image.arguments),
            environment: match &image.environment {
                Environment::Ours(pointers) => Pointers::Ours(*pointers),
                Environment::Made(variables) => Pointers::Made(variables.pointers()),
            },
            directory: image.directory.as_ref().map_or(ptr::null(), |d| d.as_ptr()),
            own_group: command.tree.own_group,
            own_session: command.tree.own_session || command.terminal.is_some(),
            terminal: command.terminal.is_some(),
            umask: command
                .umask
                .map(|mask| Mode::from_bits_truncate(mask.into())),
            priority: command.priority,
            cpus: cpus.map_err(|error| (SpawnStep::Cpus, error))?,
            user: user.map_err(|error| (SpawnStep::Arguments, error))?,
            dies_with: parent(command).map_err(|error| (SpawnStep::DieWithParent, error))?,
            limits: resource_limits(command.limits),
            placements: &descriptors.placements,
            gaps: gaps(&descriptors.placements),
            _strings: PhantomData,
        })
    }

    /// Runs the program, in the child, after restoring the actions of signals. Returns only when a step failed.
    ///
    /// # Safety
    ///
    /// This process must be a new child with descriptors and signal handlers of its own, and must do nothing
    /// else.
    pub(crate) unsafe fn carry_out(&self, reset_signals: fn()) -> Refusal {
        reset_signals();
        // SAFETY: as the caller promises.
        match unsafe { self.prepare() } {
            Ok(()) => Refusal::of(EXECUTE, self.execute()),
            Err(refusal) => refusal,
        }
    }

    /// Takes all steps before running the program.
    ///
    /// # Safety
    ///
    /// As [`carry_out`](Plan::carry_out).
    unsafe fn prepare(&self) -> Result<(), Refusal> {
        // Neither call can fail in a new child: it leads no group and has run no program.
        if self.own_session {
            let _ = rustix::process::setsid();
        } else if self.own_group {
            let _ = rustix::process::setpgid(None, None);
        }
        if !self.directory.is_null() {
            // SAFETY: `directory` is a C string that the image owns.
            let result = unsafe { libc::chdir(self.directory) };
            if result != 0 {
                return Err(Refusal::of(DIRECTORY, last_errno()));
            }
        }
        for &place in self.placements {
            // SAFETY: these are the child's own descriptors, as the caller promises.
            let placed = unsafe { put(place) };
            if !placed {
                return Err(Refusal {
                    detail: place.childs,
                    ..Refusal::of(DESCRIPTOR, last_errno())
                });
            }
        }
        if self.terminal {
            // SAFETY: the loop above placed the terminal there.
            let input = unsafe { BorrowedFd::borrow_raw(0) };
            let taken = rustix::process::ioctl_tiocsctty(input);
            taken.map_err(|errno| Refusal::of(TERMINAL, errno))?;
        }
        if let Some(umask) = self.umask {
            rustix::process::umask(umask);
        }
        // Another user may not be allowed to raise it.
        if let Some(priority) = self.priority {
            let set = rustix::process::setpriority_process(None, priority.value().into());
            set.map_err(|errno| Refusal::of(PRIORITY, errno))?;
        }
        if let Some(cpus) = &self.cpus {
            calls::set_cpus(cpus).map_err(|errno| Refusal::of(CPUS, errno))?;
        }
        if let Some(user) = &self.user {
            user.assume()?;
        }
        // The kernel forgets it when the user changes.
        if let Some(parent) = self.dies_with {
            calls::die_with(parent).map_err(|errno| Refusal::of(PARENT, errno))?;
        }
        // SAFETY: these are the child's own descriptors, and nothing uses them.
        unsafe { calls::close_all(&self.gaps) };
        // Last, so that the limits hold for the program alone, and not for the steps above.
        for &(resource, limit) in &self.limits {
            let set = rustix::process::setrlimit(resource, limit);
            set.map_err(|errno| Refusal::of(LIMITS, errno))?;
        }
        Ok(())
    }

    /// Tries each file. Returns why none could be run.
    fn execute(&self) -> Errno {
        let mut reason = Errno::NOENT;
        for &file in self.files.iter().filter(|file| !file.is_null()) {
            // SAFETY: the file is a C string, the others are null-terminated arrays of C strings; the image
            // owns them all.
            unsafe { libc::execve(file, self.arguments.as_ptr(), self.environment.first()) };
            match last_errno() {
                Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT => {}
                // A later directory may hold a file that we may run.
                Errno::ACCESS => reason = Errno::ACCESS,
                other => return other,
            }
        }
        reason
    }
}

impl Identity {
    /// Takes the child's user and groups. Sets the groups first, because a process that is no longer root may
    /// not change them.
    fn assume(&self) -> Result<(), Refusal> {
        // The program may run as another user but be able to become root again. Only root may change its
        // identity, so try.
        let _ = calls::set_user(Uid::ROOT);
        let step = |step| move |errno| Refusal::of(step, errno);
        calls::set_groups(&self.groups).map_err(step(GROUPS))?;
        calls::set_group(self.group).map_err(step(GROUP))?;
        calls::set_user(self.user).map_err(step(USER))
    }
}

/// The largest number means "no user" or "no group" to the OS.
fn identity(user: &User) -> io::Result<Identity> {
    let User {
        user,
        group,
        groups,
    } = user;
    if *user == u32::MAX || *group == u32::MAX || groups.contains(&u32::MAX) {
        let message = format!("no user or group has the number {}", u32::MAX);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(Identity {
        user: Uid::from_raw(*user),
        group: Gid::from_raw(*group),
        groups: groups.iter().copied().map(Gid::from_raw).collect(),
    })
}

/// Returns the process with which the child ends, if that was asked for.
fn parent(command: &Command) -> io::Result<Option<Pid>> {
    if !command.tree.die_with_parent {
        return Ok(None);
    }
    calls::check_die_with_parent()?;
    Ok(Some(rustix::process::getpid()))
}

/// Gives the child one of its descriptors. A standard stream of ours that is closed stays so.
///
/// # Safety
///
/// Nothing else in the process may use the number that becomes the child's.
unsafe fn put(place: Placement) -> bool {
    let Placement { ours, childs } = place;
    if ours != childs {
        // SAFETY: as the caller promises.
        return unsafe { libc::dup2(ours, childs) } == childs;
    }
    // SAFETY: the call only changes whether the descriptor survives `execve`.
    let kept = unsafe { libc::fcntl(childs, libc::F_SETFD, 0) } != -1;
    kept || (childs <= 2 && last_errno() == Errno::BADF)
}

/// Returns the null-terminated array that `execve` takes.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// The ranges of numbers that no placement uses.
fn gaps(placements: &[Placement]) -> Vec<(RawFd, RawFd)> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for place in placements {
        if next < place.childs {
            gaps.push((next, place.childs - 1));
        }
        next = place.childs.saturating_add(1);
    }
    gaps.push((next, RawFd::MAX));
    gaps
}

/// Returns why the last system call failed. Neither allocates nor locks.
fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_between_the_placements_are_closed() {
        let gaps = |numbers: &[RawFd]| {
            let place = |&childs| Placement { ours: 9, childs };
            super::gaps(&numbers.iter().map(place).collect::<Vec<_>>())
        };
        assert_eq!(gaps(&[]), [(0, RawFd::MAX)]);
        assert_eq!(gaps(&[0, 1, 2]), [(3, RawFd::MAX)]);
        assert_eq!(gaps(&[1, 4, 7]), [(0, 0), (2, 3), (5, 6), (8, RawFd::MAX)]);
    }
}
