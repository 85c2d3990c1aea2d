//! Random programs on two simulated ports, each from a seed, and the promises that hold for every program.
//!
//! `TIDEWAITER_SEEDS` sets how many seeds are run, `TIDEWAITER_SEED` runs a single one.

#[path = "sim/model.rs"]
mod model;
#[path = "sim/random_program.rs"]
mod random_program;

use std::panic::{AssertUnwindSafe, catch_unwind};

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
    let single = number_from_environment("TIDEWAITER_SEED");
    let count = number_from_environment("TIDEWAITER_SEEDS").unwrap_or(400);
    let seeds = single.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let run = || RandomProgram::new(seed).run();
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
}

/// Goal: the random programs reach the cases that they are meant to check.
/// Method: look for each kind of end over some seeds; none may be missing.
#[test]
fn random_programs_meet_every_kind_of_end() {
    let runs = (0..60).flat_map(|seed| RandomProgram::new(seed).run());
    let trace: Vec<String> = runs.collect();
    let ends = [
        "Accepted",
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
