//! How a process ended, and the signals it can be sent.

use std::fmt;
use std::time::Duration;

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this code: 0 to 255 on Unix, any 32 bits on Windows. A process of Windows that was
    /// terminated has the code that its terminator chose: 1 for [`Signal::Kill`].
    Code(u32),
    /// A signal ended it (Unix).
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// It ended, but its status is lost (Unix): the program ignores SIGCHLD (see
    /// [`stop_ignoring_sigchld`](super::stop_ignoring_sigchld)), other code of the program reaped the child, or
    /// the process that waited is a fork of the child's parent.
    ///
    /// A [command that is run](crate::Reactor::run_command) may also have this status because it could not be killed.
    Unknown,
}

impl ExitStatus {
    /// Whether the process exited with the code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The code that the process exited with; `None` if a signal ended it, or if its status is unknown.
    #[must_use]
    pub fn code(self) -> Option<u32> {
        match self {
            ExitStatus::Code(code) => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Windows's own failures (0xC0000005…) are known by their hexadecimal form.
            ExitStatus::Code(code) if *code > 0xFFFF => write!(f, "exit code {code:#x}"),
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal {
                number,
                core_dumped: false,
            } => write!(f, "signal {number}"),
            ExitStatus::Signal {
                number,
                core_dumped: true,
            } => {
                write!(f, "signal {number} (core dumped)")
            }
            ExitStatus::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// What a child process used of the machine.
///
/// On Unix, this includes its descendants that have ended and were reaped by their parents. On Windows, it is the
/// child's own share.
///
/// ```
/// use tidewaiter::process::Usage;
///
/// fn report(usage: &Usage) {
///     println!("{:?} of CPU time", usage.user_time + usage.system_time);
///     if let Some(bytes) = usage.peak_memory {
///         println!("{} MiB at most", bytes >> 20);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The CPU time in programs' own code.
    pub user_time: Duration,
    /// The CPU time in the OS.
    pub system_time: Duration,
    /// The most memory that one of the processes had in RAM at a time, in bytes; on Windows, of its working set.
    ///
    /// `None` on Linux if it is no more than this process has used itself. Linux counts the memory of the parent as the
    /// child's, until the child runs its program. `None` under Wine, which does not report it.
    pub peak_memory: Option<u64>,
}

/// A signal that can be sent to a child process.
///
/// ```
/// use tidewaiter::Process;
/// use tidewaiter::process::{Signal, SignalTarget, Unreached};
///
/// /// Interrupts the child and all that it has started.
/// fn interrupt(child: &Process) -> std::io::Result<()> {
///     let Unreached { processes, .. } = child.signal(Signal::Interrupt, SignalTarget::Tree)?;
///     for other in processes {
///         println!("process {other} runs as another user");
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Interrupts, as Ctrl-C does: SIGINT. On Windows Ctrl-Break, which reaches every process of the child's
    /// group that shares our console, whichever the target; the child must lead a group of its own
    /// ([`Command::own_group`](super::Command::own_group)).
    Interrupt,
    /// Asks to end: SIGTERM. On Windows the same as [`Signal::Interrupt`].
    Terminate,
    /// Ends at once, without asking: SIGKILL. On Windows `TerminateProcess`, or `TerminateJobObject` for the
    /// tree, with exit code 1.
    Kill,
    /// Any signal by its number (Unix and simulations). The OS refuses a number that it does not know with
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    Number(i32),
}

/// Which processes receive a [`Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalTarget {
    /// The child alone.
    Process,
    /// The child and the descendants that can be found, even after the child itself has ended.
    ///
    /// On Unix, these are the processes of the child's process group. A child that does not
    /// [lead a group](super::Command::own_group) has no tree ([`Unsupported`](std::io::ErrorKind::Unsupported)).
    ///
    /// Linux also finds descendants that left the group, such as a job of an interactive shell or a daemon that called
    /// `setsid`: by their parents, and by the groups and sessions that processes of the tree have made. It does *not*
    /// find a process that left the group in a session of its own and whose parent has ended, as a daemon does that
    /// forks twice, nor one that `/proc` does not show. A [cgroup](super::Command::own_cgroup) holds those, too. To look takes some microseconds for each process of the machine;
    /// many signals in a short time share a look.
    ///
    /// On other Unixes, a descendant that left the group is not reached.
    ///
    /// On Windows, these are the processes of the child's job: all descendants, except those that another program started
    /// on their behalf, such as a service. In a simulation, a tree is not reached any more once the child itself has
    /// ended.
    Tree,
}
