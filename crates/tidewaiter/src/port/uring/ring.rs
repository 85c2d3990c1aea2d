//! The ring: setting it up, submitting, waiting, and reading what completed.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, squeue};

use super::super::PortOptions;
use super::probe;

/// When the kernel runs its part of a completion on our thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskWork {
    /// Only when we enter the ring (6.1): whole batches, and no interruptions.
    Deferred,
    /// On any system call of ours (5.19).
    Cooperative,
    /// Whenever it likes, interrupting us.
    Interrupting,
}

impl TaskWork {
    pub(super) fn name(self) -> &'static str {
        match self {
            TaskWork::Deferred => "deferred task work",
            TaskWork::Cooperative => "cooperative task work",
            TaskWork::Interrupting => "interrupting task work",
        }
    }

    /// What older kernels have instead.
    fn step_down(self) -> Option<TaskWork> {
        match self {
            TaskWork::Deferred => Some(TaskWork::Cooperative),
            TaskWork::Cooperative => Some(TaskWork::Interrupting),
            TaskWork::Interrupting => None,
        }
    }
}

/// Whether entering the kernel waits for a completion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    No,
    UpTo(Duration),
    ForEver,
}

/// What entering the kernel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Done,
    /// The time is up, a signal was handled, or the kernel wants completions to be read, or memory to
    /// be freed, first.
    Early,
}

/// A completion as the kernel wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    pub(super) user_data: u64,
    pub(super) result: i32,
    flags: u32,
}

impl Cqe {
    /// Whether the operation goes on.
    pub(super) fn more(self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// Whether the socket had more to be received.
    pub(super) fn has_more_behind(self) -> bool {
        io_uring::cqueue::sock_nonempty(self.flags)
    }

    /// Which buffer of the buffer ring the kernel took.
    pub(super) fn buffer(self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}

/// The thread that enters a ring.
struct Issuer {
    /// The OS's number of it.
    number: libc::pid_t,
    /// What ends with it, a moment earlier.
    presence: Weak<()>,
}

thread_local! {
    static PRESENCE: Arc<()> = Arc::new(());
}

/// How long a thread may take to end once its own code has.
const ENDING_MAX: Duration = Duration::from_secs(1);

impl Issuer {
    fn this_thread() -> Issuer {
        Issuer {
            // SAFETY: has no arguments.
            number: unsafe { libc::gettid() },
            presence: PRESENCE
                .try_with(Arc::downgrade)
                .unwrap_or_else(|_| Weak::new()),
        }
    }

    /// Whether it has ended. If its own code has, waits until the kernel is done with it, too.
    fn has_ended(&self) -> bool {
        let deadline = Instant::now() + ENDING_MAX;
        while self.presence.strong_count() == 0 && Instant::now() < deadline {
            if !self.is_known() {
                return true;
            }
            thread::yield_now();
        }
        false
    }

    /// Whether this process has a thread of that number.
    fn is_known(&self) -> bool {
        let process = std::process::id();
        // SAFETY: no signal is sent, and numbers are all that there is.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, self.number, 0) };
        sent == 0
    }
}

/// One io_uring instance. It must be entered by the thread that made it alone: the kernel may insist.
pub(super) struct Ring {
    io: IoUring,
    thread: ThreadId,
    issuer: Issuer,
    task_work: TaskWork,
    enter_flags: EnterFlags,
    /// What found no room in the submission queue, in order.
    backlog: VecDeque<squeue::Entry>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("task_work", &self.task_work)
            .field("submission_entries", &self.io.params().sq_entries())
            .field("completion_entries", &self.io.params().cq_entries())
            .field("backlog", &self.backlog.len())
            .finish()
    }
}

impl Ring {
    /// Sets a ring up with the best task work, from `best` downwards, that the kernel knows.
    pub(super) fn set_up(options: &PortOptions, best: TaskWork) -> io::Result<Ring> {
        let mut task_work = best;
        let io = loop {
            match build(options, task_work) {
                Ok(io) => break io,
                Err(error) => match task_work.step_down() {
                    // A kernel refuses flags that it does not know as invalid.
                    Some(next) if error.raw_os_error() == Some(libc::EINVAL) => task_work = next,
                    _ => return Err(probe::refused("io_uring_setup", &error)),
                },
            }
        };
        let parameters = io.params();
        if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
            return Err(probe::too_old("waiting with a timeout (EXT_ARG)", "5.11"));
        }
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if parameters.is_feature_no_iowait() {
            // An idle port must not look like a disk that is waited for.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Ok(Ring {
            io,
            thread: thread::current().id(),
            issuer: Issuer::this_thread(),
            task_work,
            enter_flags,
            backlog: VecDeque::new(),
        })
    }

    /// Whether this thread made it.
    pub(super) fn is_ours(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// Whether the thread that made it has ended: see [`Issuer::has_ended`].
    pub(super) fn outlives_its_thread(&self) -> bool {
        self.issuer.has_ended()
    }

    /// Lets go of it in a copy of the process that it belongs to: its memory is not here, and its descriptor
    /// is another name for the original's ring.
    #[expect(
        clippy::disallowed_methods,
        reason = "unmapping could hit what has since been mapped in its place"
    )]
    pub(super) fn disown(self) {
        let descriptor = self.io.as_raw_fd();
        std::mem::forget(self.io);
        // SAFETY: the descriptor is open, and its owner has just been forgotten.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }

    pub(super) fn task_work(&self) -> TaskWork {
        self.task_work
    }

    pub(super) fn no_iowait(&self) -> bool {
        self.enter_flags.contains(EnterFlags::NO_IOWAIT)
    }

    /// For registering buffers and probing.
    pub(super) fn submitter(&self) -> Submitter<'_> {
        self.io.submitter()
    }

    /// Queues `entry`; the next [`enter`](Ring::enter) at the latest hands it to the kernel.
    ///
    /// # Safety
    ///
    /// Every address in `entry` stays valid, and the kernel's to use, until the entry's last completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            // Refused for now is no harm: the next wait tries again, and reports what is wrong.
            let _ = self.flush_backlog();
        }
    }

    /// Hands everything queued to the kernel, waits if asked to, and runs deferred task work.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<Entered> {
        if !self.backlog.is_empty() && self.flush_backlog()? == Entered::Early {
            return Ok(Entered::Early);
        }
        match wait {
            Wait::No => self.enter_once(0, &SubmitArgs::new()),
            Wait::ForEver => self.enter_once(1, &SubmitArgs::new()),
            Wait::UpTo(timeout) => {
                let timespec = Timespec::from(timeout.min(TIMEOUT_MAX));
                self.enter_once(1, &SubmitArgs::new().timespec(&timespec))
            }
        }
    }

    /// The next completion, if one is there already.
    pub(super) fn next(&mut self) -> Option<Cqe> {
        let entry = self.io.completion().next()?;
        Some(Cqe {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        })
    }

    pub(super) fn has_completions(&mut self) -> bool {
        !self.io.completion().is_empty()
    }

    /// Whether there is something to hand over, task work to run, or completions that found no room in
    /// the queue and are the kernel's to fetch.
    pub(super) fn wants_entering(&mut self) -> bool {
        let submission = self.io.submission();
        !submission.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
            || !self.backlog.is_empty()
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: `push`'s caller promised that the entry's addresses stay valid; entries reach this
        // function through it alone.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    /// Moves the backlog into the submission queue, handing over what stands there already. May come
    /// back early with entries left.
    fn flush_backlog(&mut self) -> io::Result<Entered> {
        while let Some(entry) = self.backlog.pop_front() {
            if self.try_push(&entry) {
                continue;
            }
            let entered = self.enter_once(0, &SubmitArgs::new());
            if self.try_push(&entry) {
                continue;
            }
            self.backlog.push_front(entry);
            entered?;
            return Ok(Entered::Early);
        }
        Ok(Entered::Done)
    }

    fn enter_once(&mut self, want: u32, args: &SubmitArgs<'_, '_>) -> io::Result<Entered> {
        let queued = u32::try_from(self.io.submission().len()).expect("queues have 32-bit lengths");
        let flags = self.enter_flags.bits();
        let submitter = self.io.submitter();
        // SAFETY: `args` is the extended argument that the flags announce, and it and the timeout in it
        // outlive the call; the queued entries' addresses are vouched for by `push`.
        let result = unsafe { submitter.enter(queued, want, flags, Some(args)) };
        match result {
            // Having submitted something, the kernel says so, and keeps to itself what ended the wait.
            Ok(_) if want > 0 && !self.has_completions() => Ok(Entered::Early),
            Ok(_) => Ok(Entered::Done),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(Entered::Early),
                _ => Err(error),
            },
        }
    }
}

/// The kernel refuses seconds that are negative as its own, signed, number.
const TIMEOUT_MAX: Duration = Duration::from_secs(u32::MAX as u64);

fn build(options: &PortOptions, task_work: TaskWork) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_submit_all()
        .setup_cqsize(options.completion_entries);
    match task_work {
        TaskWork::Deferred => {
            builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag();
        }
        TaskWork::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        TaskWork::Interrupting => {}
    }
    // The kernel refuses a completion queue that is shorter than the submission queue.
    builder.build(options.submission_entries.min(options.completion_entries))
}
