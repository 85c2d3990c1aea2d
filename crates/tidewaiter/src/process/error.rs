//! Why a process could not be started.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The step at which starting a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnStep {
    /// Before anything was tried: the reactor has been stopped, or this process is a copy (made by `fork`) of
    /// the one that the reactor belongs to.
    Begin,
    /// Encoding the arguments, the environment, the names and the user's number: one of them contains a NUL,
    /// the name of a variable is invalid, or an argument cannot be passed safely to a batch file of Windows.
    Arguments,
    /// Finding the program, in the search path or as a file: it does not exist.
    Search,
    /// Making the pipes to the child.
    Pipes,
    /// Giving the child its descriptor of this number: our descriptor is not open, the file cannot be opened, the
    /// child's other descriptor that it should be the same as does not exist, the number is too high, or the OS has no
    /// such descriptors.
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
    /// Giving the child a session of its own: the system has none.
    Session,
    /// Setting the child's umask: the system has none.
    Umask,
    /// Setting the child's priority: a higher one than ours needs privileges, as a rule.
    Priority,
    /// Choosing the child's CPUs: the system has none of them, or cannot choose.
    Cpus,
    /// Setting the child's limits: the OS refuses one, or does not have it.
    Limits,
    /// Having the child end with this process: the system cannot.
    DieWithParent,
    /// Running the program: it is not executable, or its interpreter is missing.
    Execute,
    /// Putting the new process and its pipes onto the port.
    Adopt,
}

/// Why a process could not be started. Nothing is left running.
///
/// ```
/// use tidewaiter::Reactor;
/// use tidewaiter::process::{Command, SpawnError, SpawnStep};
///
/// /// What to tell the user.
/// fn explain(error: &SpawnError) -> String {
///     match error.step {
///         SpawnStep::Search => format!("install {}", error.program.display()),
///         _ => error.to_string(),
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// # struct Silent;
/// # impl tidewaiter::ProcessProtocol for Silent {}
/// let error = reactor.spawn_process(&Command::new("no-such-program"), Silent).unwrap_err();
/// assert_eq!(explain(&error), "install no-such-program");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SpawnError {
    /// The program, as it was given.
    pub program: OsString,
    /// The step that failed.
    pub step: SpawnStep,
    /// The file that the child's descriptor was to be, or the child's working directory, if that was the step.
    pub file: Option<PathBuf>,
    /// The OS's reason.
    pub source: io::Error,
}

impl SpawnError {
    pub(crate) fn at(program: OsString, step: SpawnStep, source: io::Error) -> SpawnError {
        SpawnError {
            program,
            step,
            file: None,
            source,
        }
    }

    /// Whether the child could not do what was asked: the program does not exist, for instance, or the child
    /// may not enter a directory or become a user. False if there was no child that could try, for lack of
    /// descriptors or processes for instance.
    #[must_use]
    pub fn is_in_child(&self) -> bool {
        matches!(
            self.step,
            SpawnStep::Search
                | SpawnStep::Directory
                | SpawnStep::Groups
                | SpawnStep::Group
                | SpawnStep::User
                | SpawnStep::Priority
                | SpawnStep::Cpus
                | SpawnStep::Limits
                | SpawnStep::Execute
        )
    }
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnStep::Begin => "the reactor cannot start processes",
            SpawnStep::Arguments => "invalid arguments or environment",
            SpawnStep::Search => "not found",
            SpawnStep::Pipes => "cannot make its pipes",
            SpawnStep::Descriptor(number) => {
                return write!(f, "cannot give it descriptor {number}");
            }
            SpawnStep::Terminal => "cannot make its terminal",
            SpawnStep::Process => "cannot make a process",
            SpawnStep::Directory => "cannot enter its working directory",
            SpawnStep::Groups => "cannot set its supplementary groups",
            SpawnStep::Group => "cannot run as its group",
            SpawnStep::User => "cannot run as its user",
            SpawnStep::Session => "cannot give it a session",
            SpawnStep::Umask => "cannot set its umask",
            SpawnStep::Priority => "cannot set its priority",
            SpawnStep::Cpus => "cannot choose its CPUs",
            SpawnStep::Limits => "cannot limit it",
            SpawnStep::DieWithParent => "cannot be made to end with its parent",
            SpawnStep::Execute => "cannot be executed",
            SpawnStep::Adopt => "cannot be watched",
        })
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start {:?}: {}", self.program, self.step)?;
        if let Some(file) = &self.file {
            let what = match self.step {
                SpawnStep::Directory => "",
                _ => ", the file",
            };
            write!(f, "{what} {}", file.display())?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SpawnError> for io::Error {
    /// Keeps the kind of the OS's reason, and the error as the inner one.
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}
