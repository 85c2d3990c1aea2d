//! A child's orders, which it carries out until it runs its program, and its report.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering};

use super::tree::Entry;
use crate::process::unix::Plan;

/// Which memory a child has until it runs its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Ours.
    Shared,
    /// A copy of ours. Only shared mappings stay shared.
    Copied,
}

/// The child's instructions, and room for its report.
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan<'a>,
    /// Whether to open a pidfd.
    pub(super) by_pidfd: bool,
    pub(super) cgroup: Option<&'a Entry>,
    pub(super) report: &'a Report,
}

impl Start<'_> {
    /// The flags of each way to clone.
    ///
    /// There is no exit signal until the program runs (`execve` makes it SIGCHLD): the host must not see a child that fails
    /// before that, neither in its SIGCHLD handler nor in a loop that reaps all children.
    pub(super) fn flags(&self, memory: Memory) -> c_int {
        let shared = match memory {
            Memory::Shared => libc::CLONE_VM,
            Memory::Copied => 0,
        };
        let watched = match self.by_pidfd {
            true => libc::CLONE_PIDFD,
            false => 0,
        };
        libc::CLONE_VFORK | shared | watched
    }

    /// Runs the program, or reports why it cannot, and returns the status to exit with.
    ///
    /// # Safety
    ///
    /// This process must be the new child, and must do nothing else.
    pub(super) unsafe fn carry_out(&self, reset_signals: fn()) -> c_int {
        // Fails if we asked for a pidfd and got none: nobody could watch the child.
        let report = self.report;
        if !self.by_pidfd || report.pidfd.load(Ordering::Relaxed) != -1 {
            if let Some(entry) = self.cgroup
                && report.enters.load(Ordering::Relaxed) != 0
                && entry.enter().is_err()
            {
                report.outside.store(1, Ordering::Relaxed);
            }
            // SAFETY: as the caller promises; and CLONE_FILES and CLONE_SIGHAND are not among the flags.
            let refusal = unsafe { self.plan.carry_out(reset_signals) };
            let numbers = [refusal.step, refusal.detail, refusal.errno];
            for (place, number) in report.refusal.iter().zip(numbers) {
                place.store(number, Ordering::Relaxed);
            }
            report.failed.store(1, Ordering::Relaxed);
        }
        127
    }
}

/// The kernel's and the child's report to us.
pub(super) struct Report {
    /// The kernel fills this in before the child runs.
    pub(super) pidfd: AtomicI32,
    /// Nonzero if the child has to enter its cgroup itself.
    pub(super) enters: AtomicI32,
    /// Nonzero if it could not.
    pub(super) outside: AtomicI32,
    /// Nonzero if the child failed: see `refusal`.
    pub(super) failed: AtomicI32,
    pub(super) refusal: [AtomicI32; 3],
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            pidfd: AtomicI32::new(-1),
            enters: AtomicI32::new(0),
            outside: AtomicI32::new(0),
            failed: AtomicI32::new(0),
            refusal: Default::default(),
        }
    }
}

/// The stack of a child that shares our memory. On the heap, where a sanitizer does not track what the child's frames
/// leave behind.
pub(super) type Stack = Vec<MaybeUninit<u128>>;

/// The arguments of `clone3`, as the kernel takes them.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArguments {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}
