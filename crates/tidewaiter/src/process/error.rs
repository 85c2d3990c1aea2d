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
    /// Changing to the working directory.
    Directory,
    /// Making the process or running the program.
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

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            SpawnStep::Arguments => "its arguments or environment cannot be passed on",
            SpawnStep::Search => "not found",
            SpawnStep::Pipes => "no pipes for it",
            SpawnStep::Directory => "cannot enter its working directory",
            SpawnStep::Execute => "cannot be executed",
            SpawnStep::Adopt => "cannot be watched",
        };
        write!(
            f,
            "cannot start {:?}: {step}: {}",
            self.program, self.source
        )
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
