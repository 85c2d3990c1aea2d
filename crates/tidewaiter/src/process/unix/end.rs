//! How a process ended, in the words of the kernel.

use rustix::process::WaitIdStatus;

use crate::process::ExitStatus;

/// How it ended, if this is an end: of a child that we trace, its stops are told, too, asked for or not.
pub(crate) fn decode(status: &WaitIdStatus) -> Option<ExitStatus> {
    if let Some(code) = status.exit_status() {
        return Some(ExitStatus::Code(code.cast_unsigned()));
    }
    let number = status.terminating_signal()?;
    Some(ExitStatus::Signal {
        number,
        core_dumped: status.dumped(),
    })
}
