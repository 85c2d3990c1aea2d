//! Time, and the CPU time of this process alone.

use std::time::{Duration, Instant};

use crate::system::cpu_time;

/// Measures from when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    started: Instant,
    cpu: Duration,
}

impl Watch {
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a watch that starts is no default"
    )]
    pub fn new() -> Watch {
        Watch {
            started: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// Microseconds of the clock on the wall.
    #[must_use]
    pub fn wall_us(&self) -> f64 {
        microseconds(self.started.elapsed())
    }

    /// Microseconds of all threads, user and system; children do not count.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        microseconds(cpu_time() - self.cpu)
    }
}

/// As a number.
#[must_use]
pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The value that `share` of all do not exceed, in microseconds; sorts them.
#[must_use]
pub fn quantile_us(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    // A share of a length is in range, and rounds to whole numbers.
    let at = (last as f64 * share).round() as usize;
    times.get(at).map_or(0.0, |time| microseconds(*time))
}
