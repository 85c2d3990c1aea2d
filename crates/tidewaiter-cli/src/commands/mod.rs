//! The commands, one module for each, and the server of metrics.

pub(crate) mod connect;
pub(crate) mod info;
mod metrics;
pub(crate) mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

/// The most bytes in a UDP datagram over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Writes to standard output.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        // The reader is gone, such as `head`: there is nobody to tell.
        Err(_) => ExitCode::FAILURE,
    }
}
