//! What to start.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::port::RawDescriptor;

/// What one of a child's descriptors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port: we write to the child's standard input, and read from every other
    /// descriptor.
    #[default]
    Pipe,
    /// A pipe that we write to and the child reads, whatever the descriptor's number.
    PipeToChild,
    /// A pipe that the child writes to and we read, whatever the descriptor's number.
    PipeFromChild,
    /// The null device.
    Null,
    /// Our own descriptor of that number; closed if ours is.
    Inherit,
    /// Our descriptor of this number (Unix), which must be open when the child is started. The child
    /// gets a copy; nothing else is done with ours, and it may be closed once the child was started.
    Descriptor(RawDescriptor),
    /// Any but standard input and output: wherever standard output leads.
    Stdout,
    /// Nothing: it is closed (Unix), or a null handle (Windows).
    Closed,
}

impl Stdio {
    /// Which way bytes go through the pipe at `child_fd`, if it is one.
    pub(crate) fn direction(self, child_fd: u32) -> Option<PipeDirection> {
        match self {
            Stdio::Pipe if child_fd == 0 => Some(PipeDirection::ToChild),
            Stdio::Pipe => Some(PipeDirection::FromChild),
            Stdio::PipeToChild => Some(PipeDirection::ToChild),
            Stdio::PipeFromChild => Some(PipeDirection::FromChild),
            _ => None,
        }
    }
}

/// Which way bytes go through a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeDirection {
    /// We write, the child reads.
    ToChild,
    /// The child writes, we read.
    FromChild,
}

/// A program to start as a child process: its arguments, environment, directory and descriptors.
///
/// All three standard streams are pipes unless set otherwise. Nothing but them and what
/// [`fd`](Command::fd) adds is passed on: no other descriptor or handle of ours, inheritable or not,
/// reaches the child.
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
    /// By their numbers in the child; what is missing is closed there.
    pub(crate) descriptors: BTreeMap<u32, Stdio>,
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
            descriptors: BTreeMap::from([0, 1, 2].map(|number| (number, Stdio::Pipe))),
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
    /// As [`fd`](Command::fd).
    #[must_use]
    pub fn stdin(self, stdio: Stdio) -> Command {
        self.fd(0, stdio)
    }

    /// Where standard output goes.
    ///
    /// # Panics
    ///
    /// As [`fd`](Command::fd).
    #[must_use]
    pub fn stdout(self, stdio: Stdio) -> Command {
        self.fd(1, stdio)
    }

    /// Where standard error goes.
    #[must_use]
    pub fn stderr(self, stdio: Stdio) -> Command {
        self.fd(2, stdio)
    }

    /// What the child's descriptor `child_fd` is: closed, unless set, from 3 on.
    ///
    /// Where numbers meet, as when two of ours are swapped, each comes to its place. Windows has
    /// standard streams alone: there, [`Port::spawn`](crate::port::Port::spawn) refuses what goes
    /// beyond.
    ///
    /// # Panics
    ///
    /// For [`Stdio::Stdout`] as standard input or output.
    #[must_use]
    pub fn fd(mut self, child_fd: u32, stdio: Stdio) -> Command {
        assert!(
            stdio != Stdio::Stdout || child_fd > 1,
            "standard input and output cannot lead wherever standard output leads"
        );
        self.descriptors.insert(child_fd, stdio);
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

    /// What the standard streams are, for systems that have no other descriptors to pass on.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when others are asked for.
    pub(crate) fn standard_streams(&self) -> io::Result<[Stdio; 3]> {
        let mut others = self.descriptors.range(3..);
        if let Some((number, _)) = others.find(|(_, stdio)| **stdio != Stdio::Closed) {
            let message = format!("only standard streams can be passed on here, not {number}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok([0, 1, 2].map(|number| self.descriptors[&number]))
    }

    /// The program, as given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }
}
