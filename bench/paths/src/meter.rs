//! What is counted of a path.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidewaiter::{Metrics, Reactor};

use crate::Outcome;

/// Far longer than anything here takes: who waits so long waits for what will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the work is counted, or only makes everything warm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    Off,
    On,
}

impl Meter {
    /// Does `work`, which is counted if anything is.
    pub(crate) fn count<T>(self, work: impl FnOnce() -> T) -> T {
        let (mut work, mut result) = (Some(work), None);
        let mut run = || result = work.take().map(|work| work());
        match self {
            Meter::Off => run(),
            Meter::On => counted(&mut run),
        }
        result.expect("the work was done")
    }

    /// This, if `wanted`; nothing is counted otherwise.
    pub(crate) fn only(self, wanted: bool) -> Meter {
        if wanted { self } else { Meter::Off }
    }

    /// Turns the loop until `done`; what it does is counted, not the looking.
    pub(crate) fn turn_until(self, reactor: &Reactor, done: impl Fn(&Metrics) -> bool) -> Outcome {
        while !done(&reactor.metrics()) {
            let begun = Instant::now();
            self.count(|| reactor.iterate(PATIENCE))?;
            if begun.elapsed() >= PATIENCE {
                return Err("the loop waits for what does not come".into());
            }
        }
        Ok(())
    }
}

/// Callgrind counts from this function's beginning to its end; it finds it by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Something is left to do, so that the call above is no jump that ends this function first.
    black_box(&());
}
