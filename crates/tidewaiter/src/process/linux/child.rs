//! Starts a child, from `clone` to `execve`.
//!
//! The child runs in our memory while the calling thread is suspended, as after `vfork`. Nothing is copied, and
//! the child reports a failure by writing to our memory. Apart from that, it does only what a [`Plan`] does.
//!
//! A child that becomes another user gets a copy of our memory instead. When a process changes its user, the
//! kernel marks its memory so that others may neither dump nor inspect it. If we shared that memory, the mark
//! would stay on ours, and the other user could inspect it before the program runs.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::clone::clone_child;
use super::orders::{Memory, Report, Start};
use super::tree::Entry;
use crate::process::SpawnStep;
use crate::process::unix::{Image, Plan, Refusal};

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
