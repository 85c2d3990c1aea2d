//! Starts a child, from `clone` to `execve`.
//!
//! The child runs in our memory while the calling thread is suspended, as after `vfork`. Nothing is copied, and
//! the child reports a failure by writing to our memory. Apart from that, it does only what a [`Plan`] does.
//!
//! A child that becomes another user gets a copy of our memory instead. When a process changes its user, the
//! kernel marks its memory so that others may neither dump nor inspect it. If we shared that memory, the mark
//! would stay on ours, and the other user could inspect it before the program runs.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::tree::Entry;
use crate::process::SpawnStep;
use crate::process::unix::{Image, Plan, Refusal, SignalsBlocked};

/// Room for the child's few calls, for the dynamic linker among them, and for a sanitizer's red zones. It stays
/// below 64 KiB because glibc's allocator consolidates its free memory when it frees that much, which takes
/// longer than all the rest of starting a child.
const STACK_BYTES: usize = 60 * 1024;

/// Which memory a child has until it runs its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Ours.
    Shared,
    /// A copy of ours. Only shared mappings stay shared.
    Copied,
}

/// The child's instructions, and room for its report.
struct Start<'a> {
    plan: &'a Plan<'a>,
    /// Whether to open a pidfd.
    by_pidfd: bool,
    cgroup: Option<&'a Entry>,
    report: &'a Report,
}

/// The kernel's and the child's report to us.
struct Report {
    /// The kernel fills this in before the child runs.
    pidfd: AtomicI32,
    /// Nonzero if the child has to enter its cgroup itself.
    enters: AtomicI32,
    /// Nonzero if it could not.
    outside: AtomicI32,
    /// Nonzero if the child failed: see `refusal`.
    failed: AtomicI32,
    refusal: [AtomicI32; 3],
}

impl Report {
    fn new() -> Report {
        Report {
            pidfd: AtomicI32::new(-1),
            enters: AtomicI32::new(0),
            outside: AtomicI32::new(0),
            failed: AtomicI32::new(0),
            refusal: Default::default(),
        }
    }
}

/// A report in a page that the child shares even if the rest of its memory is a copy.
struct SharedReport(NonNull<Report>);

impl SharedReport {
    fn new() -> io::Result<SharedReport> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Report>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = NonNull::new(page.cast::<Report>()).expect("mappings are not at zero");
        // SAFETY: the page is writable, ours alone, and large and aligned enough for a report.
        unsafe { page.write(Report::new()) };
        Ok(SharedReport(page))
    }
}

impl Deref for SharedReport {
    type Target = Report;

    fn deref(&self) -> &Report {
        // SAFETY: `new` wrote a report there, and the page stays mapped until this is dropped. Another process
        // may write to it meanwhile, but only to atomics.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedReport {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping that `new` made, and no reference to it is left.
        let refused = unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Report>()) };
        debug_assert_eq!(refused, 0, "a mapping can be unmapped");
    }
}

/// A child that runs its program.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) pidfd: Option<OwnedFd>,
    /// Whether it is in its own cgroup.
    pub(super) entered: bool,
}

/// Starts the program, and returns once it runs. Opens a pidfd if asked to. A child with a cgroup needs a copy of our
/// memory.
pub(super) fn start(
    image: &Image,
    plan: &Plan<'_>,
    by_pidfd: bool,
    memory: Memory,
    cgroup: Option<&Entry>,
) -> Result<Started, (SpawnStep, io::Error)> {
    let start = |report| {
        let start = Start {
            plan,
            by_pidfd,
            cgroup,
            report,
        };
        start_with(image, &start, memory)
    };
    match memory {
        Memory::Shared => start(&Report::new()),
        Memory::Copied => {
            let report = SharedReport::new().map_err(|error| (SpawnStep::Process, error))?;
            start(&report)
        }
    }
}

fn start_with(
    image: &Image,
    start: &Start<'_>,
    memory: Memory,
) -> Result<Started, (SpawnStep, io::Error)> {
    let pid = clone_child(start, memory).map_err(|error| (SpawnStep::Process, error))?;
    let report = start.report;
    let pidfd = match report.pidfd.load(Ordering::Relaxed) {
        -1 if start.by_pidfd => {
            reap(pid, None);
            return Err((SpawnStep::Process, no_pidfds()));
        }
        -1 => None,
        // SAFETY: the kernel opened this descriptor for us, and nothing else refers to it.
        number => Some(unsafe { OwnedFd::from_raw_fd(number) }),
    };
    if report.failed.load(Ordering::Relaxed) == 0 {
        return Ok(Started {
            pid,
            pidfd: pidfd.map(above_standard_streams),
            entered: start.cgroup.is_some() && report.outside.load(Ordering::Relaxed) == 0,
        });
    }
    reap(pid, pidfd.as_ref());
    let [step, detail, errno] = report
        .refusal
        .each_ref()
        .map(|number| number.load(Ordering::Relaxed));
    let refusal = Refusal {
        step,
        detail,
        errno,
    };
    Err(refusal.explain(image))
}

fn no_pidfds() -> io::Error {
    let message = "this kernel has no pidfds: Linux 5.4 or later is needed";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// Moves a pidfd away from the number of a standard stream, which it can get in a program that closed its own.
pub(super) fn above_standard_streams(pidfd: OwnedFd) -> OwnedFd {
    if pidfd.as_raw_fd() > 2 {
        return pidfd;
    }
    // If no other number is free, keeps this one: it works, and the child is already running.
    rustix::io::fcntl_dupfd_cloexec(&pidfd, 3).unwrap_or(pidfd)
}

/// The arguments of `clone3`, as the kernel takes them.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// As [`clone_child`], for a child with a copy of our memory that begins in a cgroup. Linux 5.7 and later.
fn clone_into(start: &Start<'_>, cgroup: BorrowedFd<'_>) -> io::Result<Pid> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let watched = match start.by_pidfd {
        true => libc::CLONE_PIDFD,
        false => 0,
    };
    let flags = u64::from((libc::CLONE_VFORK | watched).cast_unsigned());
    let arguments = CloneArguments {
        flags: flags | CLONE_INTO_CGROUP,
        pidfd: start.report.pidfd.as_ptr().expose_provenance() as u64,
        cgroup: u64::from(cgroup.as_raw_fd().cast_unsigned()),
        ..CloneArguments::default()
    };
    // None of our signal handlers may run in the child.
    let blocked = SignalsBlocked::now()?;
    // SAFETY: the arguments are of the kernel's layout, and the pidfd has room. The child continues here, in a copy of our
    // memory; below, it makes system calls only.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    };
    if pid == 0 {
        let code = child(ptr::from_ref(start).cast_mut().cast());
        // SAFETY: ends the child without running our exit handlers.
        unsafe { libc::_exit(code) };
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    let pid = i32::try_from(pid).ok().and_then(|pid| match pid {
        ..0 => None,
        pid => Pid::from_raw(pid),
    });
    pid.ok_or(error)
}

/// Clones this process, and waits until the child runs its program or has failed.
fn clone_child(start: &Start<'_>, memory: Memory) -> io::Result<Pid> {
    if let Some(entry) = start.cgroup {
        debug_assert_eq!(memory, Memory::Copied);
        if let Ok(pid) = clone_into(start, entry.as_fd()) {
            return Ok(pid);
        }
        // The kernel is too old, or forbids it. Any other error shows up again below.
        start.report.enters.store(1, Ordering::Relaxed);
    }
    // On the heap, where a sanitizer does not track what the child's frames leave behind.
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: one past the end is still a valid address of the allocation.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    let watched = match start.by_pidfd {
        true => libc::CLONE_PIDFD,
        false => 0,
    };
    let shared = match memory {
        Memory::Shared => libc::CLONE_VM,
        Memory::Copied => 0,
    };
    // None of our signal handlers may run in the child, which shares our memory.
    let blocked = SignalsBlocked::now()?;
    // There is no exit signal until the program runs (`execve` makes it SIGCHLD): the host must not see a child
    // that fails before that, neither in its SIGCHLD handler nor in a loop that reaps all children.
    // SAFETY: the child runs on a stack of its own, which lives longer than it shares our memory,
    // because CLONE_VFORK suspends this thread until then; `start` lives as long, and is only read, but
    // for its report's atomics; `child` keeps to what such a child may do.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast::<c_void>(),
            libc::CLONE_VFORK | shared | watched,
            ptr::from_ref(start).cast_mut().cast::<c_void>(),
            start.report.pidfd.as_ptr(),
        )
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    Pid::from_raw(pid).ok_or(error)
}

/// Reaps a child that failed. It has ended or is about to, so this takes a moment only.
fn reap(pid: Pid, pidfd: Option<&OwnedFd>) {
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = WaitIdOptions::EXITED | all;
    let waited = rustix::io::retry_on_intr(|| match pidfd {
        Some(pidfd) => rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options),
        None => rustix::process::waitid(WaitId::Pid(pid), options),
    });
    if let Err(error) = waited {
        log::warn!("process {pid:?}, which could not be started, cannot be reaped: {error}");
    }
}

/// Runs in the child: runs the program, or reports why it cannot.
extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: `start` is the `Start` that `clone_child` borrowed, and its thread is suspended.
    let start = unsafe { &*start.cast::<Start<'_>>().cast_const() };
    // Fails if we asked for a pidfd and got none: nobody could watch the child.
    let report = start.report;
    if !start.by_pidfd || report.pidfd.load(Ordering::Relaxed) != -1 {
        if let Some(entry) = start.cgroup
            && report.enters.load(Ordering::Relaxed) != 0
            && entry.enter().is_err()
        {
            report.outside.store(1, Ordering::Relaxed);
        }
        // SAFETY: this is such a child: `clone_child` set neither CLONE_FILES nor CLONE_SIGHAND.
        let refusal = unsafe { start.plan.carry_out() };
        let numbers = [refusal.step, refusal.detail, refusal.errno];
        for (place, number) in report.refusal.iter().zip(numbers) {
            place.store(number, Ordering::Relaxed);
        }
        report.failed.store(1, Ordering::Relaxed);
    }
    127
}
