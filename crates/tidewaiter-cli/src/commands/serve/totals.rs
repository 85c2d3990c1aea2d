//! Totals of all sessions since the server started.

use std::cell::Cell;

/// What happened so far.
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

/// Adds to a count.
pub(super) fn add(count: &Cell<u64>, number: u64) {
    count.set(count.get() + number);
}
