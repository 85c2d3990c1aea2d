//! The options of a command to run: its input, and the limits on its output and time.

use std::time::Duration;

use bytes::Bytes;

use crate::process::Command;

/// How much output a command may write unless set.
const OUTPUT_LIMIT: usize = 16 << 20;

/// A command to run, with its input and its limits: see [`Reactor::run_command`](crate::Reactor::run_command).
#[derive(Clone, Debug)]
pub struct CommandOptions {
    pub(super) command: Command,
    pub(super) input: Bytes,
    pub(super) output_limit: usize,
    pub(super) time_limit: Option<Duration>,
    pub(super) grace: Duration,
}

impl CommandOptions {
    /// Runs this command with empty input, and with the default limits.
    ///
    /// What the command says of its standard streams is kept: output is gathered from those that are pipes, and input
    /// is written to a pipe alone.
    #[must_use]
    pub fn new(command: Command) -> CommandOptions {
        CommandOptions {
            command,
            input: Bytes::new(),
            output_limit: OUTPUT_LIMIT,
            time_limit: None,
            grace: Duration::ZERO,
        }
    }

    /// Sets what the command reads from its standard input: nothing by default. A command need not read it.
    #[must_use]
    pub fn input(mut self, input: impl Into<Bytes>) -> CommandOptions {
        self.input = input.into();
        self
    }

    /// Sets how many bytes of standard output and standard error together are kept: 16 MiB by default. A command that
    /// writes more is ended at once, with [`CommandFailure::TooMuchOutput`](crate::CommandFailure::TooMuchOutput).
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> CommandOptions {
        self.output_limit = bytes;
        self
    }

    /// Sets how long the command may take, until its output is complete: without limit by default. After this, the
    /// command and its tree are [killed](crate::Process::kill), with
    /// [`CommandFailure::TimedOut`](crate::CommandFailure::TimedOut). Waiting in a [pool](crate::CommandPool) does not count.
    #[must_use]
    pub fn time_limit(mut self, limit: impl Into<Option<Duration>>) -> CommandOptions {
        self.time_limit = limit.into();
        self
    }

    /// Sets how long the command has to end by itself, once a limit or a cancellation
    /// [asks it to](crate::Process::terminate_then_kill), before it is killed: zero by default, which kills it without
    /// asking.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> CommandOptions {
        self.grace = grace;
        self
    }
}

impl From<Command> for CommandOptions {
    fn from(command: Command) -> CommandOptions {
        CommandOptions::new(command)
    }
}
