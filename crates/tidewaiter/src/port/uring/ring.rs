//! The ring: set-up, submitting, waiting, and reading completions.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, opcode, squeue, types};

use super::super::PortOptions;
use super::refusal::{refused, too_old};

/// Reads and writes at the file's current position; pipes have none.
pub(super) const AT_POSITION: u64 = u64::MAX;

/// The moments at which the kernel runs its part of a completion on our thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskWork {
    /// Only when we enter the ring (6.1): in batches, without interruptions.
    Deferred,
    /// On any system call of ours (5.19).
    Cooperative,
    /// At any time, by interrupting us.
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

    /// Returns the next best mode, for older kernels.
    fn step_down(self) -> Option<TaskWork> {
        match self {
            TaskWork::Deferred => Some(TaskWork::Cooperative),
            TaskWork::Cooperative => Some(TaskWork::Interrupting),
            TaskWork::Interrupting => None,
        }
    }
}

/// The flags of a send that shall complete while the kernel takes it: it fails where it would wait, or if a stream takes only a
/// part.
pub(super) const IMMEDIATE: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL;

/// How long entering the kernel waits for a completion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    No,
    UpTo(Duration),
    ForEver,
}

/// The result of entering the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Done,
    /// The timeout has passed, a signal was handled, or the kernel wants us to read completions or
    /// to free memory first.
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
    /// Whether the operation continues.
    pub(super) fn more(self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// Whether the socket has more to receive.
    pub(super) fn has_more_behind(self) -> bool {
        io_uring::cqueue::sock_nonempty(self.flags)
    }

    /// The id of the buffer that the kernel took from the buffer ring.
    pub(super) fn buffer(self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}

/// The thread that enters a ring.
struct Issuer {
    /// The OS's thread id.
    number: libc::pid_t,
    /// Expires when the thread ends, shortly before the OS is done with it.
    presence: Weak<()>,
}

thread_local! {
    static PRESENCE: Arc<()> = Arc::new(());
}

/// The longest time that a thread may take to end once its own code has finished.
const ENDING_MAX: Duration = Duration::from_secs(1);

impl Issuer {
    fn this_thread() -> Issuer {
        Issuer {
            // SAFETY: the call has no arguments.
            number: unsafe { libc::gettid() },
            presence: PRESENCE
                .try_with(Arc::downgrade)
                .unwrap_or_else(|_| Weak::new()),
        }
    }

    /// Whether the thread has ended. If only its own code has finished, waits until the kernel is
    /// done with it, too.
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

    /// Whether this process has a thread with that id.
    fn is_known(&self) -> bool {
        let process = std::process::id();
        // SAFETY: the call sends no signal, and its arguments are plain numbers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, self.number, 0) };
        sent == 0
    }
}

/// One io_uring instance. Only the thread that created it may enter it; the kernel may enforce
/// that.
pub(super) struct Ring {
    io: IoUring,
    thread: ThreadId,
    issuer: Issuer,
    task_work: TaskWork,
    enter_flags: EnterFlags,
    /// Entries that found no room in the submission queue, in order.
    backlog: VecDeque<squeue::Entry>,
    /// The number of queued sends that complete while the kernel takes them, and whose success nobody waits for.
    immediate: u32,
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
    /// Sets up a ring with the best task work that the kernel supports, starting from `best`.
    pub(super) fn set_up(options: &PortOptions, best: TaskWork) -> io::Result<Ring> {
        let mut task_work = best;
        let io = loop {
            match build(options, task_work) {
                Ok(io) => break io,
                Err(error) => match task_work.step_down() {
                    // A kernel rejects unknown flags as invalid.
                    Some(next) if error.raw_os_error() == Some(libc::EINVAL) => task_work = next,
                    _ => return Err(refused("io_uring_setup", &error)),
                },
            }
        };
        let parameters = io.params();
        if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
            return Err(too_old("waiting with a timeout (EXT_ARG)", "5.11"));
        }
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if parameters.is_feature_no_iowait() {
            // An idle port should not show up as waiting for disk I/O.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Ok(Ring {
            io,
            thread: thread::current().id(),
            issuer: Issuer::this_thread(),
            task_work,
            enter_flags,
            backlog: VecDeque::new(),
            immediate: 0,
        })
    }

    /// Whether this thread created the ring.
    pub(super) fn is_ours(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// Whether the thread that created the ring has ended: see [`Issuer::has_ended`].
    pub(super) fn outlives_its_thread(&self) -> bool {
        self.issuer.has_ended()
    }

    /// Abandons the ring in a copy of the process that owns it: the ring's memory is not mapped
    /// here, and the descriptor refers to the original's ring.
    #[expect(
        clippy::disallowed_methods,
        reason = "unmapping could hit memory that has since been mapped at its address"
    )]
    pub(super) fn disown(self) {
        let descriptor = self.io.as_raw_fd();
        std::mem::forget(self.io);
        // SAFETY: the descriptor is open, and its owner was forgotten just above.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }

    pub(super) fn task_work(&self) -> TaskWork {
        self.task_work
    }

    pub(super) fn no_iowait(&self) -> bool {
        self.enter_flags.contains(EnterFlags::NO_IOWAIT)
    }

    /// Gives access to register buffers and to probe.
    pub(super) fn submitter(&self) -> Submitter<'_> {
        self.io.submitter()
    }

    /// Queues `entry`; the next [`enter`](Ring::enter) hands it to the kernel at the latest.
    ///
    /// # Safety
    ///
    /// Every address in `entry` stays valid, and reserved for the kernel, until the entry's last
    /// completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            // A refusal is harmless here: the next wait tries again and reports the error.
            let _ = self.flush_backlog();
        }
    }

    /// Queues a send with [`IMMEDIATE`] flags. The next wait does not end for its completion, unless it fails or sends only a
    /// part: the kernel then cancels the entry behind it, which has one more completion, with `failure` as user data.
    ///
    /// # Safety
    ///
    /// As for [`push`](Ring::push).
    pub(super) unsafe fn push_immediate(&mut self, send: squeue::Entry, failure: u64) {
        let submission = self.io.submission();
        let has_room = self.backlog.is_empty() && submission.capacity() - submission.len() >= 2;
        drop(submission);
        if !has_room {
            // The kernel must get both at once. Alone, the send ends the wait.
            // SAFETY: the caller makes the promise.
            return unsafe { self.push(send) };
        }
        let behind = opcode::Nop::new().build();
        let behind = behind.flags(squeue::Flags::SKIP_SUCCESS).user_data(failure);
        // SAFETY: the caller makes the promise.
        unsafe { self.push(send.flags(squeue::Flags::IO_LINK)) };
        // SAFETY: the entry has no addresses.
        unsafe { self.push(behind) };
        self.immediate += 1;
    }

    /// Submits all queued entries, waits if asked to, and runs deferred task work.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<Entered> {
        if !self.backlog.is_empty() && self.flush_backlog()? == Entered::Early {
            return Ok(Entered::Early);
        }
        match wait {
            Wait::No => self.enter_once(0, &SubmitArgs::new()),
            Wait::ForEver => self.enter_once(self.wanted(), &SubmitArgs::new()),
            Wait::UpTo(timeout) => {
                let timespec = Timespec::from(timeout.min(TIMEOUT_MAX));
                self.enter_once(self.wanted(), &SubmitArgs::new().timespec(&timespec))
            }
        }
    }

    /// The number of completions to wait for.
    fn wanted(&self) -> u32 {
        1 + self.immediate
    }

    /// Lets the next wait end for every completion.
    pub(super) fn await_all(&mut self) {
        self.immediate = 0;
    }

    /// Returns the next completion, if there is one already.
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

    /// Whether there are entries to submit, task work to run, or completions that overflowed the
    /// queue and wait in the kernel.
    pub(super) fn wants_entering(&mut self) -> bool {
        let submission = self.io.submission();
        !submission.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
            || !self.backlog.is_empty()
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: `push`'s caller promised that the entry's addresses stay valid, and entries
        // arrive here only by way of `push`.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    /// Moves the backlog into the submission queue, submitting what is already there. May return
    /// early with entries left.
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
        self.immediate = 0;
        let submitter = self.io.submitter();
        // SAFETY: `args` is the extended argument that the flags announce; it and its timeout
        // outlive the call, and `push` vouches for the addresses in the queued entries.
        let result = unsafe { submitter.enter(queued, want, flags, Some(args)) };
        match result {
            // After submitting something, the kernel returns the count and hides what ended the
            // wait.
            Ok(_) if want > 0 && !self.has_completions() => Ok(Entered::Early),
            Ok(_) => Ok(Entered::Done),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(Entered::Early),
                _ => Err(error),
            },
        }
    }
}

/// An entry that completes once the descriptor is ready for one of `events`.
pub(super) fn poll(descriptor: types::Fd, events: i16) -> squeue::Entry {
    poll_add(descriptor, events).build()
}

/// An entry that completes each time the descriptor becomes ready for one of `events`.
pub(super) fn poll_repeatedly(descriptor: types::Fd, events: i16) -> squeue::Entry {
    poll_add(descriptor, events).multi(true).build()
}

fn poll_add(descriptor: types::Fd, events: i16) -> opcode::PollAdd {
    let events = u32::try_from(events).expect("the events are small flags");
    opcode::PollAdd::new(descriptor, events)
}

/// The kernel rejects a timeout whose seconds are negative as a signed number.
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
    // The kernel rejects a completion queue that is shorter than the submission queue.
    builder.build(options.submission_entries.min(options.completion_entries))
}
