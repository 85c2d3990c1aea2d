//! Why a process could not be started.

use std::ffi::OsString;
use std::fmt;
use std::io;

/// The step at which starting a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnStep {
    /// Beginning at all: the reactor has been stopped, or belongs to another process, which this one is a copy of.
    Begin,
    /// Encoding the arguments, the environment, the names and the user's number: one of them contains a NUL, a
    /// variable's name is impossible, or the program is a batch file of Windows.
    Arguments,
    /// Finding the program, in the search path or as a file: it is not there.
    Search,
    /// Making the pipes to the child.
    Pipes,
    /// Giving the child its descriptor of this number: ours is not open, the number is too high, or the OS has
    /// no such descriptors.
    Descriptor(u32),
    /// Making the pseudo-terminal, or giving it to the child.
    Terminal,
    /// Making the process.
    Process,
    /// Changing to the child's working directory.
    Directory,
    /// Setting the child's supplementary groups.
    Groups,
    /// Setting the child's group.
    Group,
    /// Setting the child's user.
    User,
    /// Running the program: it is not executable, or its interpreter is missing.
    Execute,
    /// Taking the new process and its pipes onto the port.
    Adopt,
}

/// Why a process could not be started. Nothing was left running.
#[derive(Debug)]
pub struct SpawnError {
    /// The program, as it was given.
    pub program: OsString,
    /// The step that failed.
    pub step: SpawnStep,
    /// The OS's reason.
    pub source: io::Error,
}

impl SpawnError {
    /// Whether the child could not do what was asked, such as run a program that is not there, enter a
    /// directory or become a user. False if we could not ask, for lack of descriptors or processes for
    /// instance.
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
            SpawnStep::Begin => "no reactor for it",
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
