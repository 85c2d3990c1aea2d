//! Why a process could not be started.

use std::ffi::OsString;
use std::fmt;
use std::io;

/// The step at which starting a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnStep {
    /// The arguments, environment or names cannot be passed to a program (they contain a NUL).
    Arguments,
    /// The program was looked for in the search path, or as a file, and is not there.
    Search,
    /// Making the pipes to the child.
    Pipes,
    /// Giving the child its descriptor of this number: ours is not open, or the number is too high.
    Descriptor(u32),
    /// Making the pseudo-terminal, or giving it to the child.
    Terminal,
    /// Making the process.
    Process,
    /// Changing to the working directory.
    Directory,
    /// Giving it its supplementary groups.
    Groups,
    /// Giving it its group.
    Group,
    /// Giving it its user.
    User,
    /// Running the program.
    Execute,
    /// Taking the new process and its pipes onto the port.
    Adopt,
}

/// A process could not be started: nothing was left running.
#[derive(Debug)]
pub struct SpawnError {
    /// The program, as it was asked for.
    pub program: OsString,
    /// What was being done.
    pub step: SpawnStep,
    /// The OS's reason.
    pub source: io::Error,
}

impl SpawnError {
    /// Whether the process was made, and failed at one of the steps that it does by itself before it runs
    /// the program, as when the program is not there. What fails before is our own lack of something.
    #[must_use]
    pub fn is_in_child(&self) -> bool {
        matches!(
            self.step,
            SpawnStep::Search
                | SpawnStep::Directory
                | SpawnStep::Groups
                | SpawnStep::Group
                | SpawnStep::User
                | SpawnStep::Execute
        )
    }
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnStep::Arguments => "its arguments or environment cannot be passed on",
            SpawnStep::Search => "not found",
            SpawnStep::Pipes => "no pipes for it",
            SpawnStep::Descriptor(number) => {
                return write!(f, "it cannot have descriptor {number}");
            }
            SpawnStep::Terminal => "no terminal for it",
            SpawnStep::Process => "no process for it",
            SpawnStep::Directory => "cannot enter its working directory",
            SpawnStep::Groups => "cannot have its supplementary groups",
            SpawnStep::Group => "cannot run as its group",
            SpawnStep::User => "cannot run as its user",
            SpawnStep::Execute => "cannot be executed",
            SpawnStep::Adopt => "cannot be watched",
        })
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot start {:?}: {}: {}",
            self.program, self.step, self.source
        )
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
