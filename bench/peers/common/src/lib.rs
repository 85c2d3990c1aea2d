//! What the peers of the benchmarks share, so that they differ in nothing but their runtime: the command line,
//! the listening socket, the sizes of the workloads, and what they tell the program that started them.

pub mod child;
pub mod floor;
pub mod net;
mod system;
pub mod tell;
pub mod threads;
pub mod timers;
pub mod watch;

/// What a peer is asked to do: `PROGRAM WORKLOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Listens, and sends back what comes.
    Echo,
    /// Listens, and takes what comes.
    Sink,
    /// Listens, and sends without end.
    Source,
    /// Listens, takes what comes, and sends without end meanwhile.
    Both,
    /// Arms timers, cancels most, and lets the rest fire.
    Timers,
    /// Has another thread bring calls into the loop.
    Threads,
    /// Spawns and reaps children, so many at a time.
    Spawn { at_a_time: usize },
    /// Reads what a child writes to its standard output.
    ChildStdout,
}

impl Workload {
    /// Reads the command line. A child of ours ends in here.
    ///
    /// # Panics
    ///
    /// When it names no workload.
    #[must_use]
    pub fn from_arguments() -> Workload {
        let name = std::env::args().nth(1).unwrap_or_default();
        match name.as_str() {
            "echo" => Workload::Echo,
            "sink" => Workload::Sink,
            "source" => Workload::Source,
            "both" => Workload::Both,
            "timers" => Workload::Timers,
            "threads" => Workload::Threads,
            "spawn-1" => Workload::Spawn { at_a_time: 1 },
            "spawn-8" => Workload::Spawn { at_a_time: 8 },
            "spawn-32" => Workload::Spawn { at_a_time: 32 },
            "child-stdout" => Workload::ChildStdout,
            child::WRITER => child::write_and_exit(),
            other => panic!("no workload is named `{other}`"),
        }
    }
}
