//! Measures wall-clock time and the CPU time of this process.

use std::time::{Duration, Instant};

use crate::system::cpu_time;

/// A stopwatch that starts when it is created.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    started: Instant,
    cpu: Duration,
}

impl Watch {
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "creating it starts the measurement"
    )]
    pub fn new() -> Watch {
        Watch {
            started: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// Microseconds of wall-clock time.
    #[must_use]
    pub fn wall_us(&self) -> f64 {
        microseconds(self.started.elapsed())
    }

    /// Microseconds of CPU time of all threads, user and system, without children.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        microseconds(cpu_time() - self.cpu)
    }
}

/// A duration in microseconds.
#[must_use]
pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The quantile `share`, in microseconds. Sorts the times.
#[must_use]
pub fn quantile_us(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    // The product is not negative and at most `last`, so the cast is exact.
    let at = (last as f64 * share).round() as usize;
    times.get(at).map_or(0.0, |time| microseconds(*time))
}
