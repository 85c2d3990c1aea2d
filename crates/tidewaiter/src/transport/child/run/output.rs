//! What comes of a command that was run.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::process::{ExitStatus, SpawnError, Usage};

/// What a command did: how it ended, what it wrote, and what it used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output; empty unless that was a pipe.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error; empty unless that was a pipe.
    pub stderr: Vec<u8>,
    /// What it used of the machine: see [`Process::usage`](crate::Process::usage).
    pub usage: Option<Usage>,
}

/// A command was not started, or was ended before its own end.
///
/// ```
/// use tidewaiter::process::Command;
/// use tidewaiter::{CommandError, CommandFailure, CommandOutput, Reactor};
///
/// let reactor = Reactor::new()?;
/// let command = Command::new("no-such-program");
/// let run = reactor.run_command(command, |reactor, result| {
///     let result: Result<CommandOutput, CommandError> = result;
///     match result {
///         Ok(output) => println!("{}", output.status),
///         Err(error) if matches!(error.failure, CommandFailure::Start(_)) => println!("{error}"),
///         Err(error) => println!("it was stopped: {error}"),
///     }
///     reactor.stop();
/// });
/// reactor.run()?;
/// assert!(run.is_over());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandError {
    /// Why.
    pub failure: CommandFailure,
    /// What it did until then: up to [the limit](crate::CommandOptions::output_limit), what it wrote before it was
    /// killed. If it did not end although it was killed, its status is [`ExitStatus::Unknown`]: that takes 5 s, and an error
    /// in the log names it. `None` if it was not started, or if a stopping reactor left it running.
    pub output: Option<Box<CommandOutput>>,
}

/// Why a command was not started, or was ended before its own end.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandFailure {
    /// It could not be started.
    Start(SpawnError),
    /// It took longer than [`CommandOptions::time_limit`](crate::CommandOptions::time_limit): this long.
    TimedOut(Duration),
    /// It wrote more than [`CommandOptions::output_limit`](crate::CommandOptions::output_limit): this many bytes.
    TooMuchOutput(usize),
    /// It was [cancelled](crate::CommandRun::cancel).
    Cancelled,
    /// The reactor stopped, before the command was started or while it ran.
    Stopped,
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandFailure::Start(error) => write!(f, "{error}"),
            CommandFailure::TimedOut(limit) => {
                write!(f, "the command took longer than {limit:?}")
            }
            CommandFailure::TooMuchOutput(limit) => {
                write!(f, "the command wrote more than {limit} bytes")
            }
            CommandFailure::Cancelled => f.write_str("the command was cancelled"),
            CommandFailure::Stopped => f.write_str("the reactor stopped"),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.failure {
            // The message is the spawn error's own, so its source is ours.
            CommandFailure::Start(error) => error.source(),
            _ => None,
        }
    }
}

impl From<CommandError> for io::Error {
    /// Has the kind of the failure, and the error as the inner one.
    fn from(error: CommandError) -> io::Error {
        let kind = match &error.failure {
            CommandFailure::Start(error) => error.source.kind(),
            CommandFailure::TimedOut(_) => io::ErrorKind::TimedOut,
            CommandFailure::TooMuchOutput(_) => io::ErrorKind::InvalidData,
            CommandFailure::Cancelled => io::ErrorKind::Interrupted,
            CommandFailure::Stopped => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}
