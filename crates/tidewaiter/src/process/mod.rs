//! Child processes: which program to start and how, how a process ended, and the signals to send to it.
//!
//! [`Reactor::spawn_process`](crate::Reactor::spawn_process) starts a [`Command`].

mod command;
mod console;
mod error;
mod limits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod other;
mod own_terminal;
mod priority;
mod shared_pipe;
mod started;
mod status;
mod stdio;
mod terminal;
mod tree;
/// The parts of starting a program that all kinds of Unix have in common.
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use crate::os::OsPipe;
pub use command::Command;
#[cfg(unix)]
pub(crate) use command::User;
pub use console::Console;
pub use error::{SpawnError, SpawnStep};
pub use limits::Limits;
pub use own_terminal::{OwnTerminal, RawMode};
pub use priority::Priority;
pub use shared_pipe::{SharedPipe, SharedPipeEnd};
pub(crate) use shared_pipe::{TakenEnd, elsewhere};
pub(crate) use started::{Spawn, StartedChild};
pub use status::{ExitStatus, Signal, SignalTarget, Usage};
pub use stdio::{FileAccess, PipeDirection, Stdio};
#[cfg(unix)]
pub(crate) use terminal::TerminalEnds;
pub use terminal::{Terminal, TerminalSize};
pub use tree::Unreached;
#[cfg(unix)]
pub(crate) use unix::own_terminal as own;
#[cfg(unix)]
pub(crate) use unix::{abandon, resize_terminal};
#[cfg(windows)]
pub(crate) use windows::own_terminal as own;

/// Unix. Makes the OS keep the exit status of each child until it is collected. While SIGCHLD is ignored, the
/// OS discards it, and every child's status is [`ExitStatus::Unknown`]. A program that was started by one that
/// ignores SIGCHLD ignores it, too.
///
/// If SIGCHLD is ignored, its default action is restored, for the whole process; a handler is left alone. The
/// reactor never does this by itself, because a signal's action belongs to the program. Call it before the
/// first child is started. Returns whether SIGCHLD was ignored; on Windows, false.
///
/// # Errors
///
/// The OS's error. The supported systems never return one.
pub fn stop_ignoring_sigchld() -> std::io::Result<bool> {
    #[cfg(unix)]
    return unix::stop_ignoring_sigchld();
    #[cfg(not(unix))]
    return Ok(false);
}

/// The unit in which the kernel reports the peak of memory, in bytes.
#[cfg(unix)]
const PEAK_UNIT: u64 = if cfg!(target_os = "macos") { 1 } else { 1024 };

/// The result of [`spawn`]: the process, and our ends of the pipes to it.
#[derive(Debug)]
pub(crate) struct OsChild {
    /// The OS's number of the process.
    pub(crate) pid: u32,
    /// The process itself.
    pub(crate) process: OsProcess,
    /// Our ends, non-blocking or overlapped, in the order of the child's descriptors. Later children do not
    /// inherit them.
    pub(crate) pipes: Vec<ChildPipe>,
    /// Its terminal. Each of our ends keeps it open.
    #[cfg(windows)]
    pub(crate) terminal: Option<std::sync::Arc<PseudoConsole>>,
}

#[cfg(test)]
impl OsProcess {
    fn kill(&self, target: SignalTarget) -> std::io::Result<Unreached> {
        self.signal(Signal::Kill, target, &mut Survey::default())
    }
}

#[cfg(test)]
impl OsChild {
    fn take_pipe(&mut self, child_fd: u32) -> Option<OsPipe> {
        let at = self
            .pipes
            .iter()
            .position(|pipe| pipe.child_fd == child_fd)?;
        Some(self.pipes.remove(at).pipe)
    }
}

/// Our end of a pipe to a child.
#[derive(Debug)]
pub(crate) struct ChildPipe {
    /// The child's descriptor at the other end.
    pub(crate) child_fd: u32,
    pub(crate) direction: PipeDirection,
    pub(crate) pipe: OsPipe,
}

// The module of each OS has the same names, with the same promises:
//
// `calls`: the system calls of children that differ between Unixes.
// `spawn(&Command) -> Result<OsChild, SpawnError>`: starts the process; after an error, nothing is left behind.
// `OsProcess`: owns the process's descriptor or handle (and job). It becomes readable (`AsFd`) or signalled
// (`AsHandle`) once the process has ended. Dropping it neither ends nor awaits the process.
// `OsProcess::try_wait(&self) -> io::Result<Option<ExitStatus>>`: never blocks. Once the process has ended,
// reaps it, and returns and remembers how it ended.
// `OsProcess::usage(&self) -> io::Result<Option<Usage>>`: what it used, once `try_wait` has returned its status; `None`
// before, and if the status is unknown.
// `OsProcess::signal(&self, Signal, SignalTarget, &mut Survey) -> io::Result<Unreached>`: `NotFound` after the end.
// `abandon(&OsProcess)`: kills it with its tree, because nobody will await it. On Unix, reaps it.
// `Survey`: what is known about all processes of the machine, to find a tree. A port keeps one for all its children.
#[cfg(target_os = "linux")]
use linux::calls;
#[cfg(target_os = "linux")]
pub(crate) use linux::{OsProcess, Survey, spawn};
#[cfg(all(unix, not(target_os = "linux")))]
use other::calls;
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use other::{OsProcess, Survey, spawn};
#[cfg(windows)]
pub(crate) use windows::{OsProcess, PseudoConsole, Survey, abandon, pipe, spawn};
// Only io_uring needs these: it can await an end by the process's number.
#[cfg(target_os = "linux")]
pub(crate) use linux::{Mark, spawn_by_number};
