//! Converts what Python tells of a program to start, and the status with which the program ends.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use tidewaiter::ChildFd;
use tidewaiter::port::RawDescriptor;
use tidewaiter::process::{Command, Console, ExitStatus, Stdio, Terminal, TerminalSize};

/// The target of a child's descriptor, as Python gives it: one of our descriptors, or a pipe's direction.
#[derive(FromPyObject)]
enum Target {
    Descriptor(RawDescriptor),
    Direction(String),
}

impl Target {
    fn stdio(self) -> PyResult<Stdio> {
        match self {
            Target::Descriptor(number) => Ok(Stdio::Descriptor(number)),
            Target::Direction(way) if way == "w" => Ok(Stdio::PipeToChild),
            Target::Direction(way) if way == "r" => Ok(Stdio::PipeFromChild),
            Target::Direction(way) => Err(PyTypeError::new_err(format!(
                "{way:?} should be \"r\", \"w\" or an int"
            ))),
        }
    }
}

/// The program to start, as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Program {
    executable: OsString,
    args: Vec<OsString>,
    /// The environment; `None` to inherit ours.
    env: Option<Vec<(OsString, OsString)>>,
    path: Option<PathBuf>,
    /// The child's descriptors, each as its number in the child and its target.
    fds: Vec<(ChildFd, Target)>,
    /// `(master, slave)` for an open pseudo-terminal, an empty list for a new one, `None` for no terminal.
    pty: Option<Vec<RawDescriptor>>,
    /// The user, the group, and the supplementary groups.
    user: Option<(u32, u32, Vec<u32>)>,
}

impl Program {
    pub(crate) fn command(self) -> PyResult<Command> {
        let mut args = self.args.into_iter();
        let mut command = Command::new(self.executable)
            // On Unix, children stay in our group, so that a signal from the terminal reaches them, as usual.
            .own_group(cfg!(windows))
            .console(Console::Hidden);
        if let Some(name) = args.next() {
            command = command.arg0(name);
        }
        command = command.args(args);
        if let Some(env) = self.env {
            command = command.env_clear();
            for (name, value) in env {
                command = command.env(name, value);
            }
        }
        if let Some(path) = self.path {
            command = command.current_dir(path);
        }
        for number in 0..3 {
            command = command.fd(number, Stdio::Closed);
        }
        for (number, target) in self.fds {
            command = command.fd(number, target.stdio()?);
        }
        command = match self.pty.as_deref() {
            None => command,
            Some([master, slave]) => command.terminal(Terminal::of(*master, *slave)),
            Some(_) => command.terminal(TerminalSize::default()),
        };
        if let Some((user, group, groups)) = self.user {
            command = command.user(user, group, groups);
        }
        Ok(command)
    }
}

/// The status as the OS's wait calls encode it on Unix; the exit code on Windows.
pub(crate) fn encoded(status: ExitStatus) -> i64 {
    match status {
        ExitStatus::Code(code) if cfg!(windows) => i64::from(code),
        ExitStatus::Code(code) => i64::from(code) << 8,
        ExitStatus::Signal {
            number,
            core_dumped,
        } => i64::from(number) | if core_dumped { 0x80 } else { 0 },
        // The status is unknown. Report a failure rather than claim success.
        _ => 255 << 8,
    }
}
