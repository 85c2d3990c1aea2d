//! Totals of all sessions since the server started.

use std::cell::Cell;

use tidewaiter::process::ExitStatus;

/// Counts of all sessions so far.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) connections: Cell<u64>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) spawn_failures: Cell<u64>,
    pub(super) exits_success: Cell<u64>,
    pub(super) exits_failure: Cell<u64>,
    pub(super) exits_signal: Cell<u64>,
    pub(super) exits_unknown: Cell<u64>,
}

impl Totals {
    /// Counts how a child ended.
    pub(super) fn count_exit(&self, status: ExitStatus) {
        let count = match status {
            ExitStatus::Code(0) => &self.exits_success,
            ExitStatus::Code(_) => &self.exits_failure,
            ExitStatus::Signal { .. } => &self.exits_signal,
            _ => &self.exits_unknown,
        };
        add(count, 1);
    }
}

/// Adds to a count.
pub(super) fn add(count: &Cell<u64>, number: u64) {
    count.set(count.get() + number);
}
