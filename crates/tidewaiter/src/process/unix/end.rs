//! Decodes how a process ended from the kernel's report.

use rustix::process::WaitIdStatus;

use crate::process::ExitStatus;

/// Returns how the process ended, or `None` if this is no end: the kernel reports the stops of a traced child,
/// too.
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
