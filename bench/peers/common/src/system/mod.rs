//! Functions and sizes that depend on the OS.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{
    CHILDREN, ECHOERS, LINES, WRITTEN_BYTES, brief, cpu_time, move_to_second_core, peak_kib,
};
#[cfg(windows)]
pub(crate) use windows::{
    CHILDREN, ECHOERS, LINES, WRITTEN_BYTES, brief, cpu_time, move_to_second_core, peak_kib,
};
