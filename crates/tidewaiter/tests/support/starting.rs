//! Processes that the standard library starts.

use std::io::{Error, Result};
use std::process::{Child, Command};

/// So often a process is lost at most before a test fails.
const LOST_MAX: usize = 10;

/// Starts a process, and again if it is lost.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    let mut lost = 0;
    loop {
        match command.spawn() {
            Err(error) if is_lost(&error) && lost < LOST_MAX => lost += 1,
            result => return result,
        }
    }
}

/// Whether a process ended before its program began, and nobody knows why. Wine loses one of some thousands; the library
/// tries a second time by itself.
fn is_lost(error: &Error) -> bool {
    const ERROR_INTERNAL_ERROR: i32 = 1359;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_INTERNAL_ERROR)
}
