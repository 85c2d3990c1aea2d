//! How a process ended, in the words of the kernel.

use rustix::process::WaitIdStatus;

use crate::process::ExitStatus;

pub(crate) fn decode(status: &WaitIdStatus) -> ExitStatus {
    if let Some(code) = status.exit_status() {
        return ExitStatus::Code(code.cast_unsigned());
    }
    match status.terminating_signal() {
        Some(number) => ExitStatus::Signal {
            number,
            core_dumped: status.dumped(),
        },
        // Only ends were asked for, and these are two ways of ending.
        None => ExitStatus::Unknown,
    }
}
