//! Reasons, in a form that can be compared.

use tidewaiter::Reason;

/// The variant of a reason.
pub(crate) fn kind_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::Done => "done",
        Reason::Reset(_) => "reset",
        Reason::Aborted => "aborted",
        Reason::TimedOut(_) => "timed out",
        Reason::Stopped => "stopped",
        Reason::Panicked => "panicked",
        _ => "another reason",
    }
}
