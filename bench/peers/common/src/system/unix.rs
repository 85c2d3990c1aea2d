//! Functions for Unix. The peak of the memory needs Linux's `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

pub(crate) const CHILDREN: usize = 1000;
pub(crate) const ECHOERS: usize = 500;
pub(crate) const LINES: usize = 50_000;
pub(crate) const WRITTEN_BYTES: usize = 512 * 1024 * 1024;

/// The full path of a program that exits at once.
pub(crate) fn brief() -> PathBuf {
    "/bin/true".into()
}

/// The CPU time of this process: all threads, user and system.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("no process has used less than nothing")
}

/// The peak of this process's memory, as the OS reports it.
pub(crate) fn peak_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.trim().split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Moves this child to the second core, and leaves the first one to its parent.
pub(crate) fn move_to_second_core() {
    let mut second = CpuSet::new();
    second.set(1);
    // This fails on a machine with one core, and changes nothing.
    let _ = sched_setaffinity(None, &second);
}
