//! What to start.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where one of a child's standard streams leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port.
    #[default]
    Pipe,
    /// The null device.
    Null,
    /// Our own stream of that number.
    Inherit,
    /// Standard error only: wherever standard output leads.
    Stdout,
}

/// A program to start as a child process: its arguments, environment, directory and standard streams.
///
/// All three standard streams are pipes unless set otherwise. Nothing but them is passed on: no other
/// descriptor or handle of ours, inheritable or not, reaches the child.
///
/// The program is searched for in the directories of the *child's* `PATH` unless it names a directory.
/// A relative path is taken from our own working directory. On Windows, `.exe` is added to a name
/// without an extension, and batch files are refused, because their arguments cannot be quoted safely:
/// run `cmd.exe` with `/c` for these.
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) arg0: Option<OsString>,
    pub(crate) env_clear: bool,
    /// In order; a later entry of the same name wins. `None` removes.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) stdio: [Stdio; 3],
    pub(crate) own_group: bool,
}

impl Command {
    /// Starts `program`, without arguments, in our environment and directory, with pipes.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            arg0: None,
            env_clear: false,
            env: Vec::new(),
            directory: None,
            stdio: [Stdio::Pipe; 3],
            own_group: true,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What the program sees as its own name: the program as given, unless set.
    #[must_use]
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Command {
        self.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets an environment variable. On Windows, names differing in case only are the same.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env
            .push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Command {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Starts from an empty environment instead of ours; forgets what was set before this call.
    #[must_use]
    pub fn env_clear(mut self) -> Command {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The directory to start in: ours, unless set.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Command {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Where standard input comes from.
    ///
    /// # Panics
    ///
    /// For [`Stdio::Stdout`], which is for standard error alone.
    #[must_use]
    pub fn stdin(mut self, stdio: Stdio) -> Command {
        assert!(
            stdio != Stdio::Stdout,
            "only standard error can be merged into standard output"
        );
        self.stdio[0] = stdio;
        self
    }

    /// Where standard output goes.
    ///
    /// # Panics
    ///
    /// For [`Stdio::Stdout`], which is for standard error alone.
    #[must_use]
    pub fn stdout(mut self, stdio: Stdio) -> Command {
        assert!(
            stdio != Stdio::Stdout,
            "only standard error can be merged into standard output"
        );
        self.stdio[1] = stdio;
        self
    }

    /// Where standard error goes.
    #[must_use]
    pub fn stderr(mut self, stdio: Stdio) -> Command {
        self.stdio[2] = stdio;
        self
    }

    /// Whether the child leads a process group of its own (Unix: `setpgid`; Windows:
    /// `CREATE_NEW_PROCESS_GROUP`), so that Ctrl-C at our terminal does not reach it and
    /// [`SignalTarget::Tree`](super::SignalTarget::Tree) reaches all of it: true unless set.
    #[must_use]
    pub fn own_group(mut self, own_group: bool) -> Command {
        self.own_group = own_group;
        self
    }

    /// The program, as given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }
}
