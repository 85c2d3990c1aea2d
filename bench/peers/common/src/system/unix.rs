//! Functions for Unix. Memory and threads need Linux's `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

pub(crate) const CHILDREN: usize = 1000;
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
    number("/proc/self/status", "VmHWM:").unwrap_or(0.0)
}

/// The memory of this process now.
pub(crate) fn bytes() -> f64 {
    number("/proc/self/status", "VmRSS:").unwrap_or(0.0) * 1024.0
}

/// The number of threads of this process.
pub(crate) fn threads() -> Option<f64> {
    number("/proc/self/status", "Threads:")
}

/// The memory that programs can still get, as the OS estimates it.
pub(crate) fn available_bytes() -> Option<usize> {
    // The cast is exact: memory has fewer KiB than an f64 has bits.
    number("/proc/meminfo", "MemAvailable:").map(|kib| kib as usize * 1024)
}

/// The first number after `name` in a file with a name at the beginning of each line.
fn number(file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Moves this child to the second core, and leaves the first one to its parent.
pub(crate) fn move_to_second_core() {
    let mut second = CpuSet::new();
    second.set(1);
    // This fails on a machine with one core, and changes nothing.
    let _ = sched_setaffinity(None, &second);
}
