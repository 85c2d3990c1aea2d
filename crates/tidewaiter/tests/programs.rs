//! Random programs on reactors, each from a seed, and the promises that hold for every program.
//!
//! `TIDEWAITER_SEEDS` sets how many seeds are run on each port, however long that takes. `TIDEWAITER_SEED` runs
//! a single one, and prints all events if it fails.

mod support {
    pub(crate) mod random;
    pub(crate) mod real_child;
    pub(crate) mod reasons;
    pub(crate) mod roles;
    pub(crate) mod sim_child;
    pub(crate) mod starting;
}

#[path = "program/actions.rs"]
mod actions;
#[path = "program/child.rs"]
mod child;
#[path = "program/filler.rs"]
mod filler;
#[path = "program/run.rs"]
mod run;
#[path = "program/side.rs"]
mod side;
#[path = "program/timers.rs"]
mod timers;
#[path = "program/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use run::{Ground, run};
use support::roles::Role;
use support::{real_child, sim_child};
use tidewaiter::process::Command;
use world::World;

/// How many lines of a failed program's events are printed, unless it is the only program.
const LINES_SHOWN: usize = 60;

/// The command that starts a child on the program's port.
fn start_child(world: &World, role: Role) -> Command {
    match world.sim {
        Some(_) => sim_child::child(role),
        None => real_child::child(role),
    }
}

/// Lets one port run at a time, because the tests count the process's descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Runs the programs of the first `count` seeds, or as many of them as the time allows.
fn run_all(ground: Ground, count: u64, time: Duration) {
    let _alone = alone();
    let single = number_from_environment("TIDEWAITER_SEED");
    let asked = number_from_environment("TIDEWAITER_SEEDS");
    let seeds = match single {
        Some(seed) => seed..seed + 1,
        None => 0..asked.unwrap_or(count),
    };
    let start = Instant::now();
    // The first program finds what the process opens once and keeps.
    let mut descriptors = None;
    for seed in seeds {
        if asked.is_none() && start.elapsed() > time {
            break;
        }
        let lines_shown = if single.is_some() {
            usize::MAX
        } else {
            LINES_SHOWN
        };
        check(seed, ground, lines_shown);
        let before = descriptors.get_or_insert_with(open_descriptors);
        let open = open_descriptors_after(before.len());
        assert_eq!(
            open.len(),
            before.len(),
            "{ground:?}: seed {seed} leaves descriptors open: {open:?}, and before {before:?}"
        );
    }
}

/// The descriptors that are open, once there are `count`: a thread that a stop does not wait for closes its own a moment
/// later.
#[expect(
    clippy::disallowed_methods,
    reason = "no event tells that a thread has closed a descriptor"
)]
fn open_descriptors_after(count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let open = open_descriptors();
        if open.len() == count || Instant::now() > deadline {
            return open;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The descriptors that this process has open, each with its object. Only Linux tells.
#[cfg(target_os = "linux")]
fn open_descriptors() -> Vec<String> {
    let folder = std::fs::read_dir("/proc/self/fd").expect("a process sees its descriptors");
    let objects = folder.filter_map(|entry| {
        let path = entry.ok()?.path();
        let object = std::fs::read_link(&path).ok()?;
        Some(format!("{} {}", path.display(), object.display()))
    });
    objects.collect()
}

#[cfg(not(target_os = "linux"))]
fn open_descriptors() -> Vec<String> {
    Vec::new()
}

fn check(seed: u64, ground: Ground, lines_shown: usize) {
    let again = format!("TIDEWAITER_SEED={seed} cargo test -p tidewaiter --test programs");
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, ground)))
        .unwrap_or_else(|_| panic!("{ground:?}, seed {seed} panicked; again: {again}"));
    let shown = outcome.trace.len().saturating_sub(lines_shown);
    assert!(
        outcome.broken.is_empty(),
        "{ground:?}, seed {seed}:\n{}\nagain: {again}\nwhat happened at last:\n{}",
        outcome.broken.join("\n"),
        outcome.trace[shown..].join("\n"),
    );
}

/// Goal: each byte arrives once and in order, or the end of the connection says otherwise; each protocol,
/// child, connect and delayed call has its callbacks as promised and none from inside a call; nothing outlives
/// a stop.
/// Method: programs that do anything keep a model of their actions, and check every callback against it.
#[test]
fn random_programs_on_the_simulated_port() {
    run_all(Ground::Simulation, 3000, Duration::from_secs(10));
}

#[cfg(target_os = "linux")]
#[test]
fn random_programs_on_uring() {
    run_all(
        Ground::Os(tidewaiter::port::PortKind::Uring),
        200,
        Duration::from_secs(10),
    );
}

#[cfg(unix)]
#[test]
fn random_programs_on_poll() {
    run_all(
        Ground::Os(tidewaiter::port::PortKind::Poll),
        200,
        Duration::from_secs(10),
    );
}

#[cfg(windows)]
#[test]
fn random_programs_on_iocp() {
    run_all(
        Ground::Os(tidewaiter::port::PortKind::Iocp),
        100,
        Duration::from_secs(10),
    );
}

/// Goal: a seed that failed fails again.
/// Method: run the same programs twice; every event and its time must be the same.
#[test]
fn a_seed_repeats_itself() {
    let _alone = alone();
    for seed in 0..10 {
        let first = run(seed, Ground::Simulation).trace;
        let second = run(seed, Ground::Simulation).trace;
        assert!(first.len() > 10, "seed {seed} did nothing: {first:?}");
        assert_eq!(first, second, "seed {seed}");
    }
}
