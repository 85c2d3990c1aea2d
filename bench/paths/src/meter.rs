//! Selects the code that callgrind counts.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidewaiter::{Metrics, Reactor};

use crate::Outcome;

/// Time limit for a wait, far longer than any operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether work counts, or only warms up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    Off,
    On,
}

impl Meter {
    /// Does `work`, and counts it if this meter is on.
    pub(crate) fn count<T>(self, work: impl FnOnce() -> T) -> T {
        let (mut work, mut result) = (Some(work), None);
        let mut run = || result = work.take().map(|work| work());
        match self {
            Meter::Off => run(),
            Meter::On => counted(&mut run),
        }
        result.expect("the work was done")
    }

    /// This meter if `wanted`, else one that is off.
    pub(crate) fn only(self, wanted: bool) -> Meter {
        if wanted { self } else { Meter::Off }
    }

    /// Runs turns of the loop until `done`. The turns count, the checks do not.
    pub(crate) fn turn_until(self, reactor: &Reactor, done: impl Fn(&Metrics) -> bool) -> Outcome {
        while !done(&reactor.metrics()) {
            let begun = Instant::now();
            self.count(|| reactor.iterate(PATIENCE))?;
            if begun.elapsed() >= PATIENCE {
                return Err("timed out: the loop waits for something that does not happen".into());
            }
        }
        Ok(())
    }
}

/// Callgrind finds this function by its name, and counts from its beginning to its end.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Prevent a tail call above, which would leave this function before the work begins.
    black_box(&());
}
