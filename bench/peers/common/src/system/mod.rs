//! What each system has to itself.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{CHILDREN, WRITTEN_BYTES, brief, cpu_time, move_to_second_core, peak_kib};
#[cfg(windows)]
pub(crate) use windows::{CHILDREN, WRITTEN_BYTES, brief, cpu_time, move_to_second_core, peak_kib};
