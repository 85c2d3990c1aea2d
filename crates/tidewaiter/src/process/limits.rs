//! Limits on the resources of a child.

use std::io;
use std::time::Duration;

use super::error::SpawnStep;

/// Limits on the resources of a child. Nothing is limited by default.
///
/// On Windows, the OS adds up what the child and all its descendants use. On Unix, descendants inherit the limits, and
/// each process is measured by itself: a child that starts others can use more in total.
///
/// Limits are only ever lowered. A child whose limit would be higher than our own gets ours, and it cannot raise it,
/// unless it has privileges: [run it as another user](super::Command::user) if it must not.
///
/// A limit that the system cannot enforce is refused: starting the child fails with
/// [`Unsupported`](io::ErrorKind::Unsupported), and the error names the field. Simulations enforce none, and neither
/// does Wine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory. At the limit, the child cannot allocate more; most programs then end with an error of their
    /// own.
    ///
    /// Unix: the address space of each process (`RLIMIT_AS`), which includes the program's code and what is reserved but
    /// not used. Some runtimes reserve much more than they use. A program that does not fit at all ends by a signal as
    /// it starts. Windows: the memory that all processes together have committed (`JOB_OBJECT_LIMIT_JOB_MEMORY`).
    pub memory: Option<u64>,
    /// CPU time, not time on the clock.
    ///
    /// Unix: of each process (`RLIMIT_CPU`), in user mode and in the kernel, rounded up to whole seconds. At the limit,
    /// the process gets SIGXCPU, which ends it by default; one that handles the signal is killed a second of CPU time
    /// later. Windows: of all processes together (`JOB_OBJECT_LIMIT_JOB_TIME`), in user mode only. At the limit, all are
    /// ended, with exit code 1816 (`ERROR_NOT_ENOUGH_QUOTA`). Windows looks only now and then, so they may run a little
    /// longer.
    pub cpu_time: Option<Duration>,
    /// Open descriptors of each process (`RLIMIT_NOFILE`): one more than the highest number that a new one may get. At
    /// the limit, opening anything fails with EMFILE. What the child is given at its start is not refused.
    ///
    /// Unix. Windows has no such limit.
    pub open_files: Option<u64>,
    /// Processes at the same time. At the limit, starting another one fails.
    ///
    /// Unix: all processes of the child's user, wherever they were started (`RLIMIT_NPROC`); Linux counts threads, too.
    /// The limit keeps the child from starting others, but does not keep us from starting the child. Starting one fails
    /// with EAGAIN. Privileged users are not limited. Windows: the child and its descendants
    /// (`JOB_OBJECT_LIMIT_ACTIVE_PROCESS`), the `cmd.exe` that runs a batch file included.
    pub processes: Option<u32>,
}

impl Limits {
    /// Refuses a limit that is not among the `enforced` ones, given by the names of the fields.
    pub(crate) fn check(&self, enforced: &[&str]) -> Result<(), (SpawnStep, io::Error)> {
        let fields = [
            ("memory", self.memory.is_some()),
            ("cpu_time", self.cpu_time.is_some()),
            ("open_files", self.open_files.is_some()),
            ("processes", self.processes.is_some()),
        ];
        for (name, is_set) in fields {
            if is_set && !enforced.contains(&name) {
                return Err((SpawnStep::Limits, not_enforced(name)));
            }
        }
        Ok(())
    }
}

/// The error for a limit, given by the name of its field.
pub(crate) fn not_enforced(name: &str) -> io::Error {
    let message = format!("this system does not enforce the limit `{name}`");
    io::Error::new(io::ErrorKind::Unsupported, message)
}
