//! Child processes: what to start, how they end, and how the OS is asked for it.

mod command;
mod error;
mod status;

pub use command::{Command, Stdio};
pub use error::{SpawnError, SpawnStep};
pub use status::{ExitStatus, Signal, SignalTarget};

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod os;
#[cfg(all(unix, not(target_os = "linux")))]
#[path = "other/mod.rs"]
mod os;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod os;
/// What all kinds of Unix have in common.
#[cfg(unix)]
mod unix;

/// What [`os::spawn`] made: the process, and our ends of the pipes to it.
#[derive(Debug)]
pub(crate) struct OsChild {
    /// The OS's number of the process.
    pub(crate) pid: u32,
    /// The process itself.
    pub(crate) process: OsProcess,
    /// Stdin, stdout, stderr: our ends, non-blocking or overlapped; none is inherited by later children.
    pub(crate) pipes: [Option<crate::port::OsPipe>; 3],
}

// Each OS's file has the same names, with the same promises:
//
// `spawn(&Command) -> Result<OsChild, SpawnError>`: starts it; on an error nothing is left behind.
// `OsProcess`: owns the process's descriptor or handle (and job). Waitable: readable (`AsFd`) or
//   signalled (`AsHandle`) once the process ended. Dropping it neither ends nor awaits the process.
// `OsProcess::try_wait(&self) -> io::Result<Option<ExitStatus>>`: never blocks; once the process ended,
//   reaps it and returns how; remembers the status.
// `OsProcess::signal(&self, Signal, SignalTarget) -> io::Result<()>`: `NotFound` after the end.
pub(crate) use os::{OsProcess, spawn};
