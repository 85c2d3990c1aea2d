//! Describes a program to start.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::console::Console;
use super::error::{SpawnError, SpawnStep};
use super::limits::Limits;
use super::priority::Priority;
use super::stdio::{Stdio, follow};
use super::terminal::Terminal;

/// The user and groups that the child runs as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
}

/// What holds a child and its descendants together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeOptions {
    pub(crate) own_group: bool,
    pub(crate) own_session: bool,
    pub(crate) own_cgroup: bool,
    pub(crate) die_with_parent: bool,
}

impl Default for TreeOptions {
    fn default() -> TreeOptions {
        TreeOptions {
            own_group: true,
            own_session: false,
            own_cgroup: false,
            die_with_parent: false,
        }
    }
}

/// A program to start as a child process: its arguments, environment, directory and descriptors.
///
/// All three standard streams are pipes by default. The child gets its standard streams and the descriptors
/// added by [`fd`](Command::fd), and none of our other descriptors or handles, inheritable or not.
///
/// On Unix, it gets the default action of every signal, whatever ours is, and no signal is blocked. On Linux, a real-time
/// signal that this program ignores only since it has started its first child can stay ignored.
///
/// It gets our environment as it is when it starts, with the changes of the command. On Unix, no other thread may change
/// the environment meanwhile, as [`std::env::set_var`] demands.
///
/// No later child gets the child's own ends of its pipes. On Windows, these have to be inheritable during the
/// call to `CreateProcessW`: a process that another thread starts at that moment by other means, inheriting
/// whatever is inheritable (as `std::process::Command` does), gets them, too. So the reactor ends a child's
/// pipes once the child and all its descendants have ended, even if other processes hold the other ends; what
/// is in a pipe from the child is still received. Until then, the other process keeps a pipe open that the child has
/// closed. To avoid even that, start processes in one way only, or give the other way a list of handles
/// (`PROC_THREAD_ATTRIBUTE_HANDLE_LIST`). A process that is no descendant of the child, but was given its end
/// of a pipe on purpose (`DuplicateHandle`), can use it only as long as the child or a descendant lives.
///
/// On Linux, a child that gets our environment unchanged is given it where it is in memory. If another thread calls
/// [`std::env::set_var`] at that moment, which is safe in no program of several threads, the start fails or the child gets
/// an incomplete environment. Setting or removing any variable here copies the others, under the lock of `std::env`.
///
/// A program without a directory in its name is looked up in the `PATH` of the *child's* environment; without
/// a `PATH`, in `/bin` and `/usr/bin` on Unix, in `System32` on Windows. A relative path starts from our
/// working directory, not the child's.
///
/// On Windows, the extensions in the `PATHEXT` of the child's environment may be missing from the name, and two kinds of
/// files are run by other programs:
///
/// - Batch files (`.bat` and `.cmd`), by the system's `cmd.exe`. Their arguments are quoted so that none can run a
///   command. An argument that cannot be passed safely, because it contains a line break or is longer than `cmd.exe`
///   takes, is refused with [`InvalidInput`](io::ErrorKind::InvalidInput). What the batch file does with its arguments
///   is up to it.
/// - Scripts that begin with `#!`, by the interpreter that the line names, as on Unix. A Unix path that does not exist,
///   as in `#!/usr/bin/env python3`, is looked up by its last name in the child's `PATH`.
///
/// Both ignore [`arg0`](Command::arg0).
///
/// Nothing is checked before the command is started. Starting fails with
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if a string contains a NUL, or if the name of a variable is
/// empty or contains `=`. Strings need not be Unicode. On Windows, it also fails so if all arguments together, or the
/// value of a variable, are longer than 32 766 units of UTF-16; Unix refuses what is too long in
/// [`SpawnStep::Execute`].
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) raw_arguments: Option<OsString>,
    pub(crate) arg0: Option<OsString>,
    pub(crate) env_clear: bool,
    /// In the order of the calls; a later entry of the same name wins. `None` removes the variable.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    /// Keyed by the child's numbers. The child's other descriptors are closed.
    pub(crate) descriptors: BTreeMap<u32, Stdio>,
    pub(crate) console: Console,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) user: Option<User>,
    pub(crate) limits: Limits,
    pub(crate) umask: Option<u16>,
    pub(crate) priority: Option<Priority>,
    pub(crate) cpus: Option<Vec<usize>>,
    pub(crate) tree: TreeOptions,
}

impl Command {
    /// A command for `program`, without arguments, with our environment and directory, and with pipes for the
    /// standard streams.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            raw_arguments: None,
            arg0: None,
            env_clear: false,
            env: Vec::new(),
            directory: None,
            descriptors: BTreeMap::from([0, 1, 2].map(|number| (number, Stdio::Pipe))),
            console: Console::default(),
            terminal: None,
            user: None,
            limits: Limits::default(),
            umask: None,
            priority: None,
            cpus: None,
            tree: TreeOptions::default(),
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

    /// Windows. Ends the command line with this text, after a space and as it is, for a program that reads its command
    /// line by rules of its own, as `cmd.exe` does.
    ///
    /// Starting the child fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if the program is a batch file, and
    /// with [`Unsupported`](io::ErrorKind::Unsupported) on Unix and in simulations, which have no command lines.
    #[must_use]
    pub fn raw_arguments(mut self, text: impl AsRef<OsStr>) -> Command {
        self.raw_arguments = Some(text.as_ref().to_owned());
        self
    }

    /// Sets the name that the program sees as its own: the program as given by default. On Windows, it must not
    /// contain a quotation mark.
    #[must_use]
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Command {
        self.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets an environment variable. On Windows, the case of a name does not matter.
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

    /// Starts from an empty environment instead of ours. Drops the variables set before this call.
    #[must_use]
    pub fn env_clear(mut self) -> Command {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// Sets the working directory of the child: ours by default.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Command {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets the child's standard input: a pipe by default.
    #[must_use]
    pub fn stdin(self, stdio: impl Into<Stdio>) -> Command {
        self.fd(0, stdio)
    }

    /// Sets the child's standard output: a pipe by default.
    #[must_use]
    pub fn stdout(self, stdio: impl Into<Stdio>) -> Command {
        self.fd(1, stdio)
    }

    /// Sets the child's standard error: a pipe by default.
    #[must_use]
    pub fn stderr(self, stdio: impl Into<Stdio>) -> Command {
        self.fd(2, stdio)
    }

    /// Sets the child's descriptor `child_fd`. From 3 on, descriptors are closed by default.
    ///
    /// The order of the calls does not matter, even if the numbers of two of our descriptors are to be swapped.
    ///
    /// On Windows, a program finds its descriptors from 3 on through its C runtime, which gets their handles from us, as
    /// binary files: `_read(3, …)`, or `os.read(3, …)` in Python. A program without such a runtime has the handles, but
    /// does not know them. There are at most 2048 descriptors, and [`Stdio::Inherit`] is for standard streams alone.
    ///
    /// Simulations have standard streams alone. Where the system lacks what is asked for, starting the child fails with
    /// [`Unsupported`](io::ErrorKind::Unsupported).
    #[must_use]
    pub fn fd(mut self, child_fd: u32, stdio: impl Into<Stdio>) -> Command {
        self.descriptors.insert(child_fd, stdio.into());
        self
    }

    /// Unix. Sets the permissions that the child's new files do not get, such as `0o077`: as ours by default. Bits other
    /// than the lowest nine are ignored.
    ///
    /// Starting such a child fails with [`Unsupported`](io::ErrorKind::Unsupported) on Windows and in simulations.
    #[must_use]
    pub fn umask(mut self, mask: u16) -> Command {
        self.umask = Some(mask & 0o777);
        self
    }

    /// Sets how much of the CPU the child gets while others want it: by default, as we on Unix, and as Windows decides
    /// (normal, unless ours is below that). Descendants have the same priority, except that those of a child above
    /// normal are normal on Windows.
    ///
    /// On Unix, a higher priority than ours needs privileges as a rule. In simulations, starting the child fails with
    /// [`Unsupported`](io::ErrorKind::Unsupported).
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Command {
        self.priority = Some(priority);
        self
    }

    /// Linux and Windows. Runs the child, and what it starts, on these CPUs only, by the numbers that the system gives
    /// them from 0 on: by default, on those that we may use. CPUs that the system does not have are left out.
    ///
    /// Starting the child fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if no CPU is left, or if a number is
    /// above 1023, on Windows above 63; and with [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in
    /// simulations.
    #[must_use]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Command {
        self.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// Windows. Sets the console of the child: [ours](Console::Ours) by default. A child with a
    /// [`terminal`](Command::terminal) has that instead. No effect on other systems.
    ///
    /// No signal but [`Kill`](super::Signal::Kill) reaches a child with a [new](Console::New) console or
    /// [none](Console::None): others fail with [`Unsupported`](io::ErrorKind::Unsupported).
    #[must_use]
    pub fn console(mut self, console: Console) -> Command {
        self.console = console;
        self
    }

    /// Gives the child a terminal: a new one of a [size](super::TerminalSize), or another [`Terminal`]. It replaces the
    /// three standard streams, whatever they were set to, and is the child's controlling terminal: the child leads a
    /// session of its own. A new one belongs to the [user](Command::user) that the child runs as. On Windows it is a
    /// pseudo-console, the only console that the child has.
    ///
    /// We receive the child's output from its descriptor 1. Bytes that we write to its descriptor 0 arrive as if typed
    /// at the terminal: Ctrl-C interrupts the program in its foreground. Both are the terminal's other end: closing
    /// both hangs up the child. Its programs get SIGHUP, or `CTRL_CLOSE_EVENT` on Windows, which kills those that have
    /// not ended a few seconds later. [`Process::resize`](crate::Process::resize) changes the size.
    ///
    /// A pseudo-console writes UTF-8 with control sequences, which draw what the programs did on a screen of that size,
    /// and takes the sequences of keys. At its start, newer versions of Windows ask what kind of terminal we are
    /// (`ESC [ c`) and wait up to three seconds for the answer, such as `ESC [ ? 1 ; 0 c`. Its output ends once the
    /// child and all its descendants have ended; before Windows 11 24H2 only while the process's handle is open, which a
    /// reactor sees to. [`Signal::Terminate`](super::Signal::Terminate) hangs up, and
    /// [`Signal::Interrupt`](super::Signal::Interrupt) is [`Unsupported`](io::ErrorKind::Unsupported): type Ctrl-C.
    ///
    /// Starting such a child fails with [`Unsupported`](io::ErrorKind::Unsupported) in simulations, and on Windows before
    /// version 10 1809, which has no pseudo-consoles.
    #[must_use]
    pub fn terminal(mut self, terminal: impl Into<Terminal>) -> Command {
        self.terminal = Some(terminal.into());
        self
    }

    /// Unix. Runs the child as this user and group, with exactly these supplementary groups: ours by default.
    /// This needs privileges as a rule. Starting the child fails with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for the number `u32::MAX`, and with
    /// [`Unsupported`](io::ErrorKind::Unsupported) on Windows and in simulations.
    ///
    /// On Linux, such a child takes longer to start the more memory we have: until it runs its program it
    /// has a copy of it, where other children share ours.
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

    /// Limits what the child may use: not at all by default.
    ///
    /// Starting the child fails with [`Unsupported`](io::ErrorKind::Unsupported) for a limit that the system does not
    /// enforce.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Command {
        self.limits = limits;
        self
    }

    /// Refuses a user, a session and a umask, which only Unix gives to a child.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the command asks for one.
    pub(crate) fn refuse_features_of_unix(&self) -> Result<(), (SpawnStep, io::Error)> {
        let unsupported = |message: &str| io::Error::new(io::ErrorKind::Unsupported, message);
        if let Some(user) = &self.user {
            let User {
                user,
                group,
                groups,
            } = user;
            let message = format!(
                "this system cannot run a child as user {user}, group {group}, groups {groups:?}"
            );
            return Err((SpawnStep::User, unsupported(&message)));
        }
        if self.tree.own_session {
            let error = unsupported("this system gives no session to a child");
            return Err((SpawnStep::Session, error));
        }
        if self.umask.is_some() {
            let error = unsupported("this system has no umask");
            return Err((SpawnStep::Umask, error));
        }
        Ok(())
    }

    /// Refuses raw arguments, which only Windows has.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the command has some.
    pub(crate) fn refuse_raw_arguments(&self) -> io::Result<()> {
        match self.raw_arguments {
            None => Ok(()),
            Some(_) => {
                let message = "this system has no command lines, and so no raw arguments";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    /// Returns the descriptors that are the same as others of the child, each with the other one.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if there is no such descriptor.
    pub(crate) fn followers(&self) -> Result<Vec<(u32, u32)>, (SpawnStep, io::Error)> {
        follow(&self.descriptors, self.first_asked())
    }

    /// Returns where the child's descriptor `child_fd` leads, if it was given.
    pub(crate) fn stdio(&self, child_fd: u32) -> Option<&Stdio> {
        self.descriptors.get(&child_fd)
    }

    /// Returns the first descriptor that a terminal does not replace.
    pub(crate) fn first_asked(&self) -> u32 {
        if self.terminal.is_some() { 3 } else { 0 }
    }

    /// Returns the three standard streams, in simulations, which have nothing else.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the command asks for more.
    pub(crate) fn standard_streams(&self) -> Result<[&Stdio; 3], (SpawnStep, io::Error)> {
        self.refuse_features_of_unix()?;
        if self.terminal.is_some() {
            let message = "a simulated child has no terminal";
            let error = io::Error::new(io::ErrorKind::Unsupported, message);
            return Err((SpawnStep::Terminal, error));
        }
        for (&number, stdio) in &self.descriptors {
            let message = match stdio {
                Stdio::Closed => continue,
                Stdio::Descriptor(_) => "a simulated child has no descriptors of ours",
                Stdio::File { .. } => "a simulated child has no files",
                _ if number > 2 => "a simulated child has no descriptors but the standard streams",
                _ => continue,
            };
            let error = io::Error::new(io::ErrorKind::Unsupported, message);
            return Err((SpawnStep::Descriptor(number), error));
        }
        Ok([0, 1, 2].map(|number| &self.descriptors[&number]))
    }

    /// Returns the error of a start that failed at this step.
    pub(crate) fn failed(&self, (step, source): (SpawnStep, io::Error)) -> SpawnError {
        let stdio = match step {
            SpawnStep::Descriptor(number) => self.descriptors.get(&number),
            _ => None,
        };
        let file = match (step, stdio) {
            (SpawnStep::Directory, _) => self.directory.clone(),
            (_, Some(Stdio::File { path, .. })) => Some(path.clone()),
            _ => None,
        };
        SpawnError {
            program: self.program.clone(),
            step,
            file,
            source,
        }
    }

    /// Returns the program as it was given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }
}
