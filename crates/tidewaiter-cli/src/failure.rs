//! Failures of the command: the message and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why nothing was done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing is wrong: help was asked for.
    Print(String),
    /// The command line is wrong.
    Usage(String),
    /// The outside world refused.
    Failed(String),
    /// Something else went wrong, which has an exit code of its own.
    Exit(String, u8),
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub(crate) fn usage(message: impl ToString) -> Failure {
        Failure::Usage(message.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub(crate) fn failed(message: impl ToString) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// Says it in one line, and gives the exit code for it.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Failure::Print(text) => return crate::commands::print(&text),
            Failure::Usage(message) => (message, 2),
            Failure::Failed(message) => (message, 1),
            Failure::Exit(message, code) => (message, code),
        };
        // Nobody may be there to read it.
        let _ = io::stderr().write_all(format!("tidewaiter: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}
