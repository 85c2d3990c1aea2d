//! Failures of the command: their messages and exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

/// The reason why the command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user asked for help or the version, which is no failure: print the text.
    Print(String),
    /// The command line is wrong.
    Usage(String),
    /// The system or the network refused something.
    Failed(String),
    /// A failure with an exit code of its own.
    Exit(String, u8),
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
    pub(crate) fn usage(message: impl ToString) -> Failure {
        Failure::Usage(message.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
    pub(crate) fn failed(message: impl ToString) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// Prints the message in one line, and returns its exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Failure::Print(text) => return crate::commands::print(&text),
            Failure::Usage(message) => (message, 2),
            Failure::Failed(message) => (message, 1),
            Failure::Exit(message, code) => (message, code),
        };
        // Standard error may be closed; the exit code still reports the failure.
        let _ = io::stderr().write_all(format!("tidewaiter: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}
