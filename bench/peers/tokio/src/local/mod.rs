//! Servers for programs of the same machine.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{pipe_echo, serve};
#[cfg(windows)]
pub(crate) use windows::{pipe_echo, serve};
