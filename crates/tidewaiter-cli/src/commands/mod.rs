//! One file, or folder, for each command.

pub(crate) mod connect;
pub(crate) mod info;
mod metrics;
pub(crate) mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

/// Writes to standard output.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        // A pipe into `head`, say.
        Err(_) => ExitCode::FAILURE,
    }
}
