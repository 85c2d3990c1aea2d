//! Windows, and what Wine makes of it.

use std::path::PathBuf;
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, SetProcessAffinityMask,
};

/// Under Wine, each call into the kernel costs what some thirty do elsewhere.
pub(crate) const CHILDREN: usize = 100;
pub(crate) const WRITTEN_BYTES: usize = 64 * 1024 * 1024;

/// A program of ours that does nothing, beside this one: those of the system all do something.
pub(crate) fn brief() -> PathBuf {
    let own = std::env::current_exe().expect("the OS knows where a program is");
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

/// The system counts in tenths of microseconds.
fn duration(time: FILETIME) -> Duration {
    let count = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos(count * 100)
}

/// The most memory that this process ever held, as the OS says.
pub(crate) fn peak_kib() -> f64 {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let bytes = size_of_val(&counters).try_into().expect("it is small");
    // SAFETY: there is room for the counters, and the handle stands for this process.
    unsafe { K32GetProcessMemoryInfo(this_process(), &raw mut counters, bytes) };
    counters.PeakWorkingSetSize as f64 / 1024.0
}

/// Leaves the first core to our parent.
pub(crate) fn move_to_second_core() {
    // A machine with one core has no other: then this fails, and nothing changes.
    // SAFETY: the handle stands for this process.
    unsafe { SetProcessAffinityMask(this_process(), 1 << 1) };
}

fn this_process() -> HANDLE {
    // SAFETY: only asks for the handle that stands for whoever uses it.
    unsafe { GetCurrentProcess() }
}
