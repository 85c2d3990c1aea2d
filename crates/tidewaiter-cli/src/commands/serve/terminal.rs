//! Typing at the terminal of a COMMAND, and hanging up.

use std::time::Duration;

use tidewaiter::process::Signal;

/// The signal that a terminal sends to its session when it hangs up.
pub(super) const HANG_UP: Option<Signal> = if cfg!(unix) {
    Some(Signal::Number(1))
} else {
    None
};

/// Interval at which the server ends the input once more.
pub(super) const END_AGAIN: Duration = Duration::from_secs(1);

/// The keys that end the input. A terminal that gathers lines takes the first Ctrl-D after an unfinished line for the
/// end of that line.
pub(super) fn end_of_input(in_line: bool) -> &'static [u8] {
    match (cfg!(windows), in_line) {
        (false, false) => b"\x04",
        (false, true) => b"\x04\x04",
        (true, false) => b"\x1a\r",
        (true, true) => b"\r\x1a\r",
    }
}
