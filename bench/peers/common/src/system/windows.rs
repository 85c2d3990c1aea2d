//! Functions for Windows, with sizes that suit Wine.

use std::path::PathBuf;
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, SetProcessAffinityMask,
};

/// The sizes are small, because a system call under Wine costs about thirty times as much as elsewhere.
pub(crate) const CHILDREN: usize = 100;
pub(crate) const LINES: usize = 4000;
pub(crate) const WRITTEN_BYTES: usize = 64 * 1024 * 1024;

/// The path of our own program that exits at once; Windows has none.
pub(crate) fn brief() -> PathBuf {
    let own = std::env::current_exe().expect("the OS knows the path of this program");
    own.with_file_name("bench-brief.exe")
}

/// The CPU time of this process: all threads, user and system.
pub(crate) fn cpu_time() -> Duration {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: there is room for the four times, and the handle stands for this process.
    let done = unsafe { GetProcessTimes(this_process(), created, ended, kernel, user) };
    assert_ne!(done, 0, "a process may know its own times");
    duration(times[2]) + duration(times[3])
}

/// Converts a time of Windows, which counts in units of 100 ns.
fn duration(time: FILETIME) -> Duration {
    let count = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos(count * 100)
}

/// The peak of this process's memory, as the OS reports it.
pub(crate) fn peak_kib() -> f64 {
    memory().PeakWorkingSetSize as f64 / 1024.0
}

/// The memory of this process now.
pub(crate) fn bytes() -> f64 {
    memory().WorkingSetSize as f64
}

fn memory() -> PROCESS_MEMORY_COUNTERS {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let bytes = size_of_val(&counters).try_into().expect("it is small");
    // SAFETY: there is room for the counters, and the handle stands for this process.
    unsafe { K32GetProcessMemoryInfo(this_process(), &raw mut counters, bytes) };
    counters
}

/// The number of threads of this process, which only Unix is asked for.
pub(crate) fn threads() -> Option<f64> {
    None
}

/// The memory that programs can still get, which only Unix is asked for.
pub(crate) fn available_bytes() -> Option<usize> {
    None
}

/// Moves this child to the second core, and leaves the first one to its parent.
pub(crate) fn move_to_second_core() {
    // This fails on a machine with one core, and changes nothing.
    // SAFETY: the handle stands for this process.
    unsafe { SetProcessAffinityMask(this_process(), 1 << 1) };
}

fn this_process() -> HANDLE {
    // SAFETY: returns a constant pseudo-handle, which stands for the calling process.
    unsafe { GetCurrentProcess() }
}
