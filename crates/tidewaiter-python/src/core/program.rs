//! Converts what Python tells of a program to start, and the status with which the program ends.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use tidewaiter::ChildFd;
use tidewaiter::port::RawDescriptor;
use tidewaiter::process::{
    Command, Console, ExitStatus, Limits, Priority, Stdio, Terminal, TerminalSize,
};

use crate::core::event_loop::duration;

/// The target of a child's descriptor, as Python gives it: one of our descriptors, or a word.
#[derive(FromPyObject)]
enum Target {
    Descriptor(RawDescriptor),
    Word(String),
}

impl Target {
    fn stdio(self) -> PyResult<Stdio> {
        Ok(match self {
            Target::Descriptor(number) => Stdio::Descriptor(number),
            Target::Word(word) => match word.as_str() {
                "w" => Stdio::PipeToChild,
                "r" => Stdio::PipeFromChild,
                "rw" => Stdio::Duplex,
                "null" => Stdio::Null,
                "inherit" => Stdio::Inherit,
                "output" => Stdio::SameAs(1),
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "{word:?} should be \"r\", \"w\" or an int"
                    )));
                }
            },
        })
    }
}

/// A terminal for the child, as Python gives it.
#[derive(FromPyObject)]
enum TerminalOf {
    /// A new one, with this many rows and columns.
    Size((u16, u16)),
    /// `[master, slave]` of an open pseudo-terminal; an empty list for a new one of the usual size.
    Ends(Vec<RawDescriptor>),
}

impl TerminalOf {
    fn terminal(self) -> Terminal {
        match self {
            TerminalOf::Size((rows, columns)) => Terminal::new(TerminalSize { rows, columns }),
            TerminalOf::Ends(ends) => match ends[..] {
                [master, slave] => Terminal::of(master, slave),
                _ => Terminal::new(TerminalSize::default()),
            },
        }
    }
}

/// The limits of a child, as Python gives them: `None` for each that is not set.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct LimitsOf {
    memory: Option<u64>,
    cpu_time: Option<f64>,
    open_files: Option<u64>,
    processes: Option<u32>,
}

impl LimitsOf {
    fn limits(self) -> Limits {
        let mut limits = Limits::default();
        limits.memory = self.memory;
        limits.cpu_time = self.cpu_time.map(duration);
        limits.open_files = self.open_files;
        limits.processes = self.processes;
        limits
    }
}

/// How a child is tied to us and to its own descendants, and what it may use, as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Confinement {
    /// Whether the child leads a process group.
    group: bool,
    /// Whether the child leads a session.
    session: bool,
    dies_with_us: bool,
    umask: Option<u16>,
    nice: Option<i8>,
    cpus: Option<Vec<usize>>,
    limits: Option<LimitsOf>,
    /// Windows: `ours`, `hidden`, `new` or `none`.
    console: String,
    /// Windows: what follows the arguments on the command line, as it is.
    raw_arguments: Option<OsString>,
}

impl Confinement {
    fn apply(self, mut command: Command) -> Command {
        command = command
            .own_group(self.group)
            .die_with_parent(self.dies_with_us)
            .console(match self.console.as_str() {
                "hidden" => Console::Hidden,
                "new" => Console::New,
                "none" => Console::None,
                _ => Console::Ours,
            });
        if self.session {
            command = command.own_session(true);
        }
        if let Some(mask) = self.umask {
            command = command.umask(mask);
        }
        if let Some(nice) = self.nice {
            command = command.priority(Priority::nice(nice));
        }
        if let Some(cpus) = self.cpus {
            command = command.cpus(cpus);
        }
        if let Some(limits) = self.limits {
            command = command.limits(limits.limits());
        }
        if let Some(text) = self.raw_arguments {
            command = command.raw_arguments(text);
        }
        command
    }
}

/// The program to start, as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Program {
    pub(crate) executable: OsString,
    args: Vec<OsString>,
    /// The environment; `None` to inherit ours.
    env: Option<Vec<(OsString, OsString)>>,
    path: Option<PathBuf>,
    /// The child's descriptors, each as its number in the child and its target.
    fds: Vec<(ChildFd, Target)>,
    /// The terminal that takes the place of the standard streams.
    terminal: Option<TerminalOf>,
    /// The user, the group, and the supplementary groups.
    user: Option<(u32, u32, Vec<u32>)>,
    #[pyo3(default)]
    confinement: Option<Confinement>,
}

impl Program {
    /// Reads what Python describes. An error names the part that is wrong, and the cause.
    pub(crate) fn read(described: &Bound<'_, PyAny>) -> PyResult<Program> {
        described
            .extract()
            .map_err(|error| of_innermost_part(described.py(), error))
    }

    pub(crate) fn command(self) -> PyResult<Command> {
        let mut args = self.args.into_iter();
        let mut command = Command::new(self.executable);
        command = match self.confinement {
            Some(confinement) => confinement.apply(command),
            // On Unix, children stay in our group, so that a signal from the terminal reaches them, as usual.
            None => command.own_group(cfg!(windows)).console(Console::Hidden),
        };
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
        if let Some(terminal) = self.terminal {
            command = command.terminal(terminal.terminal());
        }
        if let Some((user, group, groups)) = self.user {
            command = command.user(user, group, groups);
        }
        Ok(command)
    }
}

/// The error of the innermost part that could not be read, under the name by which programs know that part. Each error
/// of pyo3's names a field of ours, and has the error of what the field contains as its cause.
fn of_innermost_part(py: Python<'_>, error: PyErr) -> PyErr {
    let mut name = None;
    let mut innermost = error;
    while let Some(cause) = innermost.cause(py) {
        let text = innermost.value(py).to_string();
        name = text.rsplit_once('.').map(|(_, field)| field.to_owned());
        innermost = cause;
    }
    // Others may not be made of a text.
    let is_plain = innermost.is_instance_of::<PyTypeError>(py)
        || innermost.is_instance_of::<PyOverflowError>(py);
    let (Some(name), true) = (name, is_plain) else {
        return innermost;
    };
    let text = format!("{name}: {}", innermost.value(py));
    PyErr::from_type(innermost.get_type(py), text)
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

/// The status as `subprocess.Popen.returncode` has it: the exit code, or the negative number of the signal.
pub(crate) fn return_code(status: ExitStatus) -> i64 {
    match status {
        ExitStatus::Code(code) => i64::from(code),
        ExitStatus::Signal { number, .. } => -i64::from(number),
        // As `asyncio` has it for a status that somebody else took.
        _ => 255,
    }
}
