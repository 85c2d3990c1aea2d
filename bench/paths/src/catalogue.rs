//! The catalogue of all paths.

use std::error::Error;

use tidewaiter::port::PortKind;

use crate::clocks::Phase;
use crate::meter::Meter;
use crate::walk::Walk;
use crate::{Outcome, children, clocks, datagrams, streams};

/// Prepares a path, and returns the function that runs it.
#[derive(Clone, Copy)]
enum Prepare {
    /// The path exists once for each port in [`PORTS`]. Its name ends with the name of the port.
    Port(fn(PortKind) -> Result<Walk, Box<dyn Error>>),
    /// The path runs on the simulated port, whose clock and children behave the same in each run.
    Simulated(fn() -> Result<Walk, Box<dyn Error>>),
}
use Prepare::{Port, Simulated};

/// The measured ports. Both are ports of Linux, because callgrind needs it.
const PORTS: [PortKind; 2] = [PortKind::Uring, PortKind::Poll];

struct Entry {
    name: &'static str,
    /// Description of one operation.
    operation: &'static str,
    /// Number of operations in a round.
    operations: u32,
    /// Number of counted rounds. The same number of uncounted rounds warms up.
    rounds: u32,
    prepare: Prepare,
}

const ENTRIES: &[Entry] = &[
    Entry {
        name: "echo-64",
        operation: "64 bytes are received and sent back; 64 connections in turn",
        operations: 64,
        rounds: 20,
        prepare: Port(|port| streams::echo(port, 64, 64)),
    },
    Entry {
        name: "echo-64-alone",
        operation: "64 bytes are received and sent back; one connection",
        operations: 1,
        rounds: 200,
        prepare: Port(|port| streams::echo(port, 1, 64)),
    },
    Entry {
        name: "echo-16k",
        operation: "16 KiB are received and sent back; 64 connections in turn",
        operations: 64,
        rounds: 20,
        prepare: Port(|port| streams::echo(port, 64, 16 << 10)),
    },
    Entry {
        name: "task-echo-64",
        operation: "64 bytes are received and sent back by a task; 64 connections in turn",
        operations: 64,
        rounds: 20,
        prepare: Port(|port| streams::task_echo(port, 64, 64)),
    },
    Entry {
        name: "task-echo-16k",
        operation: "16 KiB are received and sent back by a task; 64 connections in turn",
        operations: 64,
        rounds: 20,
        prepare: Port(|port| streams::task_echo(port, 64, 16 << 10)),
    },
    Entry {
        name: "echo-64-simulated",
        operation: "64 bytes go from one transport to another and back",
        operations: 64,
        rounds: 20,
        prepare: Simulated(streams::echo_simulated),
    },
    Entry {
        name: "churn",
        operation: "a connection is accepted, echoes 64 bytes and ends",
        operations: 1,
        rounds: 200,
        prepare: Port(streams::churn),
    },
    Entry {
        name: "stream-in",
        operation: "64 KiB are received",
        operations: 1,
        rounds: 200,
        prepare: Port(streams::sink),
    },
    Entry {
        name: "stream-out",
        operation: "64 KiB are sent",
        operations: 1,
        rounds: 200,
        prepare: Port(streams::source),
    },
    Entry {
        name: "datagram-echo",
        operation: "a datagram of 64 bytes is received and sent back; 16 sockets in turn, 4 at a time on each",
        operations: 64,
        rounds: 20,
        prepare: Port(|port| datagrams::echo(port, 16, 4)),
    },
    Entry {
        name: "datagram-echo-alone",
        operation: "a datagram of 64 bytes is received and sent back; one socket",
        operations: 1,
        rounds: 200,
        prepare: Port(|port| datagrams::echo(port, 1, 1)),
    },
    Entry {
        name: "datagram-in",
        operation: "a datagram of 64 bytes is received",
        operations: 1,
        rounds: 200,
        prepare: Port(datagrams::sink),
    },
    Entry {
        name: "datagram-out",
        operation: "a datagram of 64 bytes is sent",
        operations: 1,
        rounds: 200,
        prepare: Port(datagrams::source),
    },
    Entry {
        name: "timer-arm",
        operation: "a delayed call is scheduled; 10000 in turn",
        operations: clocks::TIMERS,
        rounds: 3,
        prepare: Simulated(|| clocks::timers(Phase::Arm)),
    },
    Entry {
        name: "timer-cancel",
        operation: "one of 10000 delayed calls is cancelled; 9000 in turn",
        operations: clocks::CANCELLED,
        rounds: 3,
        prepare: Simulated(|| clocks::timers(Phase::Cancel)),
    },
    Entry {
        name: "timer-fire",
        operation: "a delayed call is made; the remaining 1000 in turn",
        operations: clocks::TIMERS - clocks::CANCELLED,
        rounds: 3,
        prepare: Simulated(|| clocks::timers(Phase::Fire)),
    },
    Entry {
        name: "call-chain",
        operation: "a delayed call without delay schedules the next: one turn",
        operations: clocks::LINKS,
        rounds: 3,
        prepare: Port(clocks::chain),
    },
    Entry {
        name: "thread-call",
        operation: "another thread sends a call, and the loop makes it; 1000 in turn",
        operations: clocks::REMOTE_CALLS,
        rounds: 3,
        prepare: Port(clocks::thread_calls),
    },
    Entry {
        name: "spawn",
        operation: "a child is spawned, without pipes, and reaped",
        operations: 1,
        rounds: 20,
        prepare: Port(children::spawn),
    },
    Entry {
        name: "pipe-in",
        operation: "64 KiB are received from a pipe, as from a child; the port alone",
        operations: 1,
        rounds: 200,
        prepare: Port(children::pipe),
    },
    Entry {
        name: "child-echo-simulated",
        operation: "64 bytes go to a child and come back",
        operations: 1,
        rounds: 200,
        prepare: Simulated(children::echo_simulated),
    },
];

/// An entry of the catalogue, on one of the ports if the entry has several.
pub(crate) struct Path {
    entry: &'static Entry,
    port: Option<PortKind>,
}

impl Path {
    /// All paths of the catalogue.
    pub(crate) fn all() -> Vec<Path> {
        let ports = |entry: &Entry| match entry.prepare {
            Port(_) => PORTS.map(Some).to_vec(),
            Simulated(_) => vec![None],
        };
        let paths = |entry| {
            ports(entry)
                .into_iter()
                .map(move |port| Path { entry, port })
        };
        ENTRIES.iter().flat_map(paths).collect()
    }

    pub(crate) fn name(&self) -> String {
        match self.port {
            Some(port) => format!("{}-{port}", self.entry.name),
            None => self.entry.name.to_owned(),
        }
    }

    /// Description of one operation.
    pub(crate) fn operation(&self) -> &'static str {
        self.entry.operation
    }

    /// Number of counted operations.
    pub(crate) fn operations(&self) -> u32 {
        self.entry.rounds * self.entry.operations
    }

    /// Runs the path: first uncounted rounds, in which tables and buffers reach their final sizes, then counted ones.
    pub(crate) fn walk(&self) -> Outcome {
        let mut walk = match (self.entry.prepare, self.port) {
            (Port(prepare), Some(port)) => prepare(port)?,
            (Simulated(prepare), _) => prepare()?,
            (Port(_), None) => unreachable!("`all` gives it a port"),
        };
        for meter in [Meter::Off, Meter::On] {
            for _ in 0..self.entry.rounds {
                walk(meter)?;
            }
        }
        Ok(())
    }
}
