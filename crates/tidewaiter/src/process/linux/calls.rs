//! System calls of a child that shares its parent's memory.
//!
//! They bypass the C library where it keeps records in memory or signals other threads: in the child, it would
//! write and signal on the parent's behalf.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::pty::OpenptFlags;
use rustix::thread::CpuSet;

/// The flags that open a pseudo-terminal.
pub(crate) const TERMINAL_FLAGS: OpenptFlags = OpenptFlags::RDWR
    .union(OpenptFlags::NOCTTY)
    .union(OpenptFlags::CLOEXEC);

/// The highest signal number on all architectures that have at most 64.
pub(super) const SIGNAL_MAX: c_int = 64;

/// The size of a set of signals, as the kernel has it.
const SET_BYTES: usize = size_of::<u64>();

/// Returns our own environment as `execve` takes it: pointers to `NAME=value`, the last one null.
///
/// No other thread may change the environment while the pointers are in use, which [`std::env::set_var`] demands
/// of its callers, too: all that read the environment by the C library's means rely on it.
pub(crate) fn own_environment() -> Option<*const *const c_char> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library defines it, and changes it only together with the environment.
    Some(unsafe { environ })
}

/// The kernel's `struct sigaction`, not the C library's: as large as on any architecture, and the handler comes first. All
/// zero is the default action.
pub(super) type Action = [u64; 8];

/// Restores the default action of every signal, and unblocks all.
pub(crate) fn reset_signals() {
    (1..=SIGNAL_MAX).for_each(reset_action);
    unblock_signals();
}

pub(super) fn reset_action(number: c_int) {
    let default = Action::default();
    // The kernel refuses to change two signals (SIGKILL and SIGSTOP), and nobody can have changed them.
    // SAFETY: `default` is readable and larger than what the kernel reads; these are the child's own signal handlers, as
    // CLONE_SIGHAND was not asked for.
    unsafe { change_action(number, &raw const default, ptr::null_mut()) };
}

/// Changes the action of a signal, and tells the old one, unless these are null.
///
/// # Safety
///
/// As for `sigaction`, with the kernel's structures.
pub(super) unsafe fn change_action(number: c_int, new: *const Action, old: *mut Action) {
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, new, old, SET_BYTES) };
}

pub(super) fn unblock_signals() {
    let none = 0_u64;
    // SAFETY: `none` is a signal set of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<c_void>(),
            SET_BYTES,
        )
    };
}

/// Closes all descriptors in these ranges, first and last numbers included.
///
/// # Safety
///
/// Nothing in the process may use these descriptors.
pub(crate) unsafe fn close_all(ranges: &[(RawFd, RawFd)]) {
    for (at, &(first, last)) in ranges.iter().enumerate() {
        // SAFETY: as the caller promises.
        let refused = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
        if refused != 0 {
            // The kernel is older than 5.9, or a filter does not know the call.
            // SAFETY: as the caller promises.
            return unsafe { close_one_by_one(&ranges[at..]) };
        }
    }
}

/// As [`close_all`], for kernels without `close_range`: closes the descriptors that the kernel lists as open.
/// Without a list (no `/proc`), closes every number that the limit allows.
///
/// # Safety
///
/// As [`close_all`].
unsafe fn close_one_by_one(ranges: &[(RawFd, RawFd)]) {
    if let Some(&(first, _)) = ranges.first() {
        // Frees a number for the list's own descriptor, in case all are in use.
        // SAFETY: as the caller promises.
        unsafe { libc::close(first) };
    }
    // SAFETY: as the caller promises.
    if unsafe { close_listed(ranges) }.is_ok() {
        return;
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` has room for the limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let end = RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX);
    for &(first, last) in ranges {
        for descriptor in first..=last.min(end) {
            // SAFETY: as the caller promises.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// Closes the descriptors in these ranges that `/proc` lists as open. Closing one does not disturb the rest of
/// the listing, because the kernel lists by number.
///
/// # Safety
///
/// As [`close_all`].
unsafe fn close_listed(ranges: &[(RawFd, RawFd)]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut room = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&list, &mut room);
    while let Some(entry) = entries.next() {
        let Some(number) = number(entry?.file_name().to_bytes()) else {
            continue;
        };
        let named = |&(first, last): &(RawFd, RawFd)| (first..=last).contains(&number);
        if ranges.iter().any(named) && number != list.as_raw_fd() {
            // SAFETY: as the caller promises.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Parses the name of an entry as a descriptor. Two entries, `.` and `..`, are none.
fn number(name: &[u8]) -> Option<RawFd> {
    name.iter().try_fold(0, |number: RawFd, &digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

pub(crate) fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(groups)
}

pub(crate) fn set_group(group: Gid) -> Result<(), Errno> {
    rustix::thread::set_thread_gid(group)
}

pub(crate) fn set_user(user: Uid) -> Result<(), Errno> {
    rustix::thread::set_thread_uid(user)
}

/// Linux can end a child with its parent.
#[expect(clippy::unnecessary_wraps, reason = "other systems may lack it")]
pub(crate) fn check_die_with_parent() -> io::Result<()> {
    Ok(())
}

/// Has the kernel kill this process when the thread that started it ends. Fails if the parent has ended before.
pub(crate) fn die_with(parent: Pid) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::getppid() == Some(parent) {
        true => Ok(()),
        false => Err(Errno::SRCH),
    }
}

/// A set of CPUs, as the kernel takes it.
pub(crate) type Cpus = CpuSet;

/// Prepares a set of CPUs.
pub(crate) fn cpus(numbers: &[usize]) -> io::Result<Cpus> {
    let mut cpus = CpuSet::new();
    for &number in numbers {
        if number >= CpuSet::MAX_CPU {
            let message = format!("no CPU can have the number {number}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        cpus.set(number);
    }
    Ok(cpus)
}

pub(crate) fn set_cpus(cpus: &Cpus) -> Result<(), Errno> {
    rustix::thread::sched_setaffinity(None, cpus)
}
