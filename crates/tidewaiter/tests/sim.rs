//! Random programs on two simulated ports, each from a seed, and the promises that hold for every program.
//!
//! `TIDEWAITER_SEEDS` sets how many seeds are run, `TIDEWAITER_SEED` runs a single one.

#[path = "sim/model.rs"]
mod model;
#[path = "sim/random_datagrams.rs"]
mod random_datagrams;
#[path = "sim/random_program.rs"]
mod random_program;

use std::panic::{AssertUnwindSafe, catch_unwind};

use random_datagrams::RandomDatagrams;
use random_program::RandomProgram;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Goal: every operation completes exactly once; bytes arrive in order, none is invented, and none is lost
/// where the end of file was seen; a drained port has nothing in flight and nothing open.
/// Method: the random program keeps a model of its actions, and checks every completion against it.
#[test]
fn random_programs_keep_the_ports_promises() {
    run_seeds(|seed| RandomProgram::new(seed).run());
}

/// Goal: datagrams arrive whole and where they were sent, between UNIX sockets once and in order, and over the network at
/// most twice; no error and no fault ends a receive.
/// Method: as above; each datagram has a number.
#[test]
fn random_datagrams_arrive_where_they_were_sent() {
    run_seeds(|seed| RandomDatagrams::new(seed).run());
}

/// Runs the program of each seed.
fn run_seeds(run: impl Fn(u64) -> Vec<String>) {
    let single = number_from_environment("TIDEWAITER_SEED");
    let count = number_from_environment("TIDEWAITER_SEEDS").unwrap_or(400);
    let seeds = single.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let run = || run(seed);
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            panic!(
                "seed {seed} failed, as told above; to run it alone: \
                 TIDEWAITER_SEED={seed} cargo test -p tidewaiter --test sim"
            );
        }
    }
}

/// Goal: a seed that failed fails again.
/// Method: run the same programs twice; every completion and its time must be the same.
#[test]
fn a_seed_repeats_itself() {
    for seed in 0..10 {
        let first = RandomProgram::new(seed).run();
        let second = RandomProgram::new(seed).run();
        assert!(first.len() > 10, "seed {seed} did nothing: {first:?}");
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(RandomProgram::new(1).run(), RandomProgram::new(2).run());
    for seed in 0..10 {
        let first = RandomDatagrams::new(seed).run();
        assert!(first.len() > 10, "seed {seed} did nothing: {first:?}");
        assert_eq!(first, RandomDatagrams::new(seed).run(), "seed {seed}");
    }
}

/// Goal: the random programs reach the cases that they are meant to check.
/// Method: look for each kind of end over some seeds; none may be missing.
#[test]
fn random_programs_meet_every_kind_of_end() {
    let runs = (0..60).flat_map(|seed| RandomProgram::new(seed).run());
    let trace: Vec<String> = runs.collect();
    let ends = [
        "Accepted",
        // From a client of a UNIX socket.
        "peer: unix:/clients/",
        "Connected",
        "Received",
        "EndOfFile",
        "Sent",
        "Exited(Code",
        "Exited(Signal",
        "Closed",
        "Cancelled",
        "ConnectionReset",
        "ConnectionRefused",
        "QuotaExceeded",
        "BrokenPipe",
    ];
    for end in ends {
        assert!(trace.iter().any(|line| line.contains(end)), "never: {end}");
    }
}

/// Goal: as above, for datagrams.
#[test]
fn random_datagrams_meet_every_kind_of_completion() {
    let runs = (0..60).flat_map(|seed| RandomDatagrams::new(seed).run());
    let trace: Vec<String> = runs.collect();
    let kinds = [
        "Datagrams(",
        "DatagramError",
        "ConnectionRefused",
        "DatagramsSent",
        "Cancelled",
        "Closed",
    ];
    for kind in kinds {
        assert!(
            trace.iter().any(|line| line.contains(kind)),
            "never: {kind}"
        );
    }
}
