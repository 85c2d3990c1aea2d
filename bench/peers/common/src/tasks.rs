//! The costs of tasks: how often each operation is repeated, and the measurement.

use std::time::Duration;

use crate::tell;
use crate::watch::Watch;

/// How many tasks are spawned before the first of them is joined, and how many sleep at the same time.
pub const AT_A_TIME: usize = 100;
/// How long each task sleeps.
pub const SLEEP: Duration = Duration::from_millis(1);
/// How long a sleep would take that is dropped after its first poll, like a timeout that was not needed.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Spawn tasks that are ready at once, [`AT_A_TIME`], and join them.
    Spawn,
    /// Send a number through a channel to another task, which sends it back: two hops.
    Hop,
    /// Sleep, in [`AT_A_TIME`] tasks at the same time.
    Sleep,
    /// Poll a sleep once, and drop it.
    Timeout,
}

impl Operation {
    /// The operation of a workload, by its name.
    pub(crate) fn named(name: &str) -> Option<Operation> {
        match name {
            "task-spawn" => Some(Operation::Spawn),
            "task-hop" => Some(Operation::Hop),
            "task-sleep" => Some(Operation::Sleep),
            "task-timeout" => Some(Operation::Timeout),
            _ => None,
        }
    }

    /// How often to repeat the operation; in rounds of [`AT_A_TIME`] if it has several at a time.
    #[must_use]
    pub fn rounds(self) -> usize {
        match self {
            Operation::Spawn => 20_000,
            Operation::Hop => 500_000,
            Operation::Sleep => 250,
            Operation::Timeout => 2_000_000,
        }
    }

    /// How many operations a round has.
    fn at_a_time(self) -> usize {
        match self {
            Operation::Spawn | Operation::Sleep => AT_A_TIME,
            Operation::Hop => 2,
            Operation::Timeout => 1,
        }
    }
}

/// Measures the CPU time of a number of operations.
#[derive(Debug)]
pub struct Costs {
    operation: Operation,
    watch: Watch,
}

impl Costs {
    /// Begins to measure all rounds of the operation.
    #[must_use]
    pub fn begin(operation: Operation) -> Costs {
        tell::begin();
        Costs {
            operation,
            watch: Watch::new(),
        }
    }

    /// Reports the result.
    pub fn end(&self) {
        let operations = (self.operation.rounds() * self.operation.at_a_time()) as f64;
        tell::result(&[
            ("value", self.watch.cpu_us() * 1000.0 / operations),
            ("rate", operations / self.watch.wall_us() * 1e6),
        ]);
    }
}
