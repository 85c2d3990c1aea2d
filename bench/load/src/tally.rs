//! Counts of messages, bytes and latencies, and their report.

use std::time::Duration;

use crate::histogram::Histogram;

/// Counts since the measured time began.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) latencies: Histogram,
}

impl Tally {
    /// Formats the counts as a line of JSON.
    pub(crate) fn report(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let [p50, p99, p999] =
            [500, 990, 999].map(|at| self.latencies.quantile(at).as_secs_f64() * 1e6);
        format!(
            "{{\"seconds\": {seconds:.6}, \"messages\": {}, \"bytes_sent\": {}, \"bytes_received\": {}, \
             \"p50_us\": {p50:.1}, \"p99_us\": {p99:.1}, \"p999_us\": {p999:.1}}}",
            self.messages, self.bytes_sent, self.bytes_received
        )
    }
}
