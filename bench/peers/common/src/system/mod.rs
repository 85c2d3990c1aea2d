//! Functions and sizes that depend on the OS.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{
    CHILDREN, LINES, WRITTEN_BYTES, available_bytes, brief, bytes, cpu_time, move_to_second_core,
    peak_kib, threads,
};
#[cfg(windows)]
pub(crate) use windows::{
    CHILDREN, LINES, WRITTEN_BYTES, available_bytes, brief, bytes, cpu_time, move_to_second_core,
    peak_kib, threads,
};
