//! What to start.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::error::SpawnStep;
use super::stdio::Stdio;
use crate::port::RawDescriptor;

/// The pseudo-terminal of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Our descriptors of its two ends; without any, it is made.
    pub(crate) ends: Option<TerminalEnds>,
    /// Rows and columns.
    pub(crate) size: Option<(u16, u16)>,
}

/// The two ends of a pseudo-terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalEnds {
    pub(crate) master: RawDescriptor,
    pub(crate) slave: RawDescriptor,
}

/// Whose process the child is to be.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
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
    pub(crate) without_window: bool,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) user: Option<User>,
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
            without_window: false,
            terminal: None,
            user: None,
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

    /// Windows. When we have no console ourselves, as services and graphical programs, a console program
    /// gets one that is not shown. Without effect on other programs, and on other systems.
    #[must_use]
    pub fn without_window(mut self) -> Command {
        self.without_window = true;
        self
    }

    /// Unix. Gives the child a new pseudo-terminal: a session of its own, with the terminal as its
    /// controlling one and as its three standard streams, whatever these were set to.
    ///
    /// What the child writes comes from its descriptor 1; what is written to its descriptor 0 is typed at
    /// the terminal, which echoes it, as it is set up to do. Both pipes are of the terminal's other end:
    /// the child is hung up when both are closed.
    ///
    /// On Windows, and in a simulation, such a child is refused.
    #[must_use]
    pub fn pty(mut self) -> Command {
        let size = self.terminal.and_then(|terminal| terminal.size);
        self.terminal = Some(Terminal { ends: None, size });
        self
    }

    /// As [`pty`](Command::pty), but with a pseudo-terminal that is open already, given by our
    /// descriptors of its two ends. Both are copied when the child is started, and may be closed then:
    /// while the slave stays open, the child's end does not end what can be read.
    #[must_use]
    pub fn pty_of(mut self, master: RawDescriptor, slave: RawDescriptor) -> Command {
        let size = self.terminal.and_then(|terminal| terminal.size);
        let ends = Some(TerminalEnds { master, slave });
        self.terminal = Some(Terminal { ends, size });
        self
    }

    /// How many rows and columns of characters the child's pseudo-terminal has, which it is given with
    /// this.
    #[must_use]
    pub fn window_size(mut self, rows: u16, columns: u16) -> Command {
        let ends = self.terminal.and_then(|terminal| terminal.ends);
        let size = Some((rows, columns));
        self.terminal = Some(Terminal { ends, size });
        self
    }

    /// Unix. The child runs as the user and group of these numbers, with these supplementary groups and
    /// no others; ours, unless set. That needs privileges as a rule.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32, groups: impl Into<Vec<u32>>) -> Command {
        let groups = groups.into();
        self.user = Some(User {
            user,
            group,
            groups,
        });
        self
    }

    /// Unix. Whether the child leads a process group: its own one, or that of its terminal's session.
    #[cfg(unix)]
    pub(crate) fn leads_group(&self) -> bool {
        self.own_group || self.terminal.is_some()
    }

    /// What the standard streams are, for systems without what belongs to Unix.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when that is asked for.
    pub(crate) fn standard_streams(&self) -> Result<[Stdio; 3], (SpawnStep, io::Error)> {
        let unsupported = |message: &str| io::Error::new(io::ErrorKind::Unsupported, message);
        if self.terminal.is_some() {
            let error = unsupported("no child has a pseudo-terminal here");
            return Err((SpawnStep::Terminal, error));
        }
        if let Some(user) = &self.user {
            let User {
                user,
                group,
                groups,
            } = user;
            let message = format!("no child can be of user {user}, group {group}, {groups:?} here");
            return Err((SpawnStep::User, unsupported(&message)));
        }
        for (&number, &stdio) in &self.descriptors {
            let refused = match stdio {
                Stdio::Closed => false,
                Stdio::Descriptor(_) => true,
                _ => number > 2,
            };
            if refused {
                let error = unsupported("a child has standard streams alone here");
                return Err((SpawnStep::Descriptor(number), error));
            }
        }
        Ok([0, 1, 2].map(|number| self.descriptors[&number]))
    }

    /// The program, as given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }
}
